// One WHIP or WHEP session (RFC 9725): offers, keeps the resource, restarts ICE when the path breaks, connects anew when
// the session is lost, and deletes the resource at the end. Knows nothing of pages.

const CALL_MS = 8_000; // a server that answers later than this is taken for gone
const CONNECT_MS = 10_000; // from the answer to "connected"
const DISCONNECTED_MS = 2_000; // packets may be late for a moment; longer than this the path is broken
const RESTART_MS = 5_000; // an ICE restart that takes longer has failed
const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 8_000;

/** An HTTP answer other than success. */
export class Refused extends Error {
  constructor(status, code, detail, retryAfterMs) {
    super(detail || code || `HTTP ${status}`);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same request may succeed later, without anybody changing it. */
  get passing() {
    return this.status === 409 || this.status === 404 || this.status === 429 || this.status >= 500;
  }

  static async from(response) {
    let problem = {};
    try {
      problem = await response.json();
    } catch {
      // A proxy's error page: the status has to do.
    }
    const seconds = Number(response.headers.get("Retry-After"));
    const retryAfterMs = problem.retry_after_ms ?? (seconds > 0 ? seconds * 1_000 : undefined);
    return new Refused(response.status, problem.code, problem.detail ?? problem.title, retryAfterMs);
  }
}

/** `fetch` that gives up, and throws `Refused` for anything but success. */
export async function call(url, { token, headers = {}, signal, ...rest } = {}) {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(new Error("The server does not answer.")), CALL_MS);
  const stop = () => giveUp.abort(signal.reason);
  signal?.addEventListener("abort", stop);
  try {
    const authorization = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch(url, {
      ...rest,
      headers: { ...authorization, ...headers },
      signal: giveUp.signal,
    });
    if (!response.ok) throw await Refused.from(response);
    return response;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

export class Session {
  #options;
  #over = new AbortController();
  #pc = null;
  #resource = null;
  #token = null;
  #onPageHide = () => this.#leave();

  /**
   * @param {object} options
   * @param {string} options.url the WHIP or WHEP endpoint
   * @param {() => Promise<string|null>} options.token asked for before each attempt
   * @param {(pc: RTCPeerConnection) => void} options.build adds tracks or transceivers to a fresh connection
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
      if (error instanceof Refused && !error.passing) {
        removeEventListener("pagehide", this.#onPageHide);
        this.#state("failed", { error });
        return;
      }
      const waiting = error instanceof Refused && (error.status === 409 || error.status === 404);
      // Spread, so that a room full of viewers does not come back in one moment.
      const spread = 0.75 + Math.random() / 2;
      const retryInMs = Math.round((error?.retryAfterMs ?? (waiting ? 2_000 : backoffMs)) * spread);
      if (!waiting) backoffMs = Math.min(backoffMs * 2, LONGEST_BACKOFF_MS);
      this.#state(waiting ? "waiting" : "reconnecting", { error, retryInMs });
      await this.#sleep(retryInMs);
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
    this.#token = await this.#options.token();
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.#pc = pc;
    this.#options.build(pc);
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
    pc.restartIce();
    await pc.setLocalDescription();
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

  /** The page goes away: no time to wait for anything. */
  #leave() {
    if (this.#resource) {
      const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
      fetch(this.#resource, { method: "DELETE", keepalive: true, headers }).catch(() => {});
    }
    this.#resource = null;
    this.#over.abort();
    this.#pc?.close();
  }

  #sleep(ms) {
    const signal = this.#over.signal;
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms);
      function done() {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        removeEventListener("online", done);
        resolve();
      }
      signal.addEventListener("abort", done);
      // The network is back: no reason to wait on.
      addEventListener("online", done);
    });
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
