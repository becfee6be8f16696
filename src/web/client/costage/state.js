// What the page knows of a room: a snapshot, then one event after the other. Pure: the clock is an argument, every change
// makes new objects, and nothing here knows of a network.

/** Of finished requests, so that a late answer does not bring one back; more than anybody has open at once. */
const REMEMBERED = 64;

const NOBODY = { user: "", role: "member", seat: null, application: null, invitation: null };

/** @typedef {import("../costage.js").RoomState} RoomState */

/** Before the first snapshot. */
export function initial(id, { user = "", role = "member" } = {}) {
  return {
    id,
    phase: "idle",
    epoch: 0,
    version: 0,
    seats: [],
    host: null,
    settings: {},
    me: { ...NOBODY, user, role },
    members: [],
    applications: [],
    invitations: [],
    audience: 0,
    speaking: [],
    connection: "connecting",
    finished: [],
  };
}

/** Whether a member with this role is shown requests and members. */
export const hosts = (role) => role === "host" || role === "admin" || role === "service";

const same = (one, other) => one?.user === other?.user;
const without = (people, user) => people.filter((one) => one.user !== user);

/** A request with its deadline on this machine's clock. */
export const withDeadline = (value, now) =>
  value.expires_in_ms === undefined ? value : { ...value, expires_ms: now + value.expires_in_ms };

/** Rows of the interface with their deadlines on this machine's clock. */
const seatRows = (seats, now) =>
  seats.map((seat) => (seat.until_in_ms === undefined ? seat : { ...seat, until_ms: now + seat.until_in_ms }));

/** `me` as the seats have it. */
function seated(state) {
  const mine = state.seats.find((seat) => seat.user && seat.user.user === state.me.user);
  const seat = mine ? mine.seat : null;
  return seat === state.me.seat ? state : { ...state, me: { ...state.me, seat } };
}

const voice = ({ seat, audio_level }) => ({ seat, level: audio_level });

/** `seats`: who is heard now. Rows change with who begins and who ceases; how loud they are in between is in `speaking`. */
function heard(state, seats) {
  const levels = new Map(seats.map(({ seat, audio_level }) => [seat, audio_level]));
  const other = (row) => Boolean(row.user) && row.speaking !== levels.has(row.seat);
  const change = (row) => ({ ...row, speaking: levels.has(row.seat), audio_level: levels.get(row.seat) ?? row.audio_level });
  const rows = state.seats.some(other) ? state.seats.map((row) => (other(row) ? change(row) : row)) : state.seats;
  return { ...state, seats: rows, speaking: seats.map(voice) };
}

/** Changes one row of the seat list. */
function seatRow(state, number, change) {
  if (!state.seats.some((seat) => seat.seat === number)) return state;
  return { ...state, seats: state.seats.map((seat) => (seat.seat === number ? { ...seat, ...change(seat) } : seat)) };
}

const listOf = (kind) => (kind === "invitation" ? "invitations" : "applications");

/** Puts a request where it belongs: into the hosts' list, and to oneself if one is its guest. */
export function requested(state, request, now) {
  if (state.finished.includes(request.id)) return state;
  if (request.state !== "pending") return finished(state, request);
  const timed = withDeadline(request, now);
  let next = state;
  if (hosts(state.me.role)) {
    const list = listOf(request.kind);
    // A new one of the same person replaces the old one.
    const others = state[list].filter((one) => one.id !== request.id && !same(one.guest, request.guest));
    next = { ...next, [list]: [...others, timed] };
  }
  if (request.guest?.user === state.me.user) next = { ...next, me: { ...next.me, [request.kind]: timed } };
  return next;
}

/** Takes a request away that is over. */
export function finished(state, { id, kind }) {
  const list = listOf(kind);
  const known = state[list].some((one) => one.id === id);
  const mine = state.me[kind]?.id === id;
  return {
    ...state,
    finished: [...state.finished.filter((one) => one !== id), id].slice(-REMEMBERED),
    [list]: known ? state[list].filter((one) => one.id !== id) : state[list],
    me: mine ? { ...state.me, [kind]: null } : state.me,
  };
}

/** What of a room is neither seats nor people. */
const SETTINGS = [
  "seat_mode", "max_guests", "public_program", "policies", "program", "layout", "metadata", "urls", "outputs",
];
const settingsOf = (room) => Object.fromEntries(SETTINGS.filter((name) => name in room).map((name) => [name, room[name]]));

