// A room as a page sees it: its state, its events, its commands, and one's own media in it.

import { Commands } from "./commands.js";
import { devices as pageDevices } from "./devices.js";
import { CostageError, claims, command, tell } from "./http.js";
import { Program, Stage } from "./playback.js";
import { Publication } from "./publication.js";
import { expired, hosts, initial, membersRead, nextExpiry, reduce, requested, roomRead } from "./state.js";
import { EventStream } from "./stream.js";

const TOKEN_MARGIN_MS = 20_000; // a token that runs out within this is not used for anything new
const MOST_MEMBERS = 1_000; // what one answer holds: nobody reads a longer list
const READINGS = 5; // of one change, while events overtake the answers
const MOST_SLOTS = 12; // an offer of more does not fit into what a server reads

/** The server this module came from; of a copy that is kept elsewhere, the page's own. */
const HOME = /^https?:.*\/costage\/room\.js$/.test(import.meta.url)
  ? new URL("..", import.meta.url).href
  : (globalThis.location?.origin ?? "http://localhost");

const newest = new Set();
let current = null;

/** Calls with the newest connected room, now and whenever there is a newer; `null`: none. */
export function onCurrentRoom(listener) {
  newest.add(listener);
  listener(current);
  return () => newest.delete(listener);
}

function setCurrent(room) {
  current = room;
  tell(newest, room);
}

export class Room extends Commands {
  #options;
  #url;
  #state;
  #stream;
  #listeners = new Map();
  #subscribers = new Set();
  #over = new AbortController();
  #token = { text: null, goodUntil: 0 };
  #asking = null;
  #publication = null;
  #screen = null;
  /** Everything that plays. */
  #players = new Set();
  /** The transport of this occupancy was brought up once; if somebody closes it, it stays closed. */
  #published = false;
  #stopDevices;
  #reading = false;
  #unread = 0;
  #expiry = null;
  #leaving = false;
  #closing = null;
  /** Of whom events spoke since the members were asked for. */
  #touched = new Set();

  /** @param {import("../costage.js").ConnectOptions} options */
  static async connect(options) {
    const room = new Room(options);
    await room.#open();
    setCurrent(room);
    return room;
  }

  /** @private Use `Room.connect`. */
  constructor({ url = HOME, room, getToken, devices = pageDevices, autoPublish = true, closeDevicesWithSeat = true, ...rest }) {
    super();
    if (typeof room !== "string" || !room) throw new TypeError("Room.connect needs the id of a room.");
    if (typeof getToken !== "function") throw new TypeError("Room.connect needs getToken, a function that gives a token.");
    this.#options = { getToken, autoPublish, closeDevicesWithSeat, ...rest };
    this.#url = new URL(`v1/rooms/${encodeURIComponent(room)}`, url.endsWith("/") ? url : `${url}/`).href;
    this.id = room;
    this.devices = devices;
    this.#state = initial(room);
  }

  get state() {
    return this.#state;
  }

  get publication() {
    return this.#publication;
  }

  get screen() {
    return this.#screen;
  }

  // ---- listening

