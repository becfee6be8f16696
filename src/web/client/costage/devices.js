// Microphone, camera and screen of this page. Nothing opens by itself, and nothing here knows of rooms: whoever sends the
// tracks listens.

import { CostageError, tell } from "./http.js";

const CAMERA = { width: 1280, height: 720, frameRate: 30 };
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const SCREEN = { frameRate: { ideal: 15, max: 30 } };
const LEVEL_MS = 100;

const CLOSED = { status: "closed", muted: false, deviceId: null, label: "", error: null };

/** Why a device did not open, in a word and a sentence. Pure. */
export function deviceError(kind, error) {
  if (error instanceof CostageError) return error;
  const the = `The ${kind}`;
  const because = (code, detail) => new CostageError(code, detail, { cause: error });
  switch (error?.name) {
    case "NotAllowedError":
      return kind === "screen"
        ? because("cancelled", "No screen was chosen.")
        : because("device_denied", `${the} is not allowed here. Allow it in the browser's address bar, then try again.`);
    case "NotFoundError":
    case "OverconstrainedError":
      return because("device_not_found", `There is no such ${kind} on this device.`);
    case "NotReadableError":
    case "AbortError":
      return because("device_in_use", `${the} is in use by another program, or does not work.`);
    case "SecurityError":
    case "TypeError":
      return because("device_insecure", "Browsers give devices only to https:// pages and to this machine itself.");
    default:
      return because("device_failed", `${the} could not be opened.`);
  }
}

function mediaDevices() {
  const found = globalThis.navigator?.mediaDevices;
  if (!found) throw new DOMException("no media devices", "SecurityError");
  return found;
}

export class Devices {
  #state = { microphone: CLOSED, camera: CLOSED, screen: CLOSED, microphones: [], cameras: [], speakers: [] };
  /** What is open, by kind. */
  #tracks = { microphone: null, camera: null };
  #screen = null;
  /** Raised by every opening and closing of a kind: an answer to an older one is stale. */
  #turns = { microphone: 0, camera: 0, screen: 0 };
  #subscribers = new Set();
  #onTrack = new Set();
  #stream = null;
  #meter = null;
  #watching = false;

  get state() {
    return this.#state;
  }

  get stream() {
    this.#stream ??= new MediaStream();
    return this.#stream;
  }

  get screenStream() {
    return this.#screen;
  }

  /** What a camera transport sends. */
  get tracks() {
    return { audio: this.#tracks.microphone, video: this.#tracks.camera };
  }

  subscribe(listener) {
    this.#subscribers.add(listener);
    listener(this.#state);
    return () => this.#subscribers.delete(listener);
  }

  /** Calls with `microphone`, `camera` or `screen` and its new track (or `null`). */
  onTrack(listener) {
    this.#onTrack.add(listener);
    return () => this.#onTrack.delete(listener);
  }

  // ---- microphone and camera

  openMicrophone({ deviceId } = {}) {
    return this.#open("microphone", { audio: { ...MICROPHONE, ...exactly(deviceId) } });
  }

  closeMicrophone() {
    this.#close("microphone");
  }

  openCamera({ deviceId, facingMode, ...size } = {}) {
    const { width, height, frameRate } = { ...CAMERA, ...size };
    const video = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: frameRate, max: frameRate } };
    return this.#open("camera", { video: { ...video, ...exactly(deviceId), ...(facingMode && { facingMode }) } });
  }

  closeCamera() {
    this.#close("camera");
  }

  switchMicrophone(deviceId) {
    return this.openMicrophone({ deviceId });
  }

  switchCamera(to) {
    return this.openCamera(typeof to === "string" ? { deviceId: to } : to);
  }

  setMuted(muted, device = "microphone") {
    if (this.#tracks[device]) this.#tracks[device].enabled = !muted;
    this.#set(device, { muted });
  }

  async #open(kind, constraints) {
    const turn = ++this.#turns[kind];
    const before = this.#tracks[kind];
    this.#set(kind, { status: before ? "open" : "opening", error: null });
    let track;
    try {
      const media = await this.#ask(kind, constraints, before);
      [track] = media.getTracks();
    } catch (cause) {
      const error = deviceError(kind, cause);
      if (turn === this.#turns[kind]) {
        // The former one goes on.
        this.#set(kind, { status: this.#tracks[kind] ? "open" : "closed", error });
      }
      throw error;
    }
    if (turn !== this.#turns[kind]) {
      track.stop(); // closed, or opened another, meanwhile
      return;
    }
    track.enabled = !this.#state[kind].muted;
    track.addEventListener("ended", () => this.#tracks[kind] === track && this.#lost(kind));
    this.#replace(kind, track);
    this.#set(kind, { status: "open", deviceId: track.getSettings().deviceId ?? null, label: track.label, error: null });
    // Names of devices are there from the first permission on.
    this.refresh().catch(() => {});
  }

  /** Some cameras, phones' above all, open only when the former one is closed. */
  async #ask(kind, constraints, before) {
    try {
      return await mediaDevices().getUserMedia(constraints);
    } catch (error) {
      if (error.name !== "NotReadableError" || kind !== "camera" || !before) throw error;
      const former = before.getSettings().deviceId;
      before.stop();
      try {
        return await mediaDevices().getUserMedia(constraints);
      } catch (second) {
        const back = await mediaDevices().getUserMedia({ video: exactly(former) }).catch(() => null);
        this.#replace(kind, back?.getTracks()[0] ?? null);
        throw second;
      }
    }
  }

