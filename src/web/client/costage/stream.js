// The event stream of a room: one WebSocket, or server-sent events where no WebSocket gets through. Being connected is
// being in the room, so it comes back by itself until the room says that it is over.

import { CostageError, call, sleep, spread } from "./http.js";
import { Sequence } from "./state.js";

const OPEN_MS = 8_000; // from the call to an open stream
const SSE_SILENT_MS = 15_000; // the server writes something every 4 s
const WEBSOCKET_SILENT_MS = 30_000; // its pings are not shown to pages: ask the server whether it is there
const STEADY_MS = 5_000; // open for so long: the next loss is a new one
const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 10_000;
const TOKENS_IN_A_ROW = 3; // refused so often, the page has no better one
const FIRST_ATTEMPTS = 5; // before the page is told that there is no way in: about eight seconds

const CLOSES = { 4001: "replaced", 4002: "slow", 4003: "token_expired", 4004: "room_ended", 4005: "removed" };
const FINAL = ["replaced", "room_ended", "removed"];

/**
 * What to do after a stream ended. Pure.
 *
 * @param {{reason: string, status?: number, steady: boolean, refusals: number, firstAttempts?: number}} end
 *   `refusals`: of tokens, in a row, this one counted; `firstAttempts`: made in vain so far, 0 once a stream was open
 * @returns {"now" | "later" | "never"}
 */
export function verdict({ reason, status = 0, steady, refusals, firstAttempts = 0 }) {
  if (FINAL.includes(reason) || firstAttempts >= FIRST_ATTEMPTS) return "never";
  // Whoever asks for a token and never had one has nothing to wait for.
  if (reason === "token" && firstAttempts > 0) return "never";
  if (reason === "token_expired" || status === 401) {
    if (refusals >= TOKENS_IN_A_ROW) return "never";
    return refusals <= 1 ? "now" : "later";
  }
  if (reason === "gap") return "now";
  if (reason === "slow") return steady ? "now" : "later";
  // Whoever may not come in, or comes to no room, need not knock again. Too many (429) and a sick server pass.
  if (status >= 400 && status < 500 && status !== 408 && status !== 429) return "never";
  return "later";
}

/** Splits the text of server-sent events. Pure. */
export class SseParser {
  #rest = "";
  #event = "";
  #data = [];

  /** @returns {{event: string, data: string}[]} */
  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    const found = [];
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) found.push({ event: this.#event || "message", data: this.#data.join("\n") });
        this.#event = "";
        this.#data = [];
        continue;
      }
      const colon = line.indexOf(":");
      if (colon === 0) continue;
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") this.#event = value;
      if (field === "data") this.#data.push(value);
    }
    return found;
  }
}

export class EventStream {
  #options;
  #sequence = new Sequence();
  #over = new AbortController();
  #current = null;
  #websocketWorks = null;
  #online = () => this.#current?.end({ reason: "network" });

  /**
   * @param {object} options
   * @param {string} options.url of the room, without `/events`
   * @param {(refused: boolean) => Promise<string>} options.token `refused`: another one than the last
   * @param {"auto"|"websocket"|"sse"} [options.transport]
   * @param {(envelope: object) => void} options.onMessage new messages only, none missing between them
   * @param {(connection: "connecting"|"online"|"reconnecting", error?: Error) => void} options.onConnection
   * @param {(reason: string, error?: Error) => void} options.onEnd it does not come back
   */
  constructor(options) {
    this.#options = options;
  }

