// Watching: the stage (every seat as its own stream) and single streams (the program, one seat).

import { call, tell } from "./http.js";
import { Session } from "./session.js";

/** What both have: a WHEP session and its state. */
class Player {
  #options;
  #status = { state: "connecting" };
  #closed = false;

  constructor(options) {
    this.#options = options;
    this.session = new Session({
      url: options.url,
      token: options.token,
      build: (pc) => this.build(pc),
      onState: ({ name, ...rest }) => this.#become({ state: name, ...rest }),
    });
  }

  get state() {
    return this.#status.state;
  }

  get error() {
    return this.#status.error;
  }

  get connection() {
    return this.session.connection;
  }

  start() {
    this.session.run();
  }

  async close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.onClose?.(this);
    await this.session.close();
  }

  #become(status) {
    this.#status = status;
    if (status.state === "live") this.live();
    tell([this.#options.onState].filter(Boolean), status);
  }

  /** Connected, for the first time or again. */
  live() {}

  /** A JSON call to the session's resource. */
  async resource(method, path = "", body) {
    const { resource } = this.session;
    if (!resource) return null;
    const headers = body === undefined ? {} : { "Content-Type": "application/json" };
    const token = await this.#options.token(false);
    const response = await call(resource + path, {
      method, token, headers: { Accept: "application/json", ...headers }, body: body && JSON.stringify(body),
    });
    const text = await response.text();
    return text ? JSON.parse(text) : null;
  }
}

/** Puts the tracks of a fresh connection into a stream that stays the same for whoever plays it. */
function retrack(stream, tracks) {
  for (const track of stream.getTracks()) stream.removeTrack(track);
  for (const track of tracks) stream.addTrack(track);
}

function addReceivers(pc) {
  return ["video", "audio"].map((kind) => {
    const transceiver = pc.addTransceiver(kind, { direction: "recvonly" });
    offerLess(transceiver, kind);
    return transceiver.receiver.track;
  });
}

/** What a publisher here may send. Browsers list much more, and an offer of many slots has to stay readable (64 KiB). */
const PLAYABLE = [/^audio\/opus/, /^video\/h264.*packetization-mode=1/, /^video\/vp8/, /^video\/vp9.*profile-id=0/, /^video\/av1/, /^video\/rtx/];

function offerLess(transceiver, kind) {
  const all = globalThis.RTCRtpReceiver?.getCapabilities?.(kind)?.codecs ?? [];
  const codecs = all.filter(({ mimeType, sdpFmtpLine = "" }) => {
    const name = `${mimeType} ${sdpFmtpLine}`.toLowerCase();
    return PLAYABLE.some((pattern) => pattern.test(name));
  });
  if (codecs.length && transceiver.setCodecPreferences) transceiver.setCodecPreferences(codecs);
}

export class Program extends Player {
  stream = new MediaStream();
  #video;

  constructor({ video, ...options }) {
    super(options);
    this.#video = video;
  }

  build(pc) {
    retrack(this.stream, addReceivers(pc));
    if (!this.#video) return;
    // Set anew: some browsers do not notice tracks that come later.
    this.#video.srcObject = this.stream;
    // A browser that forbids playing with sound leaves it to the page to ask for a click.
    this.#video.play?.().catch(() => {});
  }

  async close() {
    await super.close();
    if (this.#video?.srcObject === this.stream) this.#video.srcObject = null;
  }
}

export class Stage extends Player {
  #room;
  #streams;
  #reports = [];
  #views = [];
  #listeners = new Set();
  #stop;

  constructor({ room, slots, onSlots, ...options }) {
    super(options);
    this.#room = room;
    this.#streams = Array.from({ length: slots }, () => new MediaStream());
    if (onSlots) this.#listeners.add(onSlots);
    const stops = [
      room.on("stage.slots", (data) => this.#reported(data)),
      room.on("seats.changed", () => this.#show()),
      room.on("snapshot", () => this.live()),
    ];
    this.#stop = () => stops.forEach((stop) => stop());
  }

  get slots() {
    return this.#views;
  }

  stream(seat, source = "camera") {
    return this.#views.find((view) => view.seat === seat && view.source === source)?.stream ?? null;
  }

  subscribe(listener) {
    this.#listeners.add(listener);
    listener(this.#views);
    return () => this.#listeners.delete(listener);
  }

  setLayers(slots) {
    return this.resource("PATCH", "/layers", { slots });
  }

  build(pc) {
    for (const stream of this.#streams) retrack(stream, addReceivers(pc));
  }

  /** Events say what changes; what is there already is in the resource. */
  live() {
    this.resource("GET").then((answer) => {
      if (answer) this.#assign(Array.isArray(answer) ? answer : answer.slots);
    }).catch(() => {}); // the next event says it
  }

  async close() {
    this.#stop();
    await super.close();
    this.#assign([]);
  }

  #reported({ viewer, slots }) {
    // One may watch in two places: only what is said of this one.
    if (viewer && !this.session.resource?.endsWith(`/${viewer}`)) return;
    this.#assign(slots);
  }

  #assign(reports) {
    this.#reports = reports ?? [];
    this.#show();
  }

  #show() {
    const { seats } = this.#room.state;
    const filled = this.#reports.filter((report) => Number.isInteger(report.seat) && report.slot < this.#streams.length);
    this.#views = filled.map((report) => ({
      slot: report.slot,
      seat: report.seat,
      source: report.source,
      codec: report.codec ?? null,
      state: report.state,
      user: seats.find((seat) => seat.seat === report.seat)?.user ?? null,
      stream: this.#streams[report.slot],
    }));
    tell(this.#listeners, this.#views);
  }
}