  #replace(kind, track) {
    const before = this.#tracks[kind];
    this.#tracks[kind] = track;
    if (before) this.stream.removeTrack(before);
    if (track) this.stream.addTrack(track);
    tell(this.#onTrack, kind, track);
    before?.stop();
    if (kind === "microphone") this.#meter?.listen(track);
  }

  #close(kind) {
    this.#turns[kind] += 1;
    if (this.#tracks[kind]) this.#replace(kind, null);
    this.#set(kind, { ...CLOSED, muted: this.#state[kind].muted });
  }

  /** Pulled out, or its permission taken back. */
  #lost(kind) {
    this.#close(kind);
    this.#set(kind, { error: new CostageError("device_failed", `The ${kind} was taken away.`) });
  }

  // ---- screen

  async startScreenShare({ audio = false } = {}) {
    const turn = ++this.#turns.screen;
    this.#set("screen", { status: "opening", error: null });
    let media;
    try {
      media = await mediaDevices().getDisplayMedia({ video: SCREEN, audio });
    } catch (cause) {
      const error = deviceError("screen", cause);
      if (turn === this.#turns.screen) this.#set("screen", { status: this.#screen ? "open" : "closed", error });
      throw error;
    }
    if (turn !== this.#turns.screen) {
      for (const track of media.getTracks()) track.stop();
      return;
    }
    this.#dropScreen();
    this.#screen = media;
    const [video] = media.getVideoTracks();
    video.contentHint = "detail";
    // The browser's own button.
    video.addEventListener("ended", () => this.#screen === media && this.stopScreenShare());
    this.#set("screen", { status: "open", label: video.label });
    tell(this.#onTrack, "screen", video);
  }

  stopScreenShare() {
    this.#turns.screen += 1;
    this.#dropScreen();
    this.#set("screen", CLOSED);
  }

  #dropScreen() {
    if (!this.#screen) return;
    for (const track of this.#screen.getTracks()) track.stop();
    this.#screen = null;
    tell(this.#onTrack, "screen", null);
  }

  // ---- lists

  async refresh() {
    const found = globalThis.navigator?.mediaDevices;
    if (!found?.enumerateDevices) return this.#state;
    if (!this.#watching) {
      this.#watching = true;
      found.addEventListener?.("devicechange", () => this.refresh().catch(() => {}));
    }
    const all = await found.enumerateDevices();
    const of = (kind) =>
      all.filter((one) => one.kind === kind && one.deviceId).map(({ deviceId, label }) => ({ deviceId, label }));
    this.#change({ ...this.#state, microphones: of("audioinput"), cameras: of("videoinput"), speakers: of("audiooutput") });
    return this.#state;
  }

  // ---- level

  get level() {
    this.#metered();
    return this.#meter.level;
  }

  onLevel(listener, intervalMs = LEVEL_MS) {
    this.#metered();
    const timer = setInterval(() => tell([listener], this.#meter.level), intervalMs);
    return () => clearInterval(timer);
  }

  #metered() {
    if (this.#meter) return;
    this.#meter = new Meter();
    this.#meter.listen(this.#tracks.microphone);
  }

  close() {
    this.closeMicrophone();
    this.closeCamera();
    this.stopScreenShare();
    // A mute is of this time on a seat.
    this.#set("microphone", { muted: false });
    this.#set("camera", { muted: false });
  }

  #set(kind, change) {
    this.#change({ ...this.#state, [kind]: { ...this.#state[kind], ...change } });
  }

  #change(state) {
    this.#state = state;
    tell(this.#subscribers, state);
  }
}

const exactly = (deviceId) => (deviceId ? { deviceId: { exact: deviceId } } : {});

/** How loud a track is. */
class Meter {
  #context = null;
  #source = null;
  #analyser = null;
  #samples = null;
  #track = null;

  listen(track) {
    this.#source?.disconnect();
    this.#source = null;
    this.#track = track;
    if (!track || !globalThis.AudioContext) return;
    this.#context ??= new AudioContext();
    this.#context.resume().catch(() => {});
    this.#analyser ??= this.#context.createAnalyser();
    this.#analyser.fftSize = 1024; // a fiftieth of a second at 48 kHz
    this.#samples ??= new Float32Array(this.#analyser.fftSize);
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
  }

  /** 0..=1; the scale people expect of a meter: -60 dB is nothing, 0 dB everything. */
  get level() {
    if (!this.#source || !this.#track.enabled) return 0;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length;
    return power > 0 ? Math.min(1, Math.max(0, 1 + Math.log10(power) / 6)) : 0;
  }
}

/** The devices of this page, as every room uses them unless told otherwise. */
export const devices = new Devices();
