// Calls to the server and what they are refused with.

const CALL_MS = 8_000; // a server that answers later than this is taken for gone
const ATTEMPTS = 3; // of one command, while only the network fails
const FIRST_PAUSE_MS = 300;

/** What a call was refused with, or why it could not be made. */
export class CostageError extends Error {
  /**
   * @param {string} code the server's, or the module's own
   * @param {string} detail a sentence in plain English
   * @param {{status?: number, retryAfterMs?: number, retryable?: boolean, problem?: object, cause?: unknown}} [more]
   */
  constructor(code, detail, { status = 0, retryAfterMs, retryable = false, problem = {}, cause } = {}) {
    super(detail || code, { cause });
    this.name = "CostageError";
    this.code = code;
    this.detail = detail || code;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
    this.retryable = retryable;
    this.problem = problem;
  }

  /** @param {Response} response one that is not `ok` */
  static async from(response) {
    let problem = {};
    try {
      problem = (await response.json()) ?? {};
    } catch {
      // A proxy's error page: the status has to do.
    }
    const { status } = response;
    const seconds = Number(response.headers.get("Retry-After"));
    return new CostageError(problem.code ?? `http_${status}`, problem.detail ?? problem.title ?? `HTTP ${status}`, {
      status,
      retryAfterMs: problem.retry_after_ms ?? (seconds > 0 ? seconds * 1_000 : undefined),
      retryable: problem.retryable ?? (status === 429 || status >= 500),
      problem,
    });
  }
}

/**
 * `fetch` that gives up, and throws `CostageError` for anything but success.
 *
 * @param {string} url
 * @param {RequestInit & {token?: string | null, timeoutMs?: number}} [options]
 */
export async function call(url, { token, headers = {}, signal, timeoutMs = CALL_MS, ...rest } = {}) {
  const giveUp = new AbortController();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    giveUp.abort();
  }, timeoutMs);
  const stop = () => giveUp.abort();
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop);
  try {
    const authorization = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch(url, { ...rest, headers: { ...authorization, ...headers }, signal: giveUp.signal });
    if (!response.ok) throw await CostageError.from(response);
    return response;
  } catch (error) {
    if (error instanceof CostageError) throw error;
    if (late) throw new CostageError("timeout", "The server does not answer.", { retryable: true, cause: error });
    if (signal?.aborted) throw new CostageError("closed", "The call was given up.", { cause: error });
    throw new CostageError("network", "The server can't be reached.", { retryable: true, cause: error });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

/** Whether a call that failed so may have been lost on the way, and is safe to repeat under the same key. */
export function lostOnTheWay(error) {
  if (error.code === "network" || error.code === "timeout") return true;
  // A proxy's answer, not the server's: that one has a code of its own.
  return [502, 503, 504].includes(error.status) && error.code.startsWith("http_");
}

/** A key that names one command through all its repeats. */
export function idempotencyKey() {
  // `randomUUID` exists only on pages that came over TLS or from this machine.
  if (crypto.randomUUID) return crypto.randomUUID();
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A JSON command: repeated under one `Idempotency-Key` while only the network fails, and once with a fresh token if the
 * old one was refused.
 *
 * @param {{method: string, url: string, body?: unknown, token: (refused: boolean) => Promise<string>,
 *   signal?: AbortSignal, pause?: (ms: number) => Promise<void>}} options
 */
export async function command({ method, url, body, token, signal, pause = sleep }) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["Idempotency-Key"] = idempotencyKey();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let refused = false;
  for (let attempt = 1; ; ) {
    try {
      const sent = { method, token: await token(refused), headers, signal };
      const response = await call(url, { ...sent, body: body === undefined ? undefined : JSON.stringify(body) });
      const text = await response.text();
      return text ? JSON.parse(text) : {};
    } catch (error) {
      if (error.status === 401 && !refused) {
        refused = true;
        continue;
      }
      if (!(error instanceof CostageError) || !lostOnTheWay(error) || attempt >= ATTEMPTS) throw error;
      await pause(spread(FIRST_PAUSE_MS * 3 ** (attempt - 1)));
      attempt += 1;
    }
  }
}

/** Scattered, so that a room full of people does not come back in one moment. */
export function spread(ms) {
  return Math.round(ms * (0.75 + Math.random() / 2));
}

/** Resolves after `ms`, or at once when the signal aborts or the network is back. */
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      globalThis.removeEventListener?.("online", done);
      resolve();
    }
    if (signal?.aborted) return done();
    signal?.addEventListener("abort", done);
    globalThis.addEventListener?.("online", done);
  });
}

/** The claims of a token, unchecked: the server checks. `{}` if it is none. */
export function claims(token) {
  try {
    const base64 = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}

/** Tells listeners; one that throws stops nobody else. */
export function tell(listeners, ...values) {
  for (const listener of [...listeners]) {
    try {
      listener(...values);
    } catch (error) {
      // To the page's `error` handlers, as for any listener of the browser.
      if (globalThis.reportError) globalThis.reportError(error);
      else queueMicrotask(() => { throw error; });
    }
  }
}