  /** Runs until closed, or until it is over. */
  async run() {
    globalThis.addEventListener?.("online", this.#online);
    const signal = this.#over.signal;
    let backoffMs = FIRST_BACKOFF_MS;
    let refusals = 0;
    let gaps = 0;
    let firstAttempts = 0;
    let wasOpen = false;
    this.#options.onConnection("connecting");
    while (!signal.aborted) {
      const end = await this.#once(refusals > 0);
      if (signal.aborted) break;
      if (end.steady) backoffMs = FIRST_BACKOFF_MS;
      if (end.opened) refusals = 0;
      if (end.reason === "token_expired" || end.error?.status === 401) refusals += 1;
      gaps = end.reason === "gap" ? gaps + 1 : 0;
      if (gaps > 1) this.#sequence.forget(); // resuming did not help
      wasOpen ||= end.opened;
      firstAttempts = wasOpen ? 0 : firstAttempts + 1;
      const { reason, steady, error } = end;
      const next = verdict({ reason, status: error?.status, steady, refusals, firstAttempts });
      if (next === "never") {
        this.#stop();
        this.#options.onEnd(error?.status ? error.code : reason, error);
        return;
      }
      this.#options.onConnection(wasOpen ? "reconnecting" : "connecting", error);
      if (next === "now" && gaps < 3) continue;
      await sleep(spread(error?.retryAfterMs ?? backoffMs), signal);
      backoffMs = Math.min(backoffMs * 2, LONGEST_BACKOFF_MS);
    }
  }

  /** Ends it; nothing is called any more. */
  close() {
    this.#stop();
  }

  #stop() {
    this.#over.abort();
    globalThis.removeEventListener?.("online", this.#online);
    this.#current?.end({ reason: "closed" });
  }

  /** One connection, until it is lost: how it ended. */
  async #once(refused) {
    let openedAt = null;
    const opened = () => {
      openedAt = Date.now();
      // Resumed: there may be nothing to say for long. Else the snapshot says that we are in.
      if (this.#sequence.after !== null) this.#options.onConnection("online");
    };
    const ended = (end) => ({ ...end, opened: openedAt !== null, steady: openedAt !== null && Date.now() - openedAt >= STEADY_MS });
    let token;
    try {
      token = await this.#options.token(refused);
    } catch (error) {
      return ended({ reason: "token", error });
    }
    if (this.#over.signal.aborted) return ended({ reason: "closed" });
    const { transport = "auto" } = this.#options;
    const websocket = transport !== "sse" && this.#websocketWorks !== false && globalThis.WebSocket;
    if (websocket) {
      const end = await this.#websocket(token, opened);
      if (openedAt !== null) this.#websocketWorks = true;
      if (openedAt !== null || transport === "websocket" || this.#over.signal.aborted) return ended(end);
      // A refused upgrade does not tell why. The same call as server-sent events does, or gets through.
    }
    const end = await this.#sse(token, opened);
    if (websocket && openedAt !== null && this.#websocketWorks === null) this.#websocketWorks = false;
    return ended(end);
  }

  #address(scheme, token) {
    const url = new URL(`${this.#options.url}/events`);
    if (scheme) url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const after = this.#sequence.after;
    if (after !== null) url.searchParams.set("after", after);
    if (token) url.searchParams.set("token", token);
    return url.href;
  }

  /** One message; ends the connection if something is missing before it. */
  #take(text, end) {
    let envelope;
    try {
      envelope = JSON.parse(text);
    } catch (error) {
      end({ reason: "gap", error: new CostageError("stream", "The stream held something that is no event.", { cause: error }) });
      return;
    }
    if (typeof envelope.type !== "string") return;
    const news = this.#sequence.judge(envelope);
    if (news === "gap") return end({ reason: "gap" });
    if (news === "known") return;
    if (envelope.type === "snapshot") this.#options.onConnection("online");
    this.#options.onMessage(envelope);
  }

  #websocket(token, opened) {
    return new Promise((resolve) => {
      const socket = new WebSocket(this.#address("ws", token));
      let watch = setTimeout(() => end({ reason: "timeout" }), OPEN_MS);
      const end = (how) => {
        if (this.#current?.end !== end) return;
        this.#current = null;
        clearTimeout(watch);
        socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
        socket.close();
        resolve(how);
      };
      this.#current = { end };
      const heard = () => {
        clearTimeout(watch);
        watch = setTimeout(async () => {
          const there = await this.#serverIsThere(token);
          if (this.#current?.end !== end) return;
          if (there) heard();
          else end({ reason: "network" });
        }, WEBSOCKET_SILENT_MS);
      };
      socket.onopen = () => {
        heard();
        opened();
      };
      socket.onmessage = ({ data }) => {
        heard();
        this.#take(data, end);
      };
      socket.onclose = ({ code }) => end({ reason: CLOSES[code] ?? "network" });
    });
  }

  /** Any answer of the server will do. */
  async #serverIsThere(token) {
    try {
      await call(this.#options.url, { token, signal: this.#over.signal });
      return true;
    } catch (error) {
      return error.status > 0;
    }
  }

  async #sse(token, opened) {
    const away = new AbortController();
    let how = null;
    const end = (given) => {
      how ??= given;
      away.abort();
    };
    this.#current = { end };
    let watch = setTimeout(() => end({ reason: "timeout" }), OPEN_MS);
    try {
      const headers = { Accept: "text/event-stream" };
      const response = await call(this.#address("", null), { token, headers, signal: away.signal, cache: "no-store" });
      opened();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      away.signal.addEventListener("abort", () => reader.cancel().catch(() => {}));
      const parser = new SseParser();
      while (!how) {
        clearTimeout(watch);
        watch = setTimeout(() => end({ reason: "network" }), SSE_SILENT_MS);
        const { done, value } = await reader.read();
        if (done) break;
        for (const { event, data } of parser.push(value)) {
          if (how) break;
          if (event === "bye") end({ reason: JSON.parse(data).data?.reason ?? "network" });
          else this.#take(data, end);
        }
      }
      return how ?? { reason: "network" };
    } catch (error) {
      return how ?? { reason: error.code ?? "network", error: error instanceof CostageError ? error : undefined };
    } finally {
      clearTimeout(watch);
      away.abort();
      if (this.#current?.end === end) this.#current = null;
    }
  }
}
