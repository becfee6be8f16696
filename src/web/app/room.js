// What both pages need: which room, as whom, with which token, and errors in plain words.

import { call } from "/costage/http.js";

export { inWords } from "./words.js";

const USER_KEY = "costage-user";

export const $ = (id) => document.getElementById(id);

/** Room, seat and user of the address. A token may stand behind `#token=`: that part is never sent to a server. */
export function parameters() {
  const query = new URLSearchParams(location.search);
  const hidden = new URLSearchParams(location.hash.slice(1));
  const seat = Number.parseInt(query.get("seat"), 10);
  return {
    room: query.get("room") || "demo",
    seat: Number.isInteger(seat) && seat >= 0 ? seat : null,
    user: query.get("user") || rememberedUser(),
    token: hidden.get("token"),
  };
}

/** One identity per tab, kept over a reload: a seat is held for its user for a while. */
function rememberedUser() {
  let user = null;
  try {
    user = sessionStorage.getItem(USER_KEY);
  } catch {
    // Storage may be switched off.
  }
  if (!user) {
    user = `guest-${Math.random().toString(36).slice(2, 8)}`;
    try {
      sessionStorage.setItem(USER_KEY, user);
    } catch {
      // Then it lasts as long as the page.
    }
  }
  return user;
}

export const roomUrl = (room, path = "") => `/v1/rooms/${encodeURIComponent(room)}${path}`;

/**
 * Where tokens come from: a pasted one first, else the server itself, which hands them out under `--dev` only.
 * `member()` is one's own, `service()` seats people and exists under `--dev` only.
 */
export class Tokens {
  #room;
  #user;
  #own;

  constructor({ room, user, token }) {
    this.#room = room;
    this.#user = user;
    this.#own = token;
  }

  get pasted() {
    return Boolean(this.#own);
  }

  paste(token) {
    this.#own = token.trim() || null;
  }

  async member() {
    return this.#own ?? (await this.#ask("member"));
  }

  async service() {
    return this.#ask("service");
  }

  async #ask(role) {
    const response = await call("/v1/tokens", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ room: this.#room, user: this.#user, role }),
    });
    return (await response.json()).token;
  }
}

/** Shows a state: the word in the badge, the sentence beside it. `tone`: `busy`, `good`, `bad` or `idle`. */
export function show(name, tone, word, sentence = "") {
  const badge = $("state");
  badge.textContent = word;
  badge.dataset.state = name;
  badge.dataset.tone = tone;
  $("message").textContent = sentence;
  $("message").classList.toggle("bad", tone === "bad");
}

/** Sums over a connection's statistics, per second where it is a rate. */
export class Meter {
  #last = null;

  /** @returns {Promise<object|null>} frames, width, height, fps, kbps and packets of audio and video, in the `direction` */
  async read(pc, direction) {
    if (!pc || pc.connectionState === "closed") return null;
    const type = direction === "in" ? "inbound-rtp" : "outbound-rtp";
    const sum = { at: 0, bytes: 0, frames: 0, width: 0, height: 0, fps: 0, audioPackets: 0, videoPackets: 0, codec: "" };
    const report = await pc.getStats();
    for (const stat of report.values()) {
      if (stat.type !== type) continue;
      sum.at = stat.timestamp;
      sum.bytes += stat.bytesReceived ?? stat.bytesSent ?? 0;
      const packets = stat.packetsReceived ?? stat.packetsSent ?? 0;
      if (stat.kind === "audio") sum.audioPackets += packets;
      if (stat.kind !== "video") continue;
      sum.videoPackets += packets;
      sum.codec = report.get(stat.codecId)?.mimeType?.replace("video/", "") ?? sum.codec;
      // Simulcast sends several encodings; the largest says what the camera gives.
      if ((stat.frameWidth ?? 0) >= sum.width) {
        sum.width = stat.frameWidth ?? 0;
        sum.height = stat.frameHeight ?? 0;
        sum.frames = stat.framesDecoded ?? stat.framesSent ?? 0;
        sum.fps = stat.framesPerSecond ?? 0;
      }
    }
    const last = this.#last;
    this.#last = sum;
    const elapsedMs = last ? sum.at - last.at : 0;
    return { ...sum, kbps: elapsedMs > 0 && sum.bytes >= last.bytes ? Math.round(((sum.bytes - last.bytes) * 8) / elapsedMs) : 0 };
  }
}

/** Writes the numbers where people and tests read them. */
export function showStats(stats) {
  const output = $("stats");
  for (const key of ["frames", "width", "height", "audioPackets", "videoPackets"]) {
    output.dataset[key] = stats ? stats[key] : 0;
  }
  if (!stats || !stats.width) {
    output.textContent = "";
    return;
  }
  const parts = [`${stats.width}×${stats.height}`, `${Math.round(stats.fps)} fps`, `${stats.kbps} kbit/s`, stats.codec];
  output.textContent = parts.filter(Boolean).join(" · ");
}
