// One WHIP or WHEP session (RFC 9725): offers, keeps the resource, restarts ICE when the path breaks, connects anew when
// the session is lost, and deletes the resource at the end. Knows nothing of rooms or pages.

import { CostageError, call, sleep, spread } from "./http.js";

const CONNECT_MS = 10_000; // from the answer to "connected"
const DISCONNECTED_MS = 2_000; // packets may be late for a moment; longer than this the path is broken
const RESTART_MS = 5_000; // an ICE restart that takes longer has failed
const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 8_000;
const WAITING_MS = 2_000; // between looks at a room in which there is nothing to play yet

/** Whether the same request may succeed later, without anybody changing it. */
function passing({ status }) {
  return status === 0 || status === 409 || status === 404 || status === 429 || status >= 500;
}

export class Session {
  #options;
  #over = new AbortController();
  #pc = null;
  #resource = null;
  #token = null;
  #refused = false;
  #onPageHide = () => this.#leave();

  /**
   * @param {object} options
   * @param {string} options.url the WHIP or WHEP endpoint
   * @param {(refused: boolean) => string|null|Promise<string|null>} options.token asked for before each attempt;
   *   `refused`: the server wants another than the last
   * @param {(pc: RTCPeerConnection) => void|Promise<void>} options.build adds transceivers to a fresh connection
   * @param {(state: {name: string, error?: Error, retryInMs?: number}) => void} options.onState
   *   `connecting`, `waiting` (nothing to play yet), `live`, `reconnecting`, `failed` (over, with its reason), `closed`
   */
  constructor(options) {
    this.#options = options;
  }

  /** The connection of the moment, for statistics. */
  get connection() {
    return this.#pc;
  }

  /** The absolute URL of the resource of the moment. */
  get resource() {
    return this.#resource;
  }

