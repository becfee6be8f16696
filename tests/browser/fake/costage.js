// Stands in for `/costage.js` in tests of the demo page: a room that is whatever the test says, and remembers what it was
// told to do in `window.calls`. `window.scene` is set before the page's own code runs.

const PEOPLE = [
  ["ann", "Ann Berg"], ["bob", "Bob Okafor"], ["cleo", "Cleo Martín"], ["dev", "Dev Patel"], ["eva", "Eva Lindqvist"],
  ["finn", "Finn"], ["gus", "Gustav von Hohenzollern-Sigmaringen"], ["hana", "Hana Sato"], ["ivo", "Ivo"], ["jo", "Jo March"],
  ["kim", "Kim Nguyen"], ["lea", "Léa Dubois"], ["mo", "Mo Salah"],
].map(([user, name]) => ({ user, name, avatar_url: null }));
export const person = (user) => PEOPLE.find((one) => one.user === user) ?? { user, name: user, avatar_url: null };

/** A moving picture of somebody: light, head and shoulders, in a colour of their own. */
function picture(index, [width, height] = [640, 360]) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  const draw = (time) => {
    const hue = (index * 67 + 205) % 360;
    const light = context.createLinearGradient(0, 0, width, height);
    light.addColorStop(0, `hsl(${hue} 45% 62%)`);
    light.addColorStop(1, `hsl(${(hue + 45) % 360} 50% 24%)`);
    context.fillStyle = light;
    context.fillRect(0, 0, width, height);
    const x = width / 2 + Math.sin(time / 900 + index) * 12;
    context.fillStyle = `hsl(${(hue + 180) % 360} 35% 22%)`;
    context.beginPath();
    context.ellipse(x, height * 1.08, width * 0.24, height * 0.44, 0, 0, 7);
    context.fill();
    context.fillStyle = `hsl(${22 + (index * 5) % 14} 45% ${50 + (index * 11) % 22}%)`;
    context.beginPath();
    context.ellipse(x, height * 0.44, height * 0.17, height * 0.22, 0, 0, 7);
    context.fill();
  };
  draw(0);
  setInterval(() => draw(performance.now()), 100);
  return canvas.captureStream(10);
}

const FLAGS = { locked: false, audio_locked: false, video_locked: false, audio_muted: false, video_muted: false };

function seat(number, given) {
  const base = { seat: number, state: "empty", ...FLAGS, sources: { camera: null, screen: null }, speaking: null, audio_level: null };
  if (!given) return base;
  const { user, ...more } = given;
  const camera = { audio: true, video: true, width: 1280, height: 720, codec: "h264", audio_state: "on", video_state: "on" };
  return user ? { ...base, state: "occupied", user: person(user), sources: { camera, screen: null }, ...more } : { ...base, ...more };
}

export function request(kind, user, { by = user, left = 24_000, whole = 30_000, ...more } = {}) {
  const end = Date.now() + left;
  const time = (ms) => new Date(ms).toISOString();
  return {
    id: `1-${user}`, kind, guest: person(user), by: person(by), seat: -1, media: "av", extra: null, state: "pending",
    created_at: time(end - whole), expires_at: time(end), expires_in_ms: left, expires_ms: end, ...more,
  };
}

class Devices {
  #listeners = new Set();
  stream = new MediaStream();
  screenStream = null;
  level = 0;
  state = {
    microphone: closed(), camera: closed(), screen: closed(),
    microphones: [{ deviceId: "m1", label: "Built-in microphone" }, { deviceId: "m2", label: "Headset" }],
    cameras: [{ deviceId: "c1", label: "FaceTime HD" }, { deviceId: "c2", label: "Desk camera" }],
    speakers: [{ deviceId: "default", label: "Default" }],
  };

  subscribe(listener) {
    this.#listeners.add(listener);
    listener(this.state);
    return () => this.#listeners.delete(listener);
  }
  change(device, change) {
    this.state = { ...this.state, [device]: { ...this.state[device], ...change } };
    for (const listener of this.#listeners) listener(this.state);
  }
  async open(device) {
    const code = window.scene.denied?.includes(device) && "device_denied";
    if (code) {
      const error = Object.assign(new Error("not allowed"), { code, detail: "not allowed" });
      this.change(device, { status: "closed", error });
      throw error;
    }
    if (device === "camera") for (const track of picture(9).getTracks()) this.stream.addTrack(track);
    this.change(device, { status: "open", muted: false, error: null });
  }
  openCamera = () => this.open("camera");
  openMicrophone = () => this.open("microphone");
  closeCamera() {
    for (const track of this.stream.getVideoTracks()) this.stream.removeTrack(track);
    this.change("camera", { status: "closed" });
  }
  closeMicrophone = () => this.change("microphone", { status: "closed" });
  switchCamera = async (deviceId) => this.change("camera", { deviceId });
  switchMicrophone = async (deviceId) => this.change("microphone", { deviceId });
  setMuted(muted, device = "microphone") {
    this.change(device, { muted });
  }
  async startScreenShare() {
    this.screenStream = picture(4, [1280, 720]);
    this.change("screen", { status: "open" });
  }
  stopScreenShare() {
    this.screenStream = null;
    this.change("screen", { status: "closed" });
  }
  refresh = async () => this.state;
  onLevel = () => () => {};
  close() {
    this.stopScreenShare();
    for (const device of ["camera", "microphone"]) this.change(device, { status: "closed" });
  }
}

function closed() {
  return { status: "closed", muted: false, deviceId: null, label: "", error: null };
}

export const devices = new Devices();

const COMMANDS = [
  "apply", "cancelApplication", "acceptApplication", "rejectApplication", "invite", "cancelInvitation", "acceptInvitation",
  "rejectInvitation", "takeSeat", "leaveSeat", "leave", "kick", "lockSeat", "unlockSeat", "lockMicrophone", "unlockMicrophone",
  "lockCamera", "unlockCamera", "mute", "unmute", "muteCamera", "unmuteCamera", "updateSeat", "move", "swap", "ask", "grantAdmin",
  "withdrawAdmin", "removeMember", "ban", "endRoom", "updateSettings", "layout", "setLayout", "setProgram",
];

export class Room {
  #listeners = new Map();
  #subscribers = new Set();
  devices = devices;
  publication = null;
  screen = null;

