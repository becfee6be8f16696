// The client module's pure parts: what a page knows after a snapshot and events, where events are missing, units.

import assert from "node:assert/strict";
import { test } from "node:test";
import { deviceError } from "../../src/web/client/costage/devices.js";
import { info } from "../../src/web/client/costage/facade/guests.js";
import { alike, seatNumber, timeoutMs } from "../../src/web/client/costage/facade/reactive.js";
import { loudness } from "../../src/web/client/costage/facade/seats.js";
import { CostageError, claims, command } from "../../src/web/client/costage/http.js";
import { Sequence, expired, finished, initial, membersRead, nextExpiry, reduce, requested, roomRead } from "../../src/web/client/costage/state.js";
import { SseParser, verdict } from "../../src/web/client/costage/stream.js";

const NOW = 1_000_000;
const person = (user, name = null) => ({ user, name, avatar_url: null });
const FLAGS = { locked: false, audio_locked: false, video_locked: false, audio_muted: false, video_muted: false };
const seat = (number, user, state = user ? "occupied" : "empty", more = {}) => ({
  seat: number, state, ...(user && { user: person(user) }), ...FLAGS, sources: { camera: null, screen: null }, speaking: null,
  audio_level: null, ...more,
});
const request = (id, kind, guest, by = guest, more = {}) => ({
  id, kind, guest: person(guest), by: person(by), seat: -1, media: "av", extra: null, state: "pending", expires_in_ms: 30_000, ...more,
});
const room = (more = {}) => ({
  id: "demo", epoch: 1, version: 5, seq: 9, phase: "idle", host: person("ann"), seat_mode: "apply", max_guests: 9, audience: 7, public_program: true,
  seats: [seat(0, "ann", "reserved"), seat(1), seat(2)], applications: [], invitations: [], policies: {}, urls: {}, ...more,
});
const snapshot = (you, more) => ({
  type: "snapshot", room: "demo", epoch: 1, version: 5, seq: 9, prev: null, data: { room: room(more), you: { ...person("bob"), role: "member", ...you } },
});
const after = (start, ...events) => events.reduce((state, event) => reduce(state, { version: 6, ...event }, NOW), reduce(initial("demo"), start, NOW));

test("a snapshot says everything at once", () => {
  const state = after(snapshot({ seat: 1 }, { seats: [seat(0, "ann"), seat(1, "bob", "held", { until_in_ms: 4_000 })] }));
  assert.deepEqual([state.phase, state.epoch, state.version, state.host.user], ["idle", 1, 5, "ann"]);
  assert.deepEqual([state.me.user, state.me.role, state.me.seat], ["bob", "member", 1]);
  assert.equal(state.seats[1].until_ms, NOW + 4_000);
  assert.equal(state.settings.max_guests, 9);
  assert.equal(state.audience, 7);
});

test("a guest's own application comes and goes", () => {
  const applied = requested(after(snapshot()), request("1-1", "application", "bob"), NOW);
  assert.equal(applied.me.application.id, "1-1");
  assert.equal(applied.me.application.expires_ms, NOW + 30_000);
  assert.deepEqual(applied.applications, [], "the list is the hosts'");
  const done = { type: "application.responded", data: { request: request("1-1", "application", "bob"), accepted: true, seat: 1 } };
  const responded = reduce(applied, done, NOW);
  assert.equal(responded.me.application, null);
  // The answer of the call may come after the event that ended the request.
  assert.equal(requested(responded, request("1-1", "application", "bob"), NOW).me.application, null);
});

test("hosts see requests until they are over, one per person", () => {
  const received = (id, guest) => ({ type: "application.received", data: { request: request(id, "application", guest) } });
  const state = after(snapshot({ user: "ann", role: "host" }), received("1-1", "bob"), received("1-2", "eve"), received("1-3", "bob"));
  assert.deepEqual(state.applications.map((one) => one.id), ["1-2", "1-3"]);
  const types = ["application.cancelled", "application.processed", "application.closed"];
  for (const type of types) {
    const next = reduce(state, { type, data: { request: request("1-2", "application", "eve") } }, NOW);
    assert.deepEqual(next.applications.map((one) => one.id), ["1-3"], type);
  }
  const invited = after(snapshot({ user: "ann", role: "host" }, { invitations: [request("1-4", "invitation", "bob", "ann")] }));
  assert.equal(invited.invitations.length, 1);
  assert.equal(finished(invited, { id: "1-4", kind: "invitation" }).invitations.length, 0);
});

