// The client module's media: real transports to the real server, real (fake) devices, and events in the test's hands.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { event, seatsChanged, snapshot, startFake } from "./fake/server.js";
import { api, eventually, kept, startBrowser, startServer } from "./harness.js";

const ROOM = "demo";

let server;
let browser;
let fake;

before(async () => {
  [server, browser] = await Promise.all([startServer(["--dev"]), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});
beforeEach(async () => {
  fake = await startFake({ real: server });
  await api(server, "POST", "/v1/rooms", { room: ROOM, body: { room: ROOM, host: "ann", max_guests: 3 } });
});
afterEach(async () => {
  await fake.stop();
  await api(server, "DELETE", `/v1/rooms/${ROOM}`, { room: ROOM });
});

const seats = (method, path, body) => api(server, method, `/v1/rooms/${ROOM}/seats${path}`, { room: ROOM, body });
const seat = async (number) => (await seats("GET", "")).seats.find((one) => one.seat === number);
const tokenOf = async (user) => (await api(server, "POST", "/v1/tokens", { body: { room: ROOM, user, role: "member" } })).token;

/** A page of `user` in the room; counts what it asks devices for. */
async function open(user, taken = { 0: "ann" }, init = "") {
  const page = await browser.open(`${fake.url}/`, { init: `
    window.asked = [];
    const media = navigator.mediaDevices;
    const ask = media.getUserMedia.bind(media);
    media.getUserMedia = async (wish) => { window.asked.push(Object.keys(wish).join()); return ask(wish); };
    ${init}
  ` });
  await enter(page, user, taken);
  return page;
}

async function enter(page, user, taken) {
  const token = await tokenOf(user);
  const entering = page.evaluate(async ({ room, token }) => {
    const { Room } = await import("/costage.js");
    window.room = await Room.connect({ room, getToken: () => token });
  }, { room: ROOM, token });
  page.stream = await fake.next();
  page.stream.send(snapshot({ user }, { taken }));
  await entering;
}

const publication = (page) => page.evaluate(() => window.room.publication?.state ?? null);
const live = (page) => eventually("a live transport", async () => (await publication(page)) === "live");
const connections = (page) => page.evaluate(() => window.connections.length);
const granted = (seq, prev, number) => event("seat.granted", seq, prev, { seat: number, whip_url: "", media: "av", connect_by_in_ms: 15_000 });

test("a granted seat brings the transport up before anybody is asked for a device", (t) =>
  kept(t, browser, server, async () => {
    const page = await open("bob");
    assert.equal(await publication(page), null);
    await seats("PUT", "/1", { user: "bob" });
    page.stream.send(granted(2, 1, 1));
    page.stream.send(seatsChanged(3, 2, { 0: "ann", 1: "bob" }));
    await live(page);
    assert.equal((await seat(1)).state, "occupied");
    assert.deepEqual(await page.evaluate(() => window.asked), []);
    const senders = await page.evaluate(() => window.connections[0].getTransceivers().map(({ direction, sender }) => [direction, sender.track]));
    assert.deepEqual(senders, [["sendonly", null], ["sendonly", null]]);

    await page.evaluate(() => window.room.devices.openMicrophone());
    await eventually("sound at the server", async () => (await seat(1)).sources.camera?.audio);
    assert.equal((await seat(1)).sources.camera.video, false, "audio alone is a whole guest");
    await page.evaluate(() => window.room.devices.openCamera({ width: 640, height: 360 }));
    await eventually("a picture at the server", async () => (await seat(1)).sources.camera?.video);
    const rids = await page.evaluate(async () => {
      const report = await window.connections[0].getStats();
      return [...report.values()].filter((stat) => stat.type === "outbound-rtp" && stat.kind === "video").map((stat) => stat.rid).sort();
    });
    assert.deepEqual(rids, ["h", "l", "m"]);

    await page.evaluate(async () => {
      const { devices } = window.room;
      const { microphones, cameras } = await devices.refresh();
      await devices.switchMicrophone(microphones.at(-1).deviceId);
      await devices.switchCamera(cameras.at(-1).deviceId);
      devices.closeCamera();
    });
    await eventually("no picture", async () => (await seat(1)).sources.camera?.video === false);
    await page.evaluate(() => window.room.devices.openCamera());
    await eventually("a picture again", async () => (await seat(1)).sources.camera?.video);
    assert.equal(await connections(page), 1, "never a new session");
    const level = await page.evaluate(() => new Promise((done) => {
      let most = 0;
      const stop = window.room.devices.onLevel((level) => { most = Math.max(most, level); });
      setTimeout(() => { stop(); done(most); }, 1_500);
    }));
    assert.ok(level > 0.1 && level <= 1, `level ${level}`);
    assert.deepEqual(page.errors, []);
  }));

test("a lost seat closes the transport and the devices", (t) =>
  kept(t, browser, server, async () => {
    await seats("PUT", "/1", { user: "bob" });
    const page = await open("bob", { 0: "ann", 1: "bob" });
    await live(page);
    await page.evaluate(() => window.room.devices.openMicrophone());
    await seats("DELETE", "/1");
    page.stream.send(seatsChanged(2, 1, { 0: "ann" }));
    await eventually("no transport", () => page.evaluate(() => window.connections[0].connectionState === "closed"));
    const { status } = await page.evaluate(() => window.room.devices.state.microphone);
    assert.deepEqual([await publication(page), status], [null, "closed"]);
    // The same person again: another transport.
    await seats("PUT", "/2", { user: "bob" });
    page.stream.send(granted(3, 2, 2));
    page.stream.send(seatsChanged(4, 3, { 0: "ann", 2: "bob" }));
    await live(page);
    assert.equal(await connections(page), 2);
  }));

test("a reloaded guest goes on publishing, with closed devices", (t) =>
  kept(t, browser, server, async () => {
    await seats("PUT", "/1", { user: "bob" });
    const page = await open("bob", { 0: "ann", 1: "bob" });
    await live(page);
    await page.evaluate(() => window.room.devices.openMicrophone());
    await page.reload();
    await eventually("a held seat", async () => (await seat(1)).state === "held");
    await enter(page, "bob", { 0: "ann", 1: "bob" });
    await live(page);
    assert.equal((await seat(1)).state, "occupied");
    assert.deepEqual(await page.evaluate(() => window.asked), []);
  }));

test("a refused permission keeps the seat", (t) =>
  kept(t, browser, server, async () => {
    await seats("PUT", "/1", { user: "bob" });
    const page = await open("bob", { 0: "ann", 1: "bob" }, 'media.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError"); };');
    await live(page);
    const error = await page.evaluate(() => window.room.devices.openMicrophone().catch(({ code, message }) => ({ code, message })));
    assert.equal(error.code, "device_denied");
    assert.match(error.message, /microphone is not allowed/);
    assert.equal(await publication(page), "live");
    assert.equal((await seat(1)).state, "occupied");
  }));

test("a host goes live only when told to", (t) =>
  kept(t, browser, server, async () => {
    const page = await open("ann");
    await page.evaluate(() => window.room.devices.openCamera());
    assert.equal(await publication(page), null);
    assert.equal((await seat(0)).state, "reserved");
    await page.evaluate(() => window.room.publish());
    await eventually("the host's picture", async () => (await seat(0)).sources.camera?.video);
  }));

test("the stage shows each seat as its own stream, and a screen beside it", (t) =>
  kept(t, browser, server, async () => {
    await seats("PUT", "/1", { user: "bob" });
    const taken = { 0: "ann", 1: "bob" };
    const guest = await open("bob", taken);
    await live(guest);
    await guest.evaluate(() => window.room.devices.openCamera());
    await guest.evaluate(() => window.room.devices.openMicrophone());
    const viewer = await open("eve", taken);
    const offer = await viewer.evaluate(async () => {
      window.views = [];
      window.stage = await window.room.watchStage({ slots: 99, onSlots: (views) => (window.views = views) });
      await new Promise((done) => setTimeout(done, 500));
      return window.stage.connection?.localDescription?.sdp.length ?? 0;
    });
    t.diagnostic(`an offer of ${offer} bytes`);
    assert.ok(offer > 0 && offer < 60_000, "the most slots fit into what the server reads");
    // The events are the test's: the resource says what the slots show.
    const look = () => viewer.evaluate(() => {
      window.stage.live();
      return window.views.map(({ slot, seat, source, state, user }) => ({ slot, seat, source, state, user: user?.user }));
    });
    const [view] = await eventually("the guest's slot", async () => {
      const views = await look();
      return views.length === 1 && views[0].state === "live" && views;
    });
    assert.deepEqual([view.seat, view.source, view.user], [1, "camera", "bob"]);
    const frames = () => viewer.evaluate(async () => {
      const video = (window.video ??= Object.assign(document.createElement("video"), { muted: true }));
      video.srcObject ??= window.stage.stream(1);
      await video.play();
      return video.getVideoPlaybackQuality().totalVideoFrames;
    });
    await eventually("frames", async () => (await frames()) > 5);

    await guest.evaluate(() => window.room.publishScreen());
    await eventually("a screen at the server", async () => (await seat(1)).sources.screen?.video);
    await eventually("two slots", async () => (await look()).some((one) => one.source === "screen"));
    assert.equal(await publication(guest), "live", "two transports of one seat");
    await guest.evaluate(() => window.room.devices.stopScreenShare());
    await eventually("no screen", async () => (await seat(1)).sources.screen === null);
    await viewer.evaluate(() => window.stage.close());
    assert.deepEqual([...guest.errors, ...viewer.errors], []);
  }));