  static async connect() {
    const { refused } = window.scene;
    if (refused) throw Object.assign(new Error(refused), { code: refused });
    return (window.fake = new Room(window.scene));
  }

  constructor({ me, seats = {}, count = 9, members = [], applications = [], invitations = [], settings = {}, publishing, ...more }) {
    window.calls = [];
    this.id = "demo";
    const policies = { kick_cooldown_ms: 30_000, reject_cooldown_ms: 3_000, host_away_ms: 60_000, self_move: true };
    const list = Array.from({ length: count + 1 }, (_, number) => seat(number, seats[number]));
    const own = list.find((one) => one.user?.user === me.user)?.seat ?? null;
    const asked = me.application && request("application", me.user, me.application);
    const invited = me.invitation && request("invitation", me.user, me.invitation);
    this.state = {
      id: "demo", phase: "live", epoch: 1, version: 7, host: person("ann"), audience: 128, connection: "online", seats: list, speaking: [],
      settings: { seat_mode: "apply", max_guests: count, public_program: true, policies, program: { mode: "auto" }, layout: { template: "grid" }, metadata: null, urls: {}, ...settings },
      members: members.map((one) => ({ role: "member", presence: "online", ...person(one.user ?? one), ...(one.user ? one : {}) })),
      applications: applications.map((one) => request("application", one.user, one)),
      invitations: invitations.map((one) => request("invitation", one.user, one)),
      ...more,
      me: { role: "member", ...me, seat: own, application: asked ?? null, invitation: invited ?? null },
    };
    for (const command of COMMANDS) {
      this[command] = async (...args) => {
        window.calls.push([command, ...args]);
        const problem = window.scene.errors?.[command];
        if (problem) throw Object.assign(new Error(problem.code), problem);
        return { version: 8, seat: 1 };
      };
    }
    if (publishing) this.publication = { state: "live", connection: null, ...publishing };
  }

  on(type, listener) {
    if (!this.#listeners.has(type)) this.#listeners.set(type, new Set());
    this.#listeners.get(type).add(listener);
    return () => this.#listeners.get(type).delete(listener);
  }
  subscribe(listener) {
    this.#subscribers.add(listener);
    return () => this.#subscribers.delete(listener);
  }

  /** For tests: an event of the room. */
  emit(type, data, event = {}) {
    for (const listener of this.#listeners.get(type) ?? []) listener(data, { actor: person("ann"), type, data, ...event });
  }
  /** For tests: another state. */
  change(change) {
    this.state = { ...this.state, ...change };
    for (const listener of this.#subscribers) listener(this.state);
  }
  seat(number, given) {
    const seats = this.state.seats.map((one) => (one.seat === number ? seat(number, given) : one));
    const own = seats.find((one) => one.user?.user === this.state.me.user)?.seat ?? null;
    this.change({ seats, me: { ...this.state.me, seat: own } });
  }

  async publish() {
    window.calls.push(["publish"]);
    this.publication = { state: "live", connection: null };
    this.emit("publication", { source: "camera", state: "live" });
    return this.publication;
  }
  async publishScreen() {
    window.calls.push(["publishScreen"]);
    await devices.startScreenShare();
  }
  async watchStage({ onSlots }) {
    const streams = new Map();
    const stage = {
      connection: null,
      slots: [],
      stream: (number, source = "camera") => {
        const key = `${number}-${source}`;
        if (!streams.has(key)) streams.set(key, picture(number, source === "screen" ? [1280, 720] : undefined));
        return streams.get(key);
      },
      close: async () => {},
    };
    setTimeout(() => onSlots([]));
    return stage;
  }
  async watchProgram(video) {
    video.srcObject = picture(2, [1280, 720]);
    return { state: "live", connection: null, stream: video.srcObject, close: async () => (video.srcObject = null) };
  }
  async close() {}
}
