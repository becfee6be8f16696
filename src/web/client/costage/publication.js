// One's own camera or screen in a room: a WHIP session whose transceivers are there from the start and whose tracks come
// and go by `replaceTrack`. A seat with everything switched off is a whole seat.

import { CostageError, tell } from "./http.js";
import { Session } from "./session.js";

// Three sizes, so that each viewer gets what their line carries. In ascending order, as browsers drop from the end.
const CAMERA_LAYERS = [
  { rid: "l", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: "m", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: "h", scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
];
// Text that was made smaller can't be read.
const SCREEN_LAYERS = [{ maxBitrate: 2_500_000, maxFramerate: 15 }];
const AUDIO = [{ maxBitrate: 64_000 }];

export class Publication {
  #options;
  #session;
  #tracks;
  #senders = { audio: null, video: null };
  #status = { state: "connecting" };
  #listeners = new Set();
  #started = false;

  /**
   * @param {{source: "camera"|"screen", url: string, token: (refused: boolean) => Promise<string>,
   *   tracks: {audio: MediaStreamTrack|null, video: MediaStreamTrack|null}}} options
   */
  constructor(options) {
    this.#options = options;
    this.#tracks = { audio: options.tracks.audio ?? null, video: options.tracks.video ?? null };
    this.#session = new Session({
      url: options.url,
      token: options.token,
      build: (pc) => this.#build(pc),
      onState: ({ name, ...rest }) => this.#become({ state: name, ...rest }),
    });
  }

  get source() {
    return this.#options.source;
  }

  get state() {
    return this.#status.state;
  }

  get error() {
    return this.#status.error;
  }

  get connection() {
    return this.#session.connection;
  }

  start() {
    if (this.#started) return;
    this.#started = true;
    this.#session.run();
  }

  subscribe(listener) {
    this.#listeners.add(listener);
    listener(this.#status);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when it is live, rejects when it never will be. */
  up() {
    return new Promise((resolve, reject) => {
      let stop = null;
      const look = ({ state, error }) => {
        if (state === "live") resolve();
        else if (state === "failed") reject(error);
        else if (state === "closed") reject(new CostageError("closed", "The transport was closed."));
        else return;
        if (stop) stop();
        else queueMicrotask(() => stop());
      };
      stop = this.subscribe(look);
    });
  }

  /** What is sent from now on; `null`: nothing. Never a new session. */
  async setTrack(kind, track) {
    this.#tracks[kind] = track;
    try {
      await this.#senders[kind]?.replaceTrack(track);
    } catch (error) {
      // A connection on its way out: the next one is built with the track.
      if (error.name !== "InvalidStateError") throw error;
    }
  }

  close() {
    return this.#session.close();
  }

  #become(status) {
    this.#status = status;
    tell(this.#listeners, status);
  }

  async #build(pc) {
    const stream = new MediaStream();
    const video = this.source === "screen" ? SCREEN_LAYERS : CAMERA_LAYERS;
    for (const [kind, sendEncodings] of [["audio", AUDIO], ["video", video]]) {
      const transceiver = pc.addTransceiver(kind, { direction: "sendonly", streams: [stream], sendEncodings });
      this.#senders[kind] = transceiver.sender;
      if (kind === "video") preferLayeredCodecs(transceiver);
      await transceiver.sender.replaceTrack(this.#tracks[kind]);
    }
  }
}

/** H.264 and VP8 are what browsers send in separate sizes; the server chooses among what is offered. */
function preferLayeredCodecs(transceiver) {
  const all = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  const of = (...names) => all.filter((codec) => names.includes(codec.mimeType.toLowerCase()));
  const codecs = [...of("video/h264"), ...of("video/vp8"), ...of("video/rtx")];
  if (codecs.length && transceiver.setCodecPreferences) transceiver.setCodecPreferences(codecs);
}
