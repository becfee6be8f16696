// The commands of a room, one method each: what they send where. How they are sent is the room's.

import { withDeadline } from "./state.js";

const DEFAULT_BAN_MS = 24 * 3_600_000;

const at = (segment) => encodeURIComponent(segment);

/** `?a=1&b=2` of what is there. */
function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

export class Commands {
  /**
   * @param {string} _method
   * @param {string} _path below `/v1/rooms/{room}`
   * @param {unknown} [_body]
   * @returns {Promise<any>}
   */
  call(_method, _path, _body) {
    throw new Error("abstract");
  }

  // ---- applications and invitations

  async apply({ seat = -1, media = "av", timeoutMs, extra, user } = {}) {
    const body = { seat, media, timeout_ms: timeoutMs, extra, user };
    return withDeadline(await this.call("POST", "/applications", body), Date.now());
  }

  cancelApplication(user = "me") {
    return this.call("DELETE", `/applications/${at(user)}`);
  }

  acceptApplication(user, { seat, request } = {}) {
    return this.call("POST", `/applications/${at(user)}/accept`, { seat, request });
  }

  rejectApplication(user, { reason, request } = {}) {
    return this.call("POST", `/applications/${at(user)}/reject`, { reason, request });
  }

  async invite(user, { seat = -1, timeoutMs, extra } = {}) {
    const body = { user, seat, timeout_ms: timeoutMs, extra };
    return withDeadline(await this.call("POST", "/invitations", body), Date.now());
  }

  cancelInvitation(user) {
    return this.call("DELETE", `/invitations/${at(user)}`);
  }

  acceptInvitation({ request } = {}) {
    return this.call("POST", "/invitations/me/accept", { request });
  }

  rejectInvitation({ reason, request } = {}) {
    return this.call("POST", "/invitations/me/reject", { reason, request });
  }

  // ---- seats

  takeSeat(seat, { user = this.state.me.user, name, avatar_url, ifVersion } = {}) {
    return this.call("PUT", `/seats/${seat}`, { user, name, avatar_url, if_version: ifVersion });
  }

  leaveSeat() {
    return this.call("DELETE", "/seats/me");
  }

  kick(who, { user, reason, ifVersion } = {}) {
    if (typeof who === "number") {
      return this.call("DELETE", `/seats/${who}${query({ user, reason, if_version: ifVersion })}`);
    }
    return this.call("DELETE", `/members/${at(who)}/seat${query({ reason })}`);
  }

  updateSeat(seat, flags) {
    return this.call("PATCH", `/seats/${seat}`, flags);
  }

  lockSeat(seat) {
    return this.updateSeat(seat, { locked: true });
  }

  unlockSeat(seat) {
    return this.updateSeat(seat, { locked: false });
  }

  lockMicrophone(seat) {
    return this.updateSeat(seat, { audio_locked: true });
  }

  unlockMicrophone(seat) {
    return this.updateSeat(seat, { audio_locked: false });
  }

  lockCamera(seat) {
    return this.updateSeat(seat, { video_locked: true });
  }

  unlockCamera(seat) {
    return this.updateSeat(seat, { video_locked: false });
  }

  move(seat, to, policy = "abort") {
    return this.call("POST", `/seats/${seat}/move`, { to, policy });
  }

  swap(seat, to) {
    return this.move(seat, to, "swap");
  }

  ask(seat, { audio = false, video = false }) {
    return this.call("POST", `/seats/${seat}/ask`, { audio, video });
  }

  // ---- people

  grantAdmin(user) {
    return this.call("PATCH", `/members/${at(user)}`, { role: "admin" });
  }

  withdrawAdmin(user) {
    return this.call("PATCH", `/members/${at(user)}`, { role: "member" });
  }

  removeMember(user, { reason } = {}) {
    return this.call("DELETE", `/members/${at(user)}`, reason === undefined ? undefined : { reason });
  }

  ban(user, { banMs = DEFAULT_BAN_MS, reason } = {}) {
    return this.call("DELETE", `/members/${at(user)}`, { ban_ms: banMs, reason });
  }

  // ---- the room

  endRoom() {
    return this.call("DELETE", "");
  }

  updateSettings(settings) {
    return this.call("PATCH", "", settings);
  }

  /** As it is set, and the rectangles that come of it now. */
  layout() {
    return this.call("GET", "/layout");
  }

  setLayout(layout, { ifVersion } = {}) {
    // What `layout` gave beside the layout itself.
    const { version, canvas, in_force, ...wanted } = layout;
    return this.call("PUT", "/layout", { ...wanted, if_version: ifVersion });
  }

  setProgram(settings, { ifVersion } = {}) {
    return this.call("PATCH", "/program", { ...settings, if_version: ifVersion });
  }
}
