// Errors and reasons of the interface as sentences for people; all pages speak through this.

const WORDS = {
  unauthenticated: "The server wants a token for this room.",
  token_expired: "The token has expired. Get a new one.",
  permission_denied: "The token does not allow this in this room.",
  banned: "You have been removed from this room.",
  not_seated: "You have no seat in this room. Ask the host for one.",
  not_in_room: "You are not in this room.",
  seats_disabled: "Seats of this room are given out elsewhere.",
  seat_locked: "This seat is locked.",
  seat_occupied: "This seat is taken.",
  all_seats_occupied: "All seats are taken.",
  already_seated: "You already have another seat.",
  already_invited: "Somebody has invited this person already.",
  already_processed: "Somebody has answered this request already.",
  already_accepted: "The request was accepted a moment ago.",
  conflict: "Somebody else was faster.",
  version_conflict: "Somebody else has changed this a moment ago.",
  request_not_found: "This request is gone.",
  request_cancelled: "The request was withdrawn.",
  request_expired: "The request is too old.",
  rate_limited: "Too many requests. Wait a little.",
  cooldown: "Not again so soon. Wait a little.",
  queue_full: "Too many people are waiting already.",
  seat_index_invalid: "There is no such guest seat in this room.",
  codec_unsupported: "This browser and the server have no video codec in common.",
  room_not_found: "There is no such room yet.",
  room_ended: "The live has ended.",
  nothing_to_play: "There is nothing to see yet.",
  capacity_exhausted: "The server is full.",
  server_draining: "The server is being restarted.",
  // The client module's own.
  network: "The server can't be reached.",
  timeout: "The server does not answer.",
  closed: "You are no longer in the room.",
  device_denied: "The browser does not allow it here. Allow it beside the page's address, then try again.",
  device_not_found: "This machine has none.",
  device_in_use: "Another program is using it.",
  device_insecure: "Browsers give cameras only to https:// pages and to this machine itself.",
};

/** An error as a sentence for people. */
export function inWords(error) {
  if (error?.code === "cooldown" && error.retryAfterMs > 0) {
    return `You can ask again in ${seconds(error.retryAfterMs)}.`;
  }
  if (Object.hasOwn(WORDS, error?.code ?? "")) return WORDS[error.code];
  if (error instanceof TypeError) return WORDS.network;
  return sentence(error?.detail || error?.message || "Something went wrong.");
}

export const seconds = (ms) => `${Math.max(1, Math.ceil(ms / 1_000))} s`;

export function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