/** `data: {room, you}`: the room as a `GET` gives it, and who is asking. Members are not in it; those known stay. */
function snapshot(state, envelope, now) {
  const { room, you = {} } = envelope.data;
  const me = { ...NOBODY, user: you.user ?? state.me.user, role: you.role ?? state.me.role };
  const own = (kind) => (you[kind] ? withDeadline(you[kind], now) : null);
  return seated({
    ...roomRead({ ...state, version: 0, epoch: envelope.epoch, me, finished: [] }, room, now),
    me: { ...me, application: own("application"), invitation: own("invitation") },
    version: envelope.version,
    audience: room.audience,
    speaking: (room.seats ?? []).filter((seat) => seat.speaking).map(voice).sort((one, other) => other.level - one.level),
  });
}

/** The state after the room was read: what events do not carry. One that is older than what is known changes nothing. */
export function roomRead(state, room, now) {
  if (room.version < state.version || (room.epoch ?? state.epoch) !== state.epoch) return state;
  const timed = (requests = []) =>
    hosts(state.me.role) ? requests.filter(({ id }) => !state.finished.includes(id)).map((one) => withDeadline(one, now)) : [];
  return seated({
    ...state,
    version: room.version,
    phase: room.phase,
    host: room.host,
    seats: seatRows(room.seats, now),
    settings: settingsOf(room),
    applications: timed(room.applications),
    invitations: timed(room.invitations),
  });
}

/**
 * The state after the members were read. `touched`: whom events spoke of meanwhile; of them the events know better.
 *
 * @param {RoomState} state
 * @param {import("../costage.js").Member[]} members
 * @param {Set<string>} touched
 */
export function membersRead(state, members, touched) {
  const read = members.filter((member) => !touched.has(member.user));
  return { ...state, members: [...read, ...state.members.filter((member) => touched.has(member.user))] };
}

/** An event that ends a request may be on its way for so long after the request's time is up. */
const LATE_MS = 2_000;

/** The state without requests whose time is up: not everybody who saw one is told of its end. */
export function expired(state, now) {
  const over = (request) => request.expires_ms !== undefined && request.expires_ms + LATE_MS <= now;
  const left = (requests) => (requests.some(over) ? requests.filter((request) => !over(request)) : requests);
  const kept = (request) => (request && over(request) ? null : request);
  const applications = left(state.applications);
  const invitations = left(state.invitations);
  const me = { ...state.me, application: kept(state.me.application), invitation: kept(state.me.invitation) };
  const mine = me.application === state.me.application && me.invitation === state.me.invitation;
  if (mine && applications === state.applications && invitations === state.invitations) return state;
  return { ...state, applications, invitations, me: mine ? state.me : me };
}

/** When `expired` has something to do next; `null`: nothing is pending. */
export function nextExpiry(state) {
  const pending = [...state.applications, ...state.invitations, state.me.application, state.me.invitation];
  const times = pending.filter((request) => request?.expires_ms !== undefined).map((request) => request.expires_ms + LATE_MS);
  return times.length ? Math.min(...times) : null;
}

function roleChanged(state, user, role) {
  return user === state.me.user && role && role !== state.me.role && state.me.role !== "service"
    ? { ...state, me: { ...state.me, role } }
    : state;
}

function memberChanged(state, { member }) {
  const known = state.members.some((one) => one.user === member.user);
  const members = known
    ? state.members.map((one) => (one.user === member.user ? member : one))
    : [...state.members, member];
  return roleChanged({ ...state, members }, member.user, member.role);
}

function hostChanged(state, { host }) {
  const role = host.user === state.me.user ? "host" : state.me.role === "host" ? "admin" : state.me.role;
  return roleChanged({ ...state, host }, state.me.user, role);
}

const over = (state, { request }) => finished(state, request);
const pending = (state, { request }, now) => requested(state, request, now);

