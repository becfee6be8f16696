// The client module's event stream against a server in the test's hands: in a browser by WebSocket, in node by
// server-sent events.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Room } from "../../src/web/client/costage.js";
import { event, seatsChanged, snapshot, startFake } from "./fake/server.js";
import { eventually, startBrowser } from "./harness.js";

let fake;
let browser;

before(async () => (browser = await startBrowser()));
after(() => browser?.close());
beforeEach(async () => (fake = await startFake()));
afterEach(async () => {
  await browser.closePages();
  await fake.stop();
});

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const jwt = (claims) => `${encoded({})}.${encoded(claims)}.x`;

/** A page that connects to the room; `window.tokens` counts how often it was asked for one. */
async function connect(options = {}, you = { user: "bob" }) {
  const page = await browser.open(`${fake.url}/`);
  await page.evaluate(async ({ options, token }) => {
    const { Room } = await import("/costage.js");
    window.tokens = 0;
    window.log = [];
    const getToken = () => `${token}${(window.tokens += 1)}`;
    window.connecting = Room.connect({ room: "demo", getToken, ...options }).then(
      (room) => {
        window.room = room;
        room.on("*", (data, event) => window.log.push(event.type));
        room.on("connection", ({ connection }) => window.log.push(`connection ${connection}`));
        room.on("closed", ({ reason }) => window.log.push(`closed ${reason}`));
        return "connected";
      },
      (error) => ({ name: error.name, code: error.code, status: error.status, message: error.message }),
    );
  }, { options, token: jwt({ sub: you.user }) });
  return page;
}

/** The same, once the room is there. */
async function connected(options, you = { user: "bob" }, room) {
  const page = await connect(options, you);
  const stream = await fake.next();
  stream.send(snapshot(you, room));
  assert.equal(await page.evaluate(() => window.connecting), "connected");
  return { page, stream };
}

const state = (page) => page.evaluate(() => window.room.state);
const log = (page) => page.evaluate(() => window.log);
const logged = (page, what) => eventually(what, async () => (await log(page)).includes(what));

test("a room is there with its first snapshot", async () => {
  const { page, stream } = await connected();
  assert.deepEqual([stream.kind, stream.after], ["websocket", null]);
  assert.match(stream.token, /1$/);
  const now = await state(page);
  assert.deepEqual([now.connection, now.me.user, now.host.user, now.seats.length, now.audience], ["online", "bob", "ann", 4, 3]);
  stream.send(seatsChanged(3, 1, { 0: "ann", 2: "eve" }));
  await logged(page, "seats.changed");
  assert.equal((await state(page)).seats[2].user.user, "eve");
  assert.deepEqual(page.errors, []);
});

test("a gap is noticed and the stream resumes where all was known", async () => {
  const { page, stream } = await connected();
  stream.send(event("audience", 4, 1, { count: 2 }));
  stream.send(event("audience", 9, 7, { count: 5 }));
  const second = await fake.next();
  assert.equal(second.after, "1.4");
  second.send(event("audience", 7, 4, { count: 3 }));
  second.send(event("audience", 9, 7, { count: 5 }));
  await eventually("both", async () => (await log(page)).filter((type) => type === "audience").length === 3);
  assert.equal((await state(page)).audience, 5);
  assert.equal((await state(page)).connection, "online");
});

test("resuming that does not help ends in a snapshot", async () => {
  const { stream } = await connected();
  stream.send(event("audience", 9, 7, { count: 5 }));
  const second = await fake.next();
  second.send(event("audience", 9, 7, { count: 5 }));
  const third = await fake.next();
  assert.equal(third.after, null);
});

test("a lost stream comes back with a fresh token, and says so", async () => {
  const { page, stream } = await connected();
  stream.send(event("audience", 5, 1, { count: 2 }));
  await logged(page, "audience");
  stream.drop();
  const second = await fake.next();
  assert.deepEqual([second.kind, second.after], ["websocket", "1.5"]);
  assert.match(second.token, /2$/);
  await logged(page, "connection online");
  assert.deepEqual((await log(page)).slice(-2), ["connection reconnecting", "connection online"]);
});

test("a new epoch starts over", async () => {
  const { page, stream } = await connected();
  stream.drop();
  const second = await fake.next();
  second.send(snapshot({ user: "bob" }, { epoch: 2, seq: 1, taken: { 0: "ann", 1: "eve" } }));
  await eventually("the new epoch", async () => (await state(page)).epoch === 2);
  assert.equal((await state(page)).seats[1].user.user, "eve");
});

test("an expired token brings a fresh one; without a better one it is over", async () => {
  const { page, stream } = await connected();
  stream.close(4003);
  const second = await fake.next();
  assert.match(second.token, /2$/);
  second.send(event("audience", 5, 1, { count: 2 }));
  await logged(page, "audience");
  fake.refuse = { status: 401, code: "token_expired", detail: "expired" };
  second.close(4003);
  await logged(page, "closed token_expired");
  assert.equal((await state(page)).connection, "closed");
});

for (const [code, reason] of [[4001, "replaced"], [4004, "room_ended"], [4005, "removed"]]) {
  test(`${reason} is final`, async () => {
    const { page, stream } = await connected();
    stream.close(code);
    await logged(page, `closed ${reason}`);
    assert.equal((await state(page)).connection, "closed");
    const refused = await page.evaluate(() => window.room.apply().catch((error) => error.code));
    assert.equal(refused, "closed");
    assert.equal(fake.streams.length, 1);
  });
}

test("who leaves is told so, even if the stream ends before the answer", async () => {
  const { page, stream } = await connected();
  fake.answer = ({ method, path }) => {
    if (method !== "DELETE" || !path.endsWith("/members/me")) return undefined;
    stream.close(4005);
    return { body: { version: 2 } };
  };
  await page.evaluate(() => window.room.leave());
  assert.deepEqual((await log(page)).filter((line) => line.startsWith("closed")), ["closed left"]);
});