test("a request whose time is up goes even if nobody says so", () => {
  const applied = requested(after(snapshot()), request("1-1", "application", "bob"), NOW);
  assert.equal(nextExpiry(after(snapshot())), null);
  assert.equal(nextExpiry(applied), NOW + 32_000);
  assert.equal(expired(applied, NOW + 31_999), applied);
  assert.equal(expired(applied, NOW + 32_000).me.application, null);
  const host = after(snapshot({ user: "ann", role: "host" }, { invitations: [request("1-4", "invitation", "bob", "ann")] }));
  assert.deepEqual(expired(host, NOW + 32_000).invitations, []);
});

test("who gets a seat has no pending request", () => {
  const changed = { type: "seats.changed", data: { seats: [seat(0, "ann"), seat(1, "bob", "reserved")], joined: [{ seat: 1, user: person("bob") }], left: [], moved: [] } };
  const invited = requested(after(snapshot()), request("1-1", "invitation", "bob", "ann"), NOW);
  assert.equal(reduce(invited, changed, NOW).me.invitation, null);
  const host = after(snapshot({ user: "eve", role: "admin" }, { invitations: [request("1-1", "invitation", "bob", "ann"), request("1-2", "invitation", "gus", "ann")] }));
  assert.deepEqual(reduce(host, changed, NOW).invitations.map((one) => one.id), ["1-2"]);
});

test("seats follow their events", () => {
  const seats = [seat(0, "ann"), seat(1, "bob", "reserved"), seat(2)];
  const changed = { type: "seats.changed", version: 6, data: { seats, joined: [{ seat: 1, user: person("bob") }], left: [], moved: [] } };
  let state = after(snapshot(), changed);
  assert.deepEqual([state.me.seat, state.seats[1].state, state.version], [1, "reserved", 6]);
  state = reduce(state, { type: "seat.connected", version: 6, data: { seat: 1, user: person("bob") } }, NOW);
  assert.equal(state.seats[1].state, "occupied");
  state = reduce(state, { type: "seat.updated", version: 7, data: { seat: 1, ...FLAGS, audio_muted: true } }, NOW);
  assert.equal(state.seats[1].audio_muted, true);
  state = reduce(state, { type: "seat.media", data: { seat: 1, source: "camera", audio: "muted", video: "on" } }, NOW);
  assert.deepEqual([state.seats[1].sources.camera.audio, state.seats[1].sources.camera.video_state], [false, "on"]);
  state = reduce(state, { type: "seat.suspended", data: { seat: 1, user: person("bob"), until_in_ms: 15_000 } }, NOW);
  assert.deepEqual([state.seats[1].state, state.seats[1].until_ms], ["held", NOW + 15_000]);
  state = reduce(state, { type: "seat.resumed", data: { seat: 1, user: person("bob") } }, NOW);
  assert.deepEqual([state.seats[1].state, state.seats[1].until_ms], ["occupied", undefined]);
  state = reduce(state, { type: "seats.changed", data: { seats: [seat(0, "ann"), seat(1), seat(2)], joined: [], left: [], moved: [] } }, NOW);
  assert.equal(state.me.seat, null);
});

test("the host's transport makes the room live, away and live again", () => {
  let state = after(snapshot(), { type: "seat.connected", data: { seat: 0, user: person("ann") } });
  assert.equal(state.phase, "live");
  state = reduce(state, { type: "host.away", data: { host: person("ann"), until_in_ms: 1 } }, NOW);
  assert.equal(state.phase, "host_away");
  assert.equal(reduce(state, { type: "host.back", data: { host: person("ann") } }, NOW).phase, "live");
  const changed = reduce(state, { type: "host.changed", data: { host: person("bob"), previous: person("ann") } }, NOW);
  assert.deepEqual([changed.host.user, changed.me.role], ["bob", "host"]);
  assert.equal(reduce(state, { type: "room.ended", data: { reason: "host_away" } }, NOW).phase, "ended");
});

