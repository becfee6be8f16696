// Values that pages watch: Vue's refs if the page has Vue, else objects with `value` and `subscribe`; and the room that the
// facade speaks for.

import { CostageError, tell } from "../http.js";
import { onCurrentRoom } from "../room.js";

let vue = null;
/** What was made before Vue was given; none of it is reactive. */
const made = new Set();

/** @param {{shallowRef: (value: any) => any, computed: (getter: () => any) => any}} given Vue's own */
export function useVue(given) {
  vue = given;
  for (const forget of made) forget();
}

/** Makes a state once, and anew when Vue is given. */
export function once(make) {
  let state = null;
  made.add(() => (state = null));
  return () => (state ??= make());
}

/** Whether a page would see a difference. Values are plain data, `Map`s of it, or streams. */
export function alike(one, other) {
  if (Object.is(one, other)) return true;
  if (one instanceof Map && other instanceof Map) return alike([...one], [...other]);
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((value, index) => alike(value, other[index]));
  }
  if (!plain(one) || !plain(other)) return false;
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length && keys.every((key) => alike(one[key], other[key]));
}

const plain = (value) => value !== null && typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype;

/** A value that one side sets and pages read. */
export function cell(initial) {
  const listeners = new Set();
  const inner = vue ? vue.shallowRef(initial) : { value: initial };
  const ref = vue ? vue.computed(() => inner.value) : Object.defineProperty({}, "value", { get: () => inner.value, enumerable: true });
  ref.subscribe = (listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
  const set = (value) => {
    if (alike(inner.value, value)) return;
    inner.value = value;
    tell(listeners, value);
  };
  return { ref, set };
}

/**
 * Refs computed from the current room's state.
 *
 * @param {Record<string, (state: import("../../costage.js").RoomState | null) => any>} selectors
 */
export function fromRoom(selectors) {
  const cells = Object.entries(selectors).map(([name, select]) => ({ name, select, ...cell(select(null)) }));
  const show = (state) => {
    for (const { set, select } of cells) set(select(state));
  };
  let stop = null;
  onCurrentRoom((room) => {
    stop?.();
    stop = room?.subscribe(show) ?? null;
    show(room?.state ?? null);
  });
  return Object.fromEntries(cells.map(({ name, ref }) => [name, ref]));
}

let current = null;
onCurrentRoom((room) => (current = room));

/** The room of the newest `Room.connect`. */
export function room() {
  if (!current) throw new CostageError("not_in_room", "There is no room yet: await Room.connect first.");
  return current;
}

export const roomOrNone = () => current;

/** `subscribeEvent` and `unsubscribeEvent` over every room there will be. `hear(room, emit)` returns how to stop. */
export function events(hear) {
  const listeners = new Map();
  const emit = (name, info) => tell(listeners.get(name) ?? [], info);
  let stops = [];
  onCurrentRoom((room) => {
    for (const stop of stops) stop();
    stops = room ? hear(room, emit) : [];
  });
  return {
    subscribeEvent(name, listener) {
      if (!listeners.has(name)) listeners.set(name, new Set());
      listeners.get(name).add(listener);
    },
    unsubscribeEvent(name, listener) {
      listeners.get(name)?.delete(listener);
    },
  };
}

// ---- the guide's words for the interface's

/** @returns {import("../../costage.js").UserInfo} */
export const userInfo = (person) => ({
  userId: person?.user ?? "",
  userName: person?.name || person?.user || "",
  avatarUrl: person?.avatar_url ?? "",
});

const SECONDS_BELOW = 5_000; // from here up nobody means seconds: that would be longer than any room allows

/** The guide's timeout (seconds, or milliseconds) → the interface's. Pure. */
export function timeoutMs(timeout) {
  if (timeout === undefined || timeout === null) return undefined;
  return Math.round(timeout >= SECONDS_BELOW ? timeout : timeout * 1_000);
}

/** Absent or negative: any seat. */
export const seatNumber = (seatIndex) => (seatIndex === undefined || seatIndex === null || seatIndex < 0 ? -1 : seatIndex);

/** Of a user on a seat. */
export function seatOf(userId) {
  const found = room().state.seats.find((seat) => seat.user?.user === userId);
  if (!found) throw new CostageError("not_seated", `${userId} is on no seat.`);
  return found.seat;
}