test("settings are read when they change, again if events overtake the answer", async () => {
  const { page, stream } = await connected();
  let asked = 0;
  fake.answer = ({ method, path }) => {
    if (method !== "GET" || path !== "/v1/rooms/demo") return undefined;
    asked += 1;
    const { room } = snapshot({ user: "bob" }).data;
    // The first answer is older than what the page knows by then.
    return { body: { ...room, version: asked === 1 ? 4 : 6, seat_mode: asked === 1 ? "apply" : "free" } };
  };
  stream.send(event("room.updated", 2, 1, { phase: "idle", max_guests: 2 }, { version: 5 }));
  await eventually("the mode", async () => (await state(page)).settings.seat_mode === "free");
  assert.equal((await state(page)).version, 6);
  assert.equal(asked, 2);
});

test("a slow reader comes back", async () => {
  const { stream } = await connected();
  stream.close(4002);
  assert.equal((await fake.next()).after, "1.1");
});

test("where no WebSocket gets through, server-sent events do", async () => {
  fake.websockets = false;
  const { page, stream } = await connected();
  assert.equal(stream.kind, "sse");
  assert.match(stream.token, /1$/, "in the header");
  stream.bye("room_ended");
  await logged(page, "closed room_ended");
});

test("a refusal says why", async () => {
  fake.refuse = { status: 403, code: "banned", detail: "not here" };
  const page = await connect();
  const error = await page.evaluate(() => window.connecting);
  assert.deepEqual(error, { name: "CostageError", code: "banned", status: 403, message: "not here" });
});

test("commands carry a key, and their errors a code", async () => {
  const { page } = await connected();
  fake.answer = ({ method, path }) =>
    path.endsWith("/applications") && method === "POST"
      ? { status: 201, body: { id: "1-1", kind: "application", guest: { user: "bob" }, by: { user: "bob" }, seat: -1, state: "pending", expires_in_ms: 30_000, version: 2 } }
      : { status: 409, body: { code: "all_seats_occupied", detail: "All seats are taken.", retryable: true, retry_after_ms: 700 } };
  await page.evaluate(() => window.room.apply({ timeoutMs: 30_000, extra: "hello" }));
  assert.equal((await state(page)).me.application.id, "1-1");
  const call = fake.calls.at(-1);
  assert.deepEqual(JSON.parse(call.body), { seat: -1, media: "av", timeout_ms: 30_000, extra: "hello" });
  assert.ok(call.headers["idempotency-key"]);
  const error = await page.evaluate(() =>
    window.room.acceptApplication("a/b", { seat: 2 }).catch(({ code, status, retryAfterMs, detail }) => ({ code, status, retryAfterMs, detail })),
  );
  assert.deepEqual(error, { code: "all_seats_occupied", status: 409, retryAfterMs: 700, detail: "All seats are taken." });
  assert.equal(fake.calls.at(-1).path, "/v1/rooms/demo/applications/a%2Fb/accept");
});

test("the facade speaks for the newest room, with and without Vue", async () => {
  const page = await connect({}, { user: "bob" });
  await page.evaluate(async () => {
    const { useCoGuestState, CoGuestEvent } = await import("/costage.js");
    // Taken before there is a room, as components do.
    window.guests = useCoGuestState();
    window.heard = [];
    window.guests.subscribeEvent(CoGuestEvent.onGuestApplicationResponded, (info) => window.heard.push(info));
    window.guests.connected.subscribe((list) => (window.connectedList = list));
  });
  const stream = await fake.next();
  stream.send(snapshot({ user: "bob" }));
  await page.evaluate(() => window.connecting);
  stream.send(seatsChanged(2, 1, { 0: "ann", 1: "eve" }));
  await eventually("the list", () => page.evaluate(() => window.connectedList?.length === 2));
  const request = { id: "1-1", kind: "application", guest: { user: "bob" }, by: { user: "bob" }, seat: -1, state: "accepted", expires_in_ms: 0 };
  stream.send(event("application.responded", 3, 2, { request, accepted: true, seat: 2, by: { user: "ann", name: "Ann" }, reason: null }));
  const [info] = await eventually("the answer", () => page.evaluate(() => window.heard.length > 0 && window.heard));
  assert.deepEqual([info.isAccept, info.hostUser.userName, info.seatIndex], [true, "Ann", 2]);
  const refs = await page.evaluate(async () => {
    const { useCoGuestState, useVue } = await import("/costage.js");
    useVue({
      shallowRef: (value) => ({ value, isRef: true }),
      computed: (getter) => ({ get value() { return getter(); }, isComputed: true }),
    });
    const { connected } = useCoGuestState();
    return [connected.isComputed, connected.value.map((user) => user.userId)];
  });
  assert.deepEqual(refs, [true, ["ann", "eve"]]);
});

test("in node, by server-sent events", async () => {
  const connecting = Room.connect({ url: fake.url, room: "demo", getToken: () => jwt({ sub: "bob" }), transport: "sse" });
  const stream = await fake.next();
  stream.send(snapshot({ user: "bob" }));
  const room = await connecting;
  const counts = [];
  const stop = room.on("audience", ({ count }) => counts.push(count));
  stream.send(event("audience", 2, 1, { count: 4 }));
  await eventually("the count", () => room.state.audience === 4);
  stop();
  stream.drop();
  const second = await fake.next();
  assert.equal(second.after, "1.2");
  second.send(event("audience", 3, 2, { count: 6 }));
  await eventually("the next count", () => room.state.audience === 6);
  assert.deepEqual(counts, [4]);
  await room.close();
  assert.equal(room.state.connection, "closed");
});