test("members, audience and who speaks", () => {
  const member = (user, role = "member") => ({ ...person(user), role, presence: "online" });
  let state = after(snapshot({ user: "ann", role: "host" }), { type: "member.joined", data: { member: member("bob") } });
  state = reduce(state, { type: "member.updated", data: { member: member("bob", "admin") } }, NOW);
  assert.deepEqual(state.members.map((one) => [one.user, one.role]), [["bob", "admin"]]);
  state = reduce(state, { type: "member.joined", data: { member: member("eve") } }, NOW);
  state = reduce(state, { type: "member.left", data: { member: member("bob"), reason: "left" } }, NOW);
  // Asked for before eve came and bob left, answered after.
  const read = membersRead(state, [member("ann", "host"), member("bob", "admin")], new Set(["bob", "eve"]));
  assert.deepEqual(read.members.map((one) => one.user), ["ann", "eve"]);
  state = reduce(state, { type: "audience", data: { count: 12 } }, NOW);
  state = reduce(state, { type: "speaking", data: { seats: [{ seat: 0, audio_level: -20 }] } }, NOW);
  assert.deepEqual([state.audience, state.speaking], [12, [{ seat: 0, level: -20 }]]);
  const rows = (of) => of.seats.filter((row) => row.user).map((row) => [row.seat, row.speaking, row.audio_level]);
  assert.deepEqual(rows(state)[0], [0, true, -20]);
  const louder = reduce(state, { type: "speaking", data: { seats: [{ seat: 0, audio_level: -10 }] } }, NOW);
  assert.deepEqual([louder.speaking, louder.seats], [[{ seat: 0, level: -10 }], state.seats]);
  state = reduce(louder, { type: "speaking", data: { seats: [] } }, NOW);
  assert.deepEqual([state.speaking, rows(state)[0]], [[], [0, false, -20]]);
  const granted = after(snapshot(), { type: "member.updated", data: { member: member("bob", "admin") } });
  assert.equal(granted.me.role, "admin");
});

test("a room that was read is older or newer than the events", () => {
  const state = after(snapshot(), { type: "room.updated", version: 8, data: { phase: "idle", max_guests: 4 } });
  assert.equal(state.settings.max_guests, 4);
  assert.equal(roomRead(state, room({ version: 7 }), NOW), state, "an answer that was overtaken");
  const read = roomRead(state, room({ version: 8, max_guests: 4, seat_mode: "free" }), NOW);
  assert.equal(read.settings.seat_mode, "free");
  assert.equal(read.me.user, "bob");
});

test("unknown events change nothing but the version", () => {
  const before = after(snapshot());
  assert.deepEqual(reduce(before, { type: "constructor", version: 9, data: {} }, NOW), { ...before, version: 9 });
});

test("a gap can't go unnoticed, and nothing is taken twice", () => {
  const sequence = new Sequence();
  assert.equal(sequence.after, null);
  assert.equal(sequence.judge({ type: "audience", epoch: 1, seq: 3, prev: 2 }), "gap", "nothing before a snapshot");
  assert.equal(sequence.judge({ type: "snapshot", epoch: 1, seq: 9, prev: null }), "new");
  assert.equal(sequence.judge({ type: "audience", epoch: 1, seq: 12, prev: 9 }), "new", "what lies between is others'");
  assert.equal(sequence.judge({ type: "audience", epoch: 1, seq: 12, prev: 9 }), "known");
  assert.equal(sequence.judge({ type: "audience", epoch: 1, seq: 20, prev: 15 }), "gap");
  assert.equal(sequence.after, "1.12", "resumes where all is known");
  assert.equal(sequence.judge({ type: "audience", epoch: 2, seq: 13, prev: 12 }), "gap", "another epoch");
  assert.equal(sequence.judge({ type: "snapshot", epoch: 2, seq: 2 }), "new");
  assert.equal(sequence.after, "2.2");
  sequence.forget();
  assert.equal(sequence.after, null);
});

test("what is final, and what is tried again", () => {
  const end = (reason, more) => verdict({ reason, steady: true, refusals: 0, ...more });
  for (const reason of ["replaced", "removed", "room_ended"]) assert.equal(end(reason), "never");
  assert.equal(end("slow"), "now");
  assert.equal(end("slow", { steady: false }), "later");
  assert.equal(end("network"), "later");
  assert.equal(end("gap"), "now");
  assert.deepEqual([1, 2, 3].map((refusals) => end("token_expired", { refusals })), ["now", "later", "never"]);
  assert.deepEqual([1, 3].map((refusals) => end("unauthenticated", { status: 401, refusals })), ["now", "never"]);
  assert.deepEqual([403, 404, 410].map((status) => end("x", { status })), ["never", "never", "never"]);
  assert.deepEqual([429, 500, 503].map((status) => end("x", { status })), ["later", "later", "later"]);
  assert.equal(end("network", { firstAttempts: 5 }), "never");
});

test("server-sent events in any pieces", () => {
  const text = ": hello\r\n\r\nid: 1.2\r\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nevent: bye\ndata: {}\n\n";
  for (const size of [1, 2, 7, text.length]) {
    const parser = new SseParser();
    const found = [];
    for (let at = 0; at < text.length; at += size) found.push(...parser.push(text.slice(at, at + size)));
    assert.deepEqual(found, [{ event: "message", data: '{"a":\n1}' }, { event: "bye", data: "{}" }], `pieces of ${size}`);
  }
});