/** What each event does to the state; those not named change nothing but the version. */
const EVENTS = {
  "seats.changed": (state, data, now) => seated({ ...settled(state, data.joined), seats: seatRows(data.seats, now) }),
  "seat.updated": (state, data) => {
    const { seat, locked, audio_locked, video_locked, audio_muted, video_muted } = data;
    return seatRow(state, seat, () => ({ locked, audio_locked, video_locked, audio_muted, video_muted }));
  },
  "seat.connected": (state, data) => occupied(state, data),
  "seat.resumed": (state, data) => occupied(state, data),
  "seat.suspended": (state, data, now) =>
    seatRow(state, data.seat, () => {
      const { until, until_in_ms } = data;
      return { state: "held", until, until_in_ms, until_ms: until_in_ms === undefined ? undefined : now + until_in_ms };
    }),
  "seat.media": (state, { seat, source, audio, video }) =>
    seatRow(state, seat, (row) => {
      const known = row.sources?.[source] ?? { width: null, height: null, codec: null };
      const flows = { audio: audio === "on", video: video === "on", audio_state: audio, video_state: video };
      const none = audio === "off" && video === "off" && source === "screen";
      return { sources: { camera: null, screen: null, ...row.sources, [source]: none ? null : { ...known, ...flows } } };
    }),
  "application.received": pending,
  "application.cancelled": over,
  "application.responded": over,
  "application.processed": over,
  "application.no_response": over,
  "application.closed": over,
  "invitation.received": pending,
  "invitation.cancelled": over,
  "invitation.responded": over,
  "invitation.no_response": over,
  "invitation.closed": over,
  "host.away": (state) => ({ ...state, phase: "host_away" }),
  "host.back": (state) => ({ ...state, phase: "live" }),
  "host.changed": hostChanged,
  "room.updated": (state, data) => ({
    ...state, phase: data.phase ?? state.phase, settings: { ...state.settings, ...settingsOf(data) },
  }),
  "room.ended": (state) => ({ ...state, phase: "ended", applications: [], invitations: [], speaking: [] }),
  "member.joined": memberChanged,
  "member.updated": memberChanged,
  "member.left": (state, { member }) => ({ ...state, members: without(state.members, member.user) }),
  audience: (state, { count }) => ({ ...state, audience: count }),
  speaking: (state, { seats }) => heard(state, seats),
};

/** Whoever got a seat has no pending request any more, and not everybody who saw one is told so. */
function settled(state, joined = []) {
  const users = new Set(joined.map(({ user }) => user.user));
  const theirs = [...state.applications, ...state.invitations, state.me.application, state.me.invitation].filter(
    (request) => request && users.has(request.guest.user),
  );
  return theirs.reduce(finished, state);
}

function occupied(state, data) {
  const live = data.seat === 0 && state.phase !== "ended" ? { ...state, phase: "live" } : state;
  return seatRow(live, data.seat, () => ({
    state: "occupied", request: undefined, until: undefined, until_in_ms: undefined, until_ms: undefined,
  }));
}

/**
 * The state after one message of the room.
 *
 * @param {RoomState} state
 * @param {import("../costage.js").Envelope} envelope
 * @param {number} now milliseconds, as `Date.now()` counts
 */
export function reduce(state, envelope, now) {
  if (envelope.type === "snapshot") return snapshot(state, envelope, now);
  const version = Math.max(state.version, envelope.version ?? 0);
  const counted = version === state.version ? state : { ...state, version };
  const change = Object.hasOwn(EVENTS, envelope.type) ? EVENTS[envelope.type] : null;
  return change ? change(counted, envelope.data ?? {}, now) : counted;
}

/** Follows `seq` and `prev`: what is new, what came twice, and where something is missing. */
export class Sequence {
  #epoch = null;
  #seq = 0;

  /** For `?after=`: up to where everything is known; `null` before the first snapshot. */
  get after() {
    return this.#epoch === null ? null : `${this.#epoch}.${this.#seq}`;
  }

  /** Start over with a snapshot. */
  forget() {
    this.#epoch = null;
    this.#seq = 0;
  }

  /** @returns {"new" | "known" | "gap"} */
  judge({ type, epoch, seq, prev }) {
    if (type === "snapshot") {
      this.#epoch = epoch;
      this.#seq = seq;
      return "new";
    }
    if (epoch !== this.#epoch) return "gap";
    if (seq <= this.#seq) return "known";
    // An earlier `prev` is fine: what lies between was not for us, or was in the snapshot.
    if (typeof prev === "number" && prev > this.#seq) return "gap";
    this.#seq = seq;
    return "new";
  }
}
