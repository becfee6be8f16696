// The client module and the server, nothing between them: applying, inviting, answering and leaving in the words of the
// guest-connection guide, with sound that arrives.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { api, eventually, kept, startBrowser, startServer } from "./harness.js";

let server;
let browser;
let room;
let rooms = 0;

before(async () => {
  [server, browser] = await Promise.all([startServer(["--dev"]), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});
beforeEach(async () => {
  rooms += 1;
  room = `room-${rooms}`;
  const policies = { reject_cooldown_ms: 0, kick_cooldown_ms: 0, grace_ms: 3_000 };
  await api(server, "POST", "/v1/rooms", { room, body: { room, host: "ann", policies } });
});
afterEach(() => api(server, "DELETE", `/v1/rooms/${room}`, { room }).catch(() => {}));

const call = (method, path, body) => api(server, method, `/v1/rooms/${room}${path}`, { room, body });
const seat = async (number) => (await call("GET", "/seats")).seats.find((one) => one.seat === number);

/** A page of `user` in the room; `window.heard` has the guide's events, `window.log` the room's. */
async function enter(user, role = "member", page = null) {
  page ??= await browser.open(`${server.url}/healthz`);
  const { token } = await api(server, "POST", "/v1/tokens", { body: { room, user, role, name: user.toUpperCase() } });
  await page.evaluate(async ({ room, token }) => {
    const client = await import("/costage.js");
    Object.assign(window, { client, heard: [], log: [] });
    const { CoGuestEvent, CoHostEvent, LiveSeatEvent, useCoGuestState, useLiveSeatState, useDeviceState } = client;
    Object.assign(window, { guests: useCoGuestState(), seats: useLiveSeatState(), devices: useDeviceState() });
    for (const name of Object.values({ ...CoGuestEvent, ...CoHostEvent })) {
      window.guests.subscribeEvent(name, (info) => window.heard.push({ name, ...info }));
    }
    for (const name of Object.values(LiveSeatEvent)) window.seats.subscribeEvent(name, (info) => window.heard.push({ name, ...info }));
    window.room = await client.Room.connect({ room, getToken: () => token });
    window.room.on("*", (data, { type }) => window.log.push(type));
    window.room.on("connection", ({ connection }) => window.log.push(`connection ${connection}`));
    window.room.on("closed", ({ reason }) => window.log.push(`closed ${reason}`));
  }, { room, token });
  return page;
}

const heard = (page, name, ms) => eventually(name, () => page.evaluate((name) => window.heard.find((one) => one.name === name), name), ms);
const logged = (page, what, ms) => eventually(what, () => page.evaluate((what) => window.log.includes(what), what), ms);
const publication = (page) => page.evaluate(() => window.room.publication?.state ?? null);
const live = (page) => eventually("a live transport", async () => (await publication(page)) === "live");
const code = (page, run) => page.evaluate(async (run) => {
  try {
    await new Function(`return ${run}`)();
    return "done";
  } catch (error) {
    return error.code ?? String(error);
  }
}, run);

test("apply, accept, seated without a device, microphone, heard, kicked", (t) =>
  kept(t, browser, server, async () => {
    const host = await enter("ann", "host");
    const guest = await enter("bob");
    await guest.evaluate(() => window.guests.applyForSeat({ seatIndex: -1, timeout: 30, extension: "hello" }));
    const asked = await heard(host, "onGuestApplicationReceived");
    assert.deepEqual([asked.guestUser.userId, asked.guestUser.userName, asked.extension], ["bob", "BOB", "hello"]);
    assert.deepEqual(await host.evaluate(() => window.guests.applicants.value.map((one) => one.userId)), ["bob"]);
    assert.equal(await guest.evaluate(() => window.room.state.me.application.state), "pending");
    // Again is the same request, not an error.
    assert.equal(await code(guest, "window.guests.applyForSeat({ timeout: 30, extension: 'hello' })"), "done");

    await host.evaluate(() => window.guests.acceptApplication({ userId: "bob" }));
    const answer = await heard(guest, "onGuestApplicationResponded");
    assert.deepEqual([answer.isAccept, answer.hostUser.userId, answer.seatIndex], [true, "ann", 1]);
    await live(guest);
    assert.equal((await seat(1)).state, "occupied");
    const tracks = await guest.evaluate(() => window.connections.at(-1).getSenders().map((sender) => sender.track));
    assert.deepEqual(tracks, [null, null]);
    assert.deepEqual(await host.evaluate(() => window.guests.applicants.value), []);
    assert.equal(await guest.evaluate(() => window.room.state.me.application), null);
    const connected = await host.evaluate(() => window.guests.connected.value.map((one) => [one.userId, one.seatIndex]));
    assert.deepEqual(connected.at(-1), ["bob", 1]);

    await host.evaluate(async () => {
      window.stage = await window.room.watchStage();
    });
    await guest.evaluate(() => window.devices.openLocalMicrophone());
    assert.equal(await guest.evaluate(() => window.devices.microphoneStatus.value), 1);
    await eventually("the guest's stream", () => host.evaluate(() => window.stage.stream(1) !== null));
    // A browser decodes sound only for somebody who listens.
    await host.evaluate(() => Object.assign(document.createElement("audio"), { srcObject: window.stage.stream(1) }).play());
    await eventually("sound", () => host.evaluate(async () => {
      const [track] = window.stage.stream(1).getAudioTracks();
      const receiver = window.stage.connection.getReceivers().find((one) => one.track === track);
      const stats = [...(await receiver.getStats()).values()].find((one) => one.type === "inbound-rtp");
      return stats?.totalAudioEnergy > 0;
    }));
    await eventually("who speaks", () => host.evaluate(() => window.seats.speakingUsers.value.has("bob")));

    await host.evaluate(() => window.seats.closeRemoteMicrophone({ userId: "bob" }));
    await heard(guest, "onLocalMicrophoneClosedByAdmin");
    assert.equal((await seat(1)).audio_locked, true);
    await host.evaluate(() => window.seats.openRemoteMicrophone({ userId: "bob" }));
    await heard(guest, "onLocalMicrophoneOpenedByAdmin");
    await logged(guest, "seat.asked");

    await host.evaluate(() => window.seats.kickUserOutOfSeat({ userId: "bob", reason: "time is up" }));
    const kicked = await heard(guest, "onKickedOffSeat");
    assert.deepEqual([kicked.seatIndex, kicked.reason, kicked.hostUser.userId], [1, "time is up", "ann"]);
    await eventually("closed devices", () => guest.evaluate(() => window.devices.microphoneStatus.value === 0));
    assert.equal(await publication(guest), null);
    assert.equal((await seat(1)).state, "empty");
    assert.deepEqual([...host.errors, ...guest.errors], []);
  }));

test("invite, accept, leave", (t) =>
  kept(t, browser, server, async () => {
    const host = await enter("ann", "host");
    const guest = await enter("bob");
    await eventually("a candidate", () => host.evaluate(() => window.guests.candidates.value.some((one) => one.userId === "bob")));
    await host.evaluate(() => window.guests.inviteToSeat({ userId: "bob", seatIndex: 3, timeout: 30 }));
    assert.deepEqual(await host.evaluate(() => window.guests.invitees.value.map((one) => one.userId)), ["bob"]);
    const { inviterId, hostUser } = await heard(guest, "onHostInvitationReceived");
    assert.deepEqual([inviterId, hostUser.userId], ["ann", "ann"]);
    await guest.evaluate((inviterId) => window.guests.acceptInvitation({ inviterId }), inviterId);
    const answer = await heard(host, "onHostInvitationResponded");
    assert.deepEqual([answer.isAccept, answer.guestUser.userId, answer.seatIndex], [true, "bob", 3]);
    await live(guest);
    assert.equal(await guest.evaluate(() => window.room.state.me.seat), 3);
    await guest.evaluate(() => window.guests.disConnect());
    await eventually("off the seat", () => guest.evaluate(() => window.room.state.me.seat === null));
    assert.equal((await seat(3)).state, "empty");
    assert.deepEqual(await host.evaluate(() => window.guests.invitees.value), []);
  }));

test("reject, withdraw, and nobody answers", (t) =>
  kept(t, browser, server, async () => {
    const host = await enter("ann", "host");
    const guest = await enter("bob");
    await guest.evaluate(() => window.guests.applyForSeat({ timeout: 30_000 }));
    await heard(host, "onGuestApplicationReceived");
    await host.evaluate(() => window.guests.rejectApplication({ userId: "bob", reason: "later" }));
    const rejected = await heard(guest, "onGuestApplicationResponded");
    assert.deepEqual([rejected.isAccept, rejected.reason], [false, "later"]);

    await guest.evaluate(() => window.guests.applyForSeat({ timeout: 30 }));
    await guest.evaluate(() => window.guests.cancelApplication());
    await heard(host, "onGuestApplicationCancelled");

    await host.evaluate(() => window.guests.inviteToSeat({ userId: "bob", timeout: 30 }));
    await heard(guest, "onHostInvitationReceived");
    await guest.evaluate(() => window.guests.rejectInvitation({}));
    assert.equal((await heard(host, "onHostInvitationResponded")).isAccept, false);
    await host.evaluate(() => window.guests.inviteToSeat({ userId: "bob", timeout: 30 }));
    await host.evaluate(() => window.guests.cancelInvitation({ inviteeId: "bob" }));
    await heard(guest, "onHostInvitationCancelled");

    await guest.evaluate(() => window.guests.applyForSeat({ timeout: 5 }));
    const silent = await heard(guest, "onGuestApplicationNoResponse", 9_000);
    assert.equal(silent.reason, "timeout");
    assert.equal(await guest.evaluate(() => window.room.state.me.application), null);
  }));

test("what may not be is refused with its code", (t) =>
  kept(t, browser, server, async () => {
    const guest = await enter("bob");
    assert.equal(await code(guest, "window.room.acceptApplication('eve')"), "permission_denied");
    assert.equal(await code(guest, "window.room.acceptInvitation()"), "request_not_found");
    assert.equal(await code(guest, "window.room.publish()"), "not_seated");
    assert.equal(await code(guest, "window.guests.applyForSeat({ timeout: 1 })"), "invalid_argument");
  }));

test("the newest page of a person is the one in the room", (t) =>
  kept(t, browser, server, async () => {
    const first = await enter("bob");
    const second = await enter("bob");
    await logged(first, "closed replaced");
    assert.equal(await second.evaluate(() => window.room.state.connection), "online");
  }));

test("a guest who reloads keeps the seat and goes on", (t) =>
  kept(t, browser, server, async () => {
    const guest = await enter("bob");
    await call("PUT", "/seats/2", { user: "bob" });
    await live(guest);
    await guest.reload();
    await enter("bob", "member", guest);
    await live(guest);
    assert.deepEqual([(await seat(2)).state, await guest.evaluate(() => window.room.state.me.seat)], ["occupied", 2]);
  }));

test("a lost stream resumes, and misses nothing", (t) =>
  kept(t, browser, server, async () => {
    const guest = await enter("bob");
    await guest.context().setOffline(true);
    await guest.evaluate(() => window.dispatchEvent(new Event("online"))); // the network changed: the stream is made anew
    await logged(guest, "connection reconnecting");
    await call("PATCH", "/seats/4", { locked: true });
    await guest.context().setOffline(false);
    await eventually("the lock", () => guest.evaluate(() => window.room.state.seats[4].locked));
    assert.equal(await guest.evaluate(() => window.log.filter((type) => type === "snapshot").length), 0, "resumed");
  }));

test("removed, ended and left are final", (t) =>
  kept(t, browser, server, async () => {
    const host = await enter("ann", "host");
    const bob = await enter("bob");
    const eve = await enter("eve");
    await host.evaluate(() => window.room.ban("bob", { banMs: 60_000 }));
    await logged(bob, "closed removed");
    await assert.rejects(enter("bob"), /not|removed|ban/i);
    await eve.evaluate(() => window.room.leave());
    await logged(eve, "closed left");
    await eventually("one member less", () => host.evaluate(() => window.room.state.members.length === 1));
    await host.evaluate(() => window.room.endRoom());
    await logged(host, "closed room_ended");
  }));

/** In the page: `user` in the room with tokens of `ttlMs`, each fetched when it is asked for; `window.tokens` counts them. */
async function attend({ room, user, ttlMs }) {
  const { Room } = await import("/costage.js");
  const getToken = async () => {
    window.tokens += 1;
    const body = JSON.stringify({ room, user, role: "member", ttl_ms: ttlMs });
    const headers = { "Content-Type": "application/json" };
    return (await (await fetch("/v1/tokens", { method: "POST", headers, body })).json()).token;
  };
  Object.assign(window, { tokens: 0, log: [] });
  window.room = await Room.connect({ room, getToken });
  window.room.on("*", (data, { type }) => window.log.push(type));
  window.room.on("connection", ({ connection }) => window.log.push(`connection ${connection}`));
  window.room.on("closed", ({ reason }) => window.log.push(`closed ${reason}`));
}

/** Calls of the page for server-sent events, oldest first, without the token. */
function eventCalls(page) {
  const calls = [];
  page.on("request", (request) => {
    if (request.headers().accept === "text/event-stream") calls.push(new URL(request.url()).search);
  });
  return calls;
}

test("where no WebSocket gets through, the room comes as server-sent events", (t) =>
  kept(t, browser, server, async () => {
    const init = () => {
      // As behind a proxy that does not know them.
      window.WebSocket = class {
        constructor() {
          setTimeout(() => this.onclose?.({ code: 1006 }));
        }
        close() {}
      };
    };
    const page = await browser.open(`${server.url}/healthz`, { init });
    const calls = eventCalls(page);
    await page.evaluate(attend, { room, user: "bob", ttlMs: 3_600_000 });
    assert.equal(await page.evaluate(() => window.room.state.connection), "online");
    await page.evaluate(() => window.room.apply());
    await call("POST", "/applications/bob/accept", {});
    await logged(page, "seat.granted");
    await eventually("a seat", () => page.evaluate(() => window.room.state.me.seat === 1));
    await live(page);
    await logged(page, "seat.connected");

    // The network changed: another stream goes on where this one ended.
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await logged(page, "connection online");
    await call("PATCH", "/seats/1", { audio_muted: true });
    await logged(page, "seat.updated");
    assert.equal(calls[0], "");
    assert.match(calls.at(-1), /^\?after=\d+\.\d+$/);
    assert.ok(!(await page.evaluate(() => window.log)).includes("snapshot"), "resumed");
    await api(server, "DELETE", `/v1/rooms/${room}`, { room });
    await logged(page, "closed room_ended");
    assert.deepEqual(page.errors, []);
  }));

for (const [stream, init] of [["WebSocket", undefined], ["server-sent events", () => delete window.WebSocket]]) {
  test(`a token that runs out is replaced, over ${stream}`, (t) =>
    kept(t, browser, server, async () => {
      const page = await browser.open(`${server.url}/healthz`, { init });
      await call("PUT", "/seats/1", { user: "bob" });
      await page.evaluate(attend, { room, user: "bob", ttlMs: 4_000 });
      await live(page);
      const tokens = () => page.evaluate(() => window.tokens);
      const first = await tokens();
      await logged(page, "connection reconnecting");
      await logged(page, "connection online");
      assert.ok((await tokens()) > first);
      await call("PATCH", "/seats/1", { video_muted: true });
      await logged(page, "seat.updated");
      const log = await page.evaluate(() => window.log);
      assert.ok(!log.includes("snapshot") && !log.includes("seat.suspended"), `resumed, the seat and its media stay: ${log}`);
      assert.equal(await publication(page), "live");
      assert.equal(await page.evaluate(() => window.connections.length), 1);
      assert.deepEqual(page.errors, []);
    }));
}