test("timeouts are seconds, and from 5000 up milliseconds", () => {
  assert.deepEqual([30, 0, 1.5, 4_999, 5_000, 30_000].map(timeoutMs), [30_000, 0, 1_500, 4_999_000, 5_000, 30_000]);
  assert.equal(timeoutMs(undefined), undefined);
  assert.deepEqual([undefined, null, -1, 0, 3].map(seatNumber), [-1, -1, -1, 0, 3]);
  assert.deepEqual([-127, -60, -30, 0, undefined].map(loudness), [0, 0, 50, 100, 0]);
});

test("events in the guide's words", () => {
  const event = (type, actor) => ({ type, actor: actor && person(actor) });
  const asked = request("1-1", "application", "bob", "bob", { seat: 3, extra: "hi" });
  assert.deepEqual(info({ request: asked }, event("application.received", "bob")), {
    guestUser: { userId: "bob", userName: "bob", avatarUrl: "" }, hostUser: { userId: "bob", userName: "bob", avatarUrl: "" }, seatIndex: 3, extension: "hi",
  });
  const answer = { request: asked, accepted: true, seat: 4, by: person("ann", "Ann"), reason: null };
  const responded = info(answer, event("application.responded", "ann"));
  assert.deepEqual([responded.isAccept, responded.seatIndex, responded.hostUser.userName, "reason" in responded], [true, 4, "Ann", false]);
  const invitation = request("1-2", "invitation", "bob", "ann");
  const none = info({ request: invitation, reason: "already_seated" }, event("invitation.no_response"));
  assert.deepEqual([none.reason, none.guestUser.userId, none.inviterId, none.seatIndex], ["alreadySeated", "bob", "ann", -1]);
  const accepted = info({ request: invitation, accepted: true, seat: 1, by: person("bob") }, event("invitation.responded", "bob"));
  assert.deepEqual([accepted.hostUser.userId, accepted.guestUser.userId], ["ann", "bob"]);
});

test("values that look alike are alike", () => {
  assert.ok(alike([{ a: new Map([["x", 1]]) }], [{ a: new Map([["x", 1]]) }]));
  assert.ok(!alike([1], [1, 2]));
  assert.ok(!alike(new Date(1), new Date(2)));
});

test("refused devices are told in plain words", () => {
  const error = deviceError("microphone", new DOMException("no", "NotAllowedError"));
  assert.ok(error instanceof CostageError);
  assert.deepEqual([error.code, /not allowed/.test(error.message)], ["device_denied", true]);
  assert.equal(deviceError("camera", new DOMException("no", "NotFoundError")).code, "device_not_found");
});

test("claims of a token are read, and nothing breaks on none", () => {
  const payload = Buffer.from(JSON.stringify({ sub: "Zoë", exp: 5 })).toString("base64url");
  assert.deepEqual(claims(`x.${payload}.y`), { sub: "Zoë", exp: 5 });
  assert.deepEqual(claims("nonsense"), {});
});

test("a command is repeated under one key while only the network fails", async (t) => {
  const keys = [];
  const answers = [new TypeError("reset"), new Response("busy", { status: 502 }), Response.json({ version: 7 })];
  t.mock.method(globalThis, "fetch", async (url, { headers }) => {
    keys.push(headers["Idempotency-Key"]);
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer;
  });
  const options = { method: "POST", url: "http://x/", body: {}, token: async () => "t", pause: async () => {} };
  assert.deepEqual(await command(options), { version: 7 });
  assert.equal(keys.length, 3);
  assert.equal(new Set(keys).size, 1);
  answers.push(Response.json({ code: "all_seats_occupied", detail: "full", retryable: true }, { status: 409 }));
  await assert.rejects(command(options), (error) => error.code === "all_seats_occupied" && error.status === 409 && error instanceof CostageError);
  assert.equal(keys.length, 4, "what the server decided is not asked again");
});

test("a token that was refused is replaced once", async (t) => {
  const tokens = [];
  t.mock.method(globalThis, "fetch", async (url, { headers }) => {
    tokens.push(headers.Authorization);
    return Response.json({ code: "token_expired" }, { status: 401 });
  });
  const token = async (refused) => (refused ? "new" : "old");
  await assert.rejects(command({ method: "GET", url: "http://x/", token }), { code: "token_expired" });
  assert.deepEqual(tokens, ["Bearer old", "Bearer new"]);
});