  /** Connects, and stays connected until closed or refused for good. */
  async run() {
    addEventListener("pagehide", this.#onPageHide);
    let backoffMs = FIRST_BACKOFF_MS;
    this.#state("connecting");
    while (!this.#over.signal.aborted) {
      let error;
      try {
        await this.#once();
        backoffMs = FIRST_BACKOFF_MS;
      } catch (caught) {
        error = caught;
      }
      await this.#drop();
      if (this.#over.signal.aborted) break;
      if (error?.status === 401 && this.#token && !this.#refused) {
        this.#refused = true;
        continue; // A token may have run out since: ask for another, once.
      }
      if (error instanceof CostageError && !passing(error)) {
        removeEventListener("pagehide", this.#onPageHide);
        this.#state("failed", { error });
        return;
      }
      const waiting = error?.status === 409 || error?.status === 404;
      const retryInMs = spread(error?.retryAfterMs ?? (waiting ? WAITING_MS : backoffMs));
      if (!waiting) backoffMs = Math.min(backoffMs * 2, LONGEST_BACKOFF_MS);
      this.#state(waiting ? "waiting" : "reconnecting", { error, retryInMs });
      await sleep(retryInMs, this.#over.signal);
    }
  }

  /** Ends the session; resolves when the server knows. */
  async close() {
    if (this.#over.signal.aborted) return;
    this.#over.abort();
    removeEventListener("pagehide", this.#onPageHide);
    await this.#drop();
    this.#state("closed");
  }

  #state(name, more = {}) {
    this.#options.onState({ name, ...more });
  }

  /** One connection, from the offer until it is lost. */
  async #once() {
    const signal = this.#over.signal;
    this.#token = await this.#options.token(this.#refused);
    if (signal.aborted) return;
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.#pc = pc;
    await this.#options.build(pc);
    await pc.setLocalDescription();
    // The server answers whatever reaches it: nothing to wait for, no candidate to send.
    const response = await call(this.#options.url, {
      method: "POST",
      token: this.#token,
      headers: { "Content-Type": "application/sdp" },
      body: pc.localDescription.sdp,
      signal,
    });
    const location = response.headers.get("Location");
    this.#resource = location && new URL(location, response.url).href;
    this.#refused = false;
    const answer = await response.text();
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
    if (!(await reaches(pc, "connected", CONNECT_MS, signal))) throw new Error("No media connection came about.");
    this.#state("live");
    await this.#watch(pc);
  }

  /** Returns when the connection is beyond repair. */
  async #watch(pc) {
    const signal = this.#over.signal;
    for (;;) {
      const how = await broken(pc, signal);
      if (signal.aborted || how === "closed") return;
      if (how === "disconnected" && (await reaches(pc, "connected", DISCONNECTED_MS, signal))) continue;
      this.#state("reconnecting", {});
      try {
        await this.#restart(pc);
      } catch {
        return; // The session is unknown by now, or the server out of reach: begin anew.
      }
      if (!(await reaches(pc, "connected", RESTART_MS, signal))) return;
      this.#state("live");
    }
  }

  /** ICE restart (RFC 9725 section 4.3.3): new credentials, the same session. */
  async #restart(pc) {
    if (!this.#resource) throw new Error("The session was given up.");
    pc.restartIce();
    await pc.setLocalDescription();
    this.#token = await this.#options.token(false);
    const response = await call(this.#resource, {
      method: "PATCH",
      token: this.#token,
      headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" },
      body: fragment(pc.localDescription.sdp),
      signal: this.#over.signal,
    });
    const sdp = withCredentials(pc.currentRemoteDescription.sdp, await response.text());
    await pc.setRemoteDescription({ type: "answer", sdp });
  }

  /** Closes the connection and deletes the resource, if there is one. */
  async #drop() {
    const resource = this.#resource;
    this.#pc?.close();
    this.#pc = null;
    this.#resource = null;
    if (!resource) return;
    try {
      await call(resource, { method: "DELETE", token: this.#token, keepalive: true });
    } catch {
      // Gone already, or unreachable: the server ends it by itself.
    }
  }

  /** The page goes away: no time to wait for anything. One that comes back finds the session lost, and begins anew. */
  #leave() {
    if (!this.#resource) return;
    const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
    fetch(this.#resource, { method: "DELETE", keepalive: true, headers }).catch(() => {});
    this.#resource = null;
  }
}

/** Whether the connection gets into `state` within `ms`. */
function reaches(pc, state, ms, signal) {
  return new Promise((resolve) => {
    if (pc.connectionState === state) return resolve(true);
    const timer = setTimeout(() => done(false), ms);
    const change = () => {
      if (pc.connectionState === state) done(true);
      else if (pc.connectionState === "closed") done(false);
    };
    const abort = () => done(false);
    function done(result) {
      clearTimeout(timer);
      pc.removeEventListener("connectionstatechange", change);
      signal.removeEventListener("abort", abort);
      resolve(result);
    }
    pc.addEventListener("connectionstatechange", change);
    signal.addEventListener("abort", abort);
  });
}

/** Resolves with how the connection broke: `disconnected`, `failed` or `closed` (by the server, or over). */
function broken(pc, signal) {
  return new Promise((resolve) => {
    const transports = [...pc.getSenders(), ...pc.getReceivers()].map((end) => end.transport).filter(Boolean);
    const change = () => {
      // The server says goodbye by DTLS; that shows at the transport and need not at the connection.
      const closed = transports.some((transport) => transport.state === "closed");
      if (closed || signal.aborted) done("closed");
      else if (["disconnected", "failed", "closed"].includes(pc.connectionState)) done(pc.connectionState);
    };
    function done(how) {
      pc.removeEventListener("connectionstatechange", change);
      for (const transport of transports) transport.removeEventListener("statechange", change);
      signal.removeEventListener("abort", change);
      resolve(how);
    }
    pc.addEventListener("connectionstatechange", change);
    for (const transport of transports) transport.addEventListener("statechange", change);
    signal.addEventListener("abort", change);
    change();
  });
}

/** The ICE part of a description, as `application/trickle-ice-sdpfrag` (RFC 8840). */
function fragment(sdp) {
  const line = (pattern) => sdp.match(pattern)?.[0];
  const lines = [line(/^a=ice-ufrag:.*$/m), line(/^a=ice-pwd:.*$/m), line(/^m=.*$/m), line(/^a=mid:.*$/m)];
  return lines.filter(Boolean).map((text) => `${text.trim()}\r\n`).join("");
}

/** The description with the ICE credentials and candidates of an answered fragment. */
function withCredentials(sdp, answered) {
  const value = (name) => answered.match(new RegExp(`^a=${name}:(.*)$`, "m"))?.[1].trim();
  const [ufrag, pwd] = [value("ice-ufrag"), value("ice-pwd")];
  if (!ufrag || !pwd) throw new Error("The server's ICE restart holds no credentials.");
  return sdp.replace(/^a=ice-ufrag:.*$/gm, `a=ice-ufrag:${ufrag}`).replace(/^a=ice-pwd:.*$/gm, `a=ice-pwd:${pwd}`);
}