  on(type, listener) {
    if (!this.#listeners.has(type)) this.#listeners.set(type, new Set());
    this.#listeners.get(type).add(listener);
    return () => this.#listeners.get(type).delete(listener);
  }

  subscribe(listener) {
    this.#subscribers.add(listener);
    return () => this.#subscribers.delete(listener);
  }

  #emit(type, data, event) {
    tell(this.#listeners.get(type) ?? [], data, event);
  }

  #change(next) {
    if (next === this.#state) return;
    const seatBefore = this.#state.me.seat;
    this.#state = next;
    this.#seatChanged(seatBefore, next.me.seat);
    this.#watchExpiry();
    tell(this.#subscribers, next);
  }

  #watchExpiry() {
    clearTimeout(this.#expiry);
    const at = nextExpiry(this.#state);
    if (at === null || this.#over.signal.aborted) return;
    this.#expiry = setTimeout(() => this.#change(expired(this.#state, Date.now())), Math.max(0, at - Date.now()));
  }

  // ---- the stream

  #open() {
    const { transport, signal } = this.#options;
    return new Promise((resolve, reject) => {
      signal?.addEventListener("abort", () => {
        if (this.#state.epoch !== 0) return; // it is the page's room by now
        this.#end("closed");
        reject(new CostageError("closed", "The connection was given up."));
      });
      this.#stream = new EventStream({
        url: this.#url,
        token: (refused) => this.#tokenFor({ fresh: true, refused }),
        transport,
        onConnection: (connection) => {
          if (connection === this.#state.connection) return;
          this.#change({ ...this.#state, connection });
          this.#emit("connection", { connection });
        },
        onMessage: (envelope) => {
          this.#take(envelope);
          if (envelope.type === "snapshot") resolve();
        },
        onEnd: (reason, error) => {
          if (this.#leaving) return this.#end("left");
          const words = error ?? new CostageError(reason, ENDS[reason] ?? "The room could not be reached.");
          this.#end(reason, words);
          reject(words);
        },
      });
      if (signal?.aborted) return reject(new CostageError("closed", "The connection was given up."));
      this.#stopDevices = this.devices.onTrack((kind, track) => this.#trackChanged(kind, track));
      this.#stream.run();
    });
  }

  #take(envelope) {
    const { type, data } = envelope;
    const before = this.#state.me.role;
    if (type.startsWith("member.")) this.#touched.add(data.member.user);
    this.#change(reduce(this.#state, envelope, Date.now()));
    if (type === "seat.granted") this.#granted(data);
    if (type === "snapshot") this.#resume();
    const promoted = !hosts(before) && hosts(this.#state.me.role);
    if (type === "room.updated" || promoted) this.#readRoom();
    if (hosts(this.#state.me.role) && (type === "snapshot" || promoted)) this.#readMembers();
    this.#emit(type, data, envelope);
    this.#emit("*", data, envelope);
    if (type === "room.ended") this.#end("room_ended");
  }

  /** Settings, and for a new host the requests that wait: no event carries them. */
  async #readRoom() {
    this.#unread = READINGS;
    if (this.#reading) return; // whoever reads sees that there is more
    this.#reading = true;
    while (this.#unread > 0 && !this.#over.signal.aborted) {
      this.#unread -= 1;
      const room = await this.call("GET", "").catch(() => null); // the next snapshot has it
      if (!room) break;
      const overtaken = room.version < this.#state.version;
      this.#change(roomRead(this.#state, room, Date.now()));
      if (!overtaken) this.#unread = 0;
    }
    this.#reading = false;
  }

  #readMembers() {
    this.#touched.clear();
    this.call("GET", `/members?limit=${MOST_MEMBERS}`)
      .then(({ members }) => this.#change(membersRead(this.#state, members, this.#touched)))
      .catch(() => {}); // events go on telling who comes and goes
  }

  /** Nothing comes back after this. */
  #end(reason, error) {
    if (this.#over.signal.aborted) return;
    this.#over.abort();
    clearTimeout(this.#expiry);
    this.#stream?.close();
    this.#stopDevices?.();
    // A token that ran out ends no media: the server keeps it, and so does the page until it closes the room.
    if (reason !== "token_expired") this.#closeMedia();
    this.#change({ ...this.#state, connection: "closed" });
    this.#emit("closed", { reason, error });
    if (current === this) setCurrent(null);
  }

  async close() {
    this.#end("closed");
    await this.#closeMedia();
  }

  async leave() {
    // The server closes the stream of whoever leaves, maybe before it answers.
    this.#leaving = true;
    try {
      await this.call("DELETE", "/members/me");
    } finally {
      this.#end("left");
      await this.#closeMedia();
    }
  }

  // ---- tokens and calls

  /** The token of the moment, or a new one: for a new connection, when the old one was refused or is about to run out. */
  async #tokenFor({ fresh = false, refused = false } = {}) {
    if (!fresh && !refused && this.#token.text && Date.now() < this.#token.goodUntil) return this.#token.text;
    // Several calls at once need one new token, not several.
    this.#asking ??= (async () => {
      try {
        const text = await this.#options.getToken();
        if (typeof text !== "string" || !text) throw new CostageError("unauthenticated", "getToken gave no token.");
        const { exp, sub, role } = claims(text);
        this.#token = { text, goodUntil: exp ? exp * 1_000 - TOKEN_MARGIN_MS : Infinity };
        // The snapshot says it better; until then the token is what there is.
        if (this.#state.epoch === 0 && sub) this.#state = initial(this.id, { user: sub, role: role ?? "member" });
        return text;
      } finally {
        this.#asking = null;
      }
    })();
    return this.#asking;
  }

  async call(method, path, body) {
    if (this.#over.signal.aborted) throw new CostageError("closed", "This page is no longer in the room.");
    const token = (refused) => this.#tokenFor({ refused });
    const answer = await command({ method, url: this.#url + path, body, token });
    // Whoever commands is told by the answer, and by no event.
    const request = answer.request ?? answer;
    if (request.id && request.kind && request.guest) this.#change(requested(this.#state, request, Date.now()));
    return answer;
  }

  async mute(seat) {
    if (seat !== undefined) return this.updateSeat(seat, { audio_muted: true });
    this.devices.setMuted(true);
    return this.#own({ audio_muted: true });
  }

  async unmute(seat) {
    if (seat !== undefined) return this.updateSeat(seat, { audio_muted: false });
    const changed = await this.#own({ audio_muted: false });
    this.devices.setMuted(false);
    return changed;
  }

  async muteCamera(seat) {
    if (seat !== undefined) return this.updateSeat(seat, { video_muted: true });
    this.devices.setMuted(true, "camera");
    return this.#own({ video_muted: true });
  }

  async unmuteCamera(seat) {
    if (seat !== undefined) return this.updateSeat(seat, { video_muted: false });
    const changed = await this.#own({ video_muted: false });
    this.devices.setMuted(false, "camera");
    return changed;
  }

  /** Flags of one's own seat, if one has any. */
  async #own(flags) {
    const { me, version } = this.#state;
    return me.seat === null ? { version } : this.updateSeat(me.seat, flags);
  }

  // ---- one's own media

  /** The seat is ours: the transport comes up before anybody is asked for a device. */
  #granted({ seat }) {
    if (seat !== 0) this.#autoPublish();
  }

  #seatChanged(before, now) {
    if (before !== null && now === null) {
      this.#published = false;
      this.#closeOwn();
      if (this.#options.closeDevicesWithSeat) this.devices.close();
    }
    if (before === null && now !== null && now !== 0) this.#autoPublish();
  }

  /** After a snapshot: somebody who was on a seat before the page was loaded still is. */
  #resume() {
    const { seat } = this.#state.me;
    if (seat !== null && seat !== 0) this.#autoPublish();
  }

  #autoPublish() {
    if (!this.#options.autoPublish || this.#published) return;
    this.publish().catch(() => {}); // its state says so
  }

  async publish() {
    this.#mustBeOpen();
    this.#published = true;
    if (!isUp(this.#publication)) this.#publication = this.#publisher("camera", this.devices.tracks);
    await this.#publication.up();
    return this.#publication;
  }

  async publishScreen(options) {
    this.#mustBeOpen();
    // Shown here already, or asked for now; `onTrack` publishes it if the person agrees.
    if (!this.devices.screenStream) await this.devices.startScreenShare(options);
    this.#shareScreen();
    if (!this.#screen) throw new CostageError("not_seated", "Only somebody on a seat can share a screen.");
    await this.#screen.up();
    return this.#screen;
  }

  #shareScreen() {
    const { screenStream } = this.devices;
    if (!screenStream || isUp(this.#screen) || this.#state.me.seat === null) return;
    const [audio = null] = screenStream.getAudioTracks();
    const [video = null] = screenStream.getVideoTracks();
    this.#screen = this.#publisher("screen", { audio, video });
  }

  #publisher(source, tracks) {
    const url = `${this.#url}/whip${source === "screen" ? "?source=screen" : ""}`;
    const publication = new Publication({ source, url, tracks, token: (refused) => this.#tokenFor({ refused }) });
    publication.subscribe(({ state, error }) => this.#emit("publication", { source, state, error }));
    publication.start();
    return publication;
  }

  #trackChanged(kind, track) {
    if (kind === "screen") {
      if (track) this.#shareScreen();
      else this.#closeScreen();
      return;
    }
    this.#publication?.setTrack(kind === "microphone" ? "audio" : "video", track);
  }

  #closeScreen() {
    const closing = this.#screen?.close();
    this.#screen = null;
    return closing;
  }

  async #closeOwn() {
    const publication = this.#publication;
    this.#publication = null;
    await Promise.all([publication?.close(), this.#closeScreen()]);
  }

  #closeMedia() {
    this.#closing ??= (async () => {
      if (this.#publication && this.#options.closeDevicesWithSeat) this.devices.close();
      await Promise.all([this.#closeOwn(), ...[...this.#players].map((player) => player.close())]);
    })();
    return this.#closing;
  }

  #mustBeOpen() {
    if (this.#over.signal.aborted) throw new CostageError("closed", "This page is no longer in the room.");
  }

  // ---- watching

  async watchStage({ slots, ...options } = {}) {
    this.#mustBeOpen();
    // Every other seat, and one screen.
    const wanted = slots ?? (this.#state.settings.max_guests ?? 9) + 2;
    const count = Math.max(1, Math.min(wanted, MOST_SLOTS));
    return this.#play(new Stage({ ...options, room: this, slots: count, ...this.#playback("/whep/stage") }));
  }

  async watchProgram(video, { minusMe = false, ...options } = {}) {
    this.#mustBeOpen();
    return this.#play(new Program({ ...options, video, ...this.#playback(`/whep/program${minusMe ? "?minus=me" : ""}`) }));
  }

  async watchSeat(seat, video, { source = "camera", ...options } = {}) {
    this.#mustBeOpen();
    const path = `/whep/seats/${seat}${source === "screen" ? "?source=screen" : ""}`;
    return this.#play(new Program({ ...options, video, ...this.#playback(path) }));
  }

  #playback(path) {
    return {
      url: this.#url + path,
      token: (refused) => this.#tokenFor({ refused }),
      onClose: (player) => this.#players.delete(player),
    };
  }

  #play(player) {
    this.#players.add(player);
    player.start();
    return player;
  }
}

const isUp = (publication) => publication && publication.state !== "closed" && publication.state !== "failed";

const ENDS = {
  replaced: "The same person is in the room on another page or device.",
  removed: "You have been removed from this room.",
  room_ended: "The live has ended.",
  token_expired: "The token has expired and there is no new one.",
  network: "The server can't be reached.",
  timeout: "The server does not answer.",
};


