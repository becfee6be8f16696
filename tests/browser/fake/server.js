// A server in the hands of a test: serves the client module from its sources, and event streams that say what the test
// says. Other calls go to the real server if there is one, else to `answer`.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, request as forward } from "node:http";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const CLIENT = join(dirname(fileURLToPath(import.meta.url)), "../../../src/web/client");

/** @param {{real?: {url: string}, answer?: (call: object) => {status?: number, body?: object} | undefined}} [options] */
export async function startFake({ real, answer } = {}) {
  const streams = [];
  const waiting = [];
  const calls = [];
  const fake = { streams, calls, answer, refuse: null, websockets: true };

  /** A stream was opened: remembered, and given to who waits for it. */
  function opened(stream) {
    streams.push(stream);
    waiting.shift()?.(stream);
  }
  let taken = 0;
  /** The next stream that a page opens. */
  fake.next = async () => {
    if (streams.length <= taken) await new Promise((done) => waiting.push(done));
    return streams[taken++];
  };

  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://x");
    if (url.pathname === "/") {
      response.setHeader("Content-Type", "text/html");
      return response.end("<!doctype html><title>test</title>");
    }
    if (url.pathname.startsWith("/costage")) {
      response.setHeader("Content-Type", "text/javascript");
      return response.end(await readFile(join(CLIENT, normalize(url.pathname))).catch(() => ""));
    }
    if (url.pathname.endsWith("/events")) return sse(url, request, response);
    let text = "";
    for await (const piece of request) text += piece;
    const call = { method: request.method, path: url.pathname + url.search, headers: request.headers, body: text };
    calls.push(call);
    const answered = fake.answer?.(call);
    if (answered) return json(response, answered.status ?? 200, answered.body ?? {});
    if (!real) return json(response, 404, { code: "not_found", detail: "nothing here" });
    const { host: _, ...headers } = request.headers;
    const passed = forward(real.url + request.url, { method: request.method, headers }, (from) => {
      response.writeHead(from.statusCode, from.headers);
      from.pipe(response);
    });
    passed.on("error", () => response.destroy());
    passed.end(text);
  });

  function json(response, status, body) {
    response.writeHead(status, { "Content-Type": "application/json" });
    response.end(JSON.stringify(body));
  }

  function sse(url, request, response) {
    if (fake.refuse) return json(response, fake.refuse.status, fake.refuse);
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(": hello\n\n");
    opened({
      kind: "sse",
      after: url.searchParams.get("after"),
      token: request.headers.authorization?.replace("Bearer ", ""),
      send: (message) => response.write(`data: ${JSON.stringify(message)}\n\n`),
      bye: (reason) => response.end(`event: bye\ndata: ${JSON.stringify({ type: "bye", data: { reason } })}\n\n`),
      drop: () => response.destroy(),
    });
  }

  server.on("upgrade", (request, socket) => {
    const url = new URL(request.url, "http://x");
    socket.on("error", () => {});
    if (fake.refuse || !fake.websockets) return socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n");
    const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash("sha1").update(key).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    const frame = (opcode, payload) => {
      const length = payload.length < 126 ? Buffer.from([payload.length]) : Buffer.from([126, payload.length >> 8, payload.length & 255]);
      socket.write(Buffer.concat([Buffer.from([0x80 | opcode]), length, payload]));
    };
    const closed = new Promise((done) => socket.on("close", done));
    opened({
      kind: "websocket",
      after: url.searchParams.get("after"),
      token: url.searchParams.get("token"),
      send: (message) => frame(1, Buffer.from(JSON.stringify(message))),
      close: (code) => frame(8, Buffer.from([code >> 8, code & 255])),
      drop: () => socket.destroy(),
      closed,
    });
  });

  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  fake.url = `http://127.0.0.1:${server.address().port}`;
  fake.stop = () => {
    server.closeAllConnections();
    for (const stream of streams) stream.drop();
    return new Promise((done) => server.close(done));
  };
  return fake;
}

const person = (user) => ({ user, name: null, avatar_url: null });
const FLAGS = { locked: false, audio_locked: false, video_locked: false, audio_muted: false, video_muted: false };

export function seats(taken = {}) {
  return Array.from({ length: 4 }, (_, seat) => ({
    seat, state: taken[seat] ? "occupied" : "empty", ...(taken[seat] && { user: person(taken[seat]) }), ...FLAGS,
    sources: { camera: null, screen: null }, speaking: taken[seat] ? false : null, audio_level: null,
  }));
}

/** A snapshot for `you`. */
export function snapshot(you, { epoch = 1, seq = 1, version = 1, taken = { 0: "ann" }, ...room } = {}) {
  const seat = Object.entries(taken).find(([, user]) => user === you.user)?.[0];
  return {
    room: "demo", epoch, version, seq, prev: null, at: "2026-01-01T00:00:00.000Z", type: "snapshot", actor: null,
    data: {
      room: {
        id: "demo", epoch, version, seq, phase: "idle", host: person("ann"), seat_mode: "apply", max_guests: 3,
        audience: 3, public_program: true, seats: seats(taken), applications: [], invitations: [], policies: {}, urls: {}, ...room,
      },
      you: { ...person(you.user), role: "member", seat: seat === undefined ? null : Number(seat), application: null, invitation: null, ...you },
    },
  };
}

export const event = (type, seq, prev, data, { epoch = 1, version = 1, actor = "ann" } = {}) => ({
  room: "demo", epoch, version, seq, prev, at: "2026-01-01T00:00:00.000Z", type, actor: actor && person(actor), data,
});

/** `seats.changed` to these. */
export const seatsChanged = (seq, prev, taken) => event("seats.changed", seq, prev, { seats: seats(taken), joined: [], left: [], moved: [] });
