// Media as Chromium sees it: simulcast, the stage, mutes, bandwidth, lip sync, ICE-TCP. Each test has a room of its own.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { installClient } from "./client.js";
import { api, eventually, kept, startBrowser, startServer } from "./harness.js";

let server;
let browser;
let rooms = 0;

before(async () => {
  [server, browser] = await Promise.all([startServer(["--demo"]), startBrowser()]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

// ---- the stage hands

/** A new room in which nobody is. */
async function newRoom() {
  rooms += 1;
  const room = `room-${rooms}`;
  await api(server, "POST", "/v1/rooms", { room, body: { room, host: "host" } });
  return room;
}

/** An empty page of the server's origin with the client in it. */
async function bare() {
  const page = await browser.open(`${server.url}/healthz`, { init: installClient });
  await page.evaluate(() => document.body.replaceChildren());
  return page;
}

const tokenOf = async (room, user) => (await api(server, "POST", "/v1/tokens", { body: { room, user, role: "member" } })).token;

const seats = (room, method, seat, body, who) => api(server, method, `/v1/rooms/${room}/seats/${seat}`, { room, body, ...who });

/** Seats `user` and publishes from a page of their own. */
async function publish(room, seat, user, options) {
  await seats(room, "PUT", seat, { user });
  const page = await bare();
  const call = { url: `/v1/rooms/${room}/whip`, token: await tokenOf(room, user) };
  await page.evaluate((options) => window.client.publish(options), { ...options, ...call });
  return page;
}

/** Views `what` of the room from a page of its own; `page.resource` is its resource. */
async function view(room, what, { slots, edit } = {}) {
  const page = await bare();
  const call = { url: `/v1/rooms/${room}/whep/${what}`, token: await tokenOf(room, "viewer"), slots };
  const { resource } = await page.evaluate(
    ({ call, edit }) => window.client.view({ ...call, ...(edit && { edit: new Function("sdp", edit) }) }),
    { call, edit },
  );
  page.resource = resource;
  return page;
}

const received = (page, slot) => page.evaluate((slot) => window.client.media("inbound-rtp", slot), slot);
const sent = (page) => page.evaluate(() => window.client.media("outbound-rtp"));

/** Waits for `count` more decoded frames, of `height` if given. */
async function decodes(page, what, { count = 10, height, slot, ms = 5_000 } = {}) {
  const from = (await received(page, slot)).video?.framesDecoded ?? 0;
  return eventually(what, async () => {
    const { video } = await received(page, slot);
    return video && video.framesDecoded >= from + count && (!height || video.frameHeight === height) && video;
  }, ms);
}

/** Waits until no packet of `kind` has come for `ms`; resolves with what came in that time. */
async function silence(page, kind, ms = 600) {
  const counted = async () => {
    const now = await received(page);
    return { audio: now.audio?.packetsReceived ?? 0, video: now.video?.packetsReceived ?? 0 };
  };
  let last = { ...(await counted()), at: Date.now() };
  return eventually(`no more ${kind}`, async () => {
    const now = await counted();
    if (now[kind] !== last[kind]) last = { ...now, at: Date.now() };
    return Date.now() - last.at > ms && { audio: now.audio - last.audio, video: now.video - last.video };
  }, 4_000);
}

const LAYERS = [
  { rid: "l", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: "m", scaleResolutionDownBy: 2, maxBitrate: 400_000 },
  { rid: "h", scaleResolutionDownBy: 1, maxBitrate: 1_200_000 },
];
const SMALL = { width: 320, height: 180, frameRate: 15 };

// ---- tests

for (const codec of ["VP8", "H264"]) {
  test(`layers of ${codec} are chosen, paused and resumed`, (t) =>
    kept(t, browser, server, async () => {
      const room = await newRoom();
      const publisher = await publish(room, 1, "alice", { codec, encodings: LAYERS });
      const layers = await eventually("three layers sent", async () => {
        const { videos } = await sent(publisher);
        return videos.length === 3 && videos.every((layer) => layer.framesSent > 10) && videos;
      }, 20_000);
      assert.deepEqual(layers.map((layer) => [layer.rid, layer.frameHeight, layer.codec]).sort(), [
        ["h", 720, codec],
        ["l", 180, codec],
        ["m", 360, codec],
      ]);

      // The viewer comes in the middle of a group of pictures.
      const viewer = await view(room, "seats/1");
      const firstFrameMs = await viewer.evaluate(() => window.firstFrameMs);
      t.diagnostic(`first frame ${Math.round(firstFrameMs)} ms after the POST`);
      assert.ok(firstFrameMs < 1_000, `first frame after ${firstFrameMs} ms`);

      const start = await decodes(viewer, "the large layer", { height: 720 });
      assert.equal(start.codec, codec);
      const wish = (slot) => api(server, "PATCH", `${viewer.resource}/layers`, { room, user: "viewer", body: { slots: { 0: slot } } });
      for (const [max_height, height] of [[360, 360], [180, 180], [undefined, 720], [719, 360], [1080, 720]]) {
        await wish({ max_height });
        await decodes(viewer, `${height} lines for at most ${max_height}`, { height, count: 15, ms: 4_000 });
      }
      const end = (await received(viewer)).video;
      assert.equal(end.ssrc, start.ssrc);
      assert.equal(end.packetsLost, 0, "sequence numbers without a gap");
      assert.ok(end.freezeCount - start.freezeCount <= 1, `${end.freezeCount - start.freezeCount} freezes over five switches`);
      t.diagnostic(`${end.freezeCount} freezes, ${end.totalFreezesDuration} s; ${end.keyFramesDecoded} keyframes, ${end.pliCount} PLIs`);

      await wish({ paused: true });
      assert.equal((await silence(viewer, "video")).video, 0);
      await wish({ paused: false });
      await decodes(viewer, "video after the pause", { height: 720, ms: 3_000 });
      assert.deepEqual([...publisher.errors, ...viewer.errors], []);
    }));
}

test("a slot goes on with another codec", (t) =>
  kept(t, browser, server, async () => {
    const room = await newRoom();
    await publish(room, 1, "alice", { codec: "VP8", ...SMALL });
    const viewer = await view(room, "stage");
    const before = await decodes(viewer, "VP8 in the slot");
    assert.equal(before.codec, "VP8");

    await seats(room, "DELETE", 1);
    await publish(room, 1, "bob", { codec: "H264", ...SMALL });
    const after = await eventually("H.264 in the slot", async () => {
      const { video } = await received(viewer);
      return video.codec === "H264" && video;
    });
    const end = await decodes(viewer, "H.264 decoded");
    assert.equal(end.codec, "H264");
    assert.equal(end.ssrc, before.ssrc);
    assert.equal(end.mid, before.mid);
    assert.equal(end.packetsLost, 0);
    assert.ok(after.framesDecoded >= before.framesDecoded);
    const session = await viewer.evaluate(() => [window.connections.length, window.connections[0].connectionState]);
    assert.deepEqual(session, [1, "connected"], "nothing was negotiated anew");
    const slots = await api(server, "GET", viewer.resource, { room, user: "viewer" });
    assert.deepEqual(slots, [{ slot: 0, seat: 1, source: "camera", codec: "h264", state: "live" }]);
  }));

test("a stage of three slots shows three publishers", (t) =>
  kept(t, browser, server, async () => {
    const room = await newRoom();
    const guests = [["alice", "VP8"], ["bob", "H264"], ["carol", "VP8"]];
    const viewer = await view(room, "stage", { slots: 3 });
    assert.deepEqual(await api(server, "GET", viewer.resource, { room, user: "viewer" }), []);
    await Promise.all(guests.map(([user, codec], i) => publish(room, i + 1, user, { codec, ...SMALL })));
    for (const slot of [0, 1, 2]) await decodes(viewer, `slot ${slot}`, { slot, ms: 10_000 });
    const listed = await api(server, "GET", viewer.resource, { room, user: "viewer" });
    assert.deepEqual(listed.map(({ slot }) => slot).sort(), [0, 1, 2]);
    assert.deepEqual(listed.map(({ seat }) => seat).sort(), [1, 2, 3]);
    for (const { slot, seat, ...rest } of listed) {
      const codec = guests[seat - 1][1];
      assert.deepEqual(rest, { source: "camera", codec: codec.toLowerCase(), state: "live" });
      assert.equal((await received(viewer, slot)).video.codec, codec, `slot ${slot}`);
    }
  }));

test("mutes and locks stop packets, a kick ends both sides", (t) =>
  kept(t, browser, server, async () => {
    const room = await newRoom();
    await seats(room, "PUT", 1, { user: "alice" });
    const publisher = await browser.open(`${server.url}/publish?room=${room}&seat=1&user=alice`);
    await publisher.locator("#start:not(:disabled)").click();
    await publisher.locator('#state[data-state="live"]').waitFor({ timeout: 10_000 });
    const viewer = await view(room, "seats/1");
    await decodes(viewer, "video");
    const hears = async () => {
      const from = (await received(viewer)).audio?.packetsReceived ?? 0;
      await eventually("audio", async () => (await received(viewer)).audio?.packetsReceived > from + 20, 3_000);
    };
    await hears();

    // Anybody who may can switch a device off; on again only its owner, who may take a lock away never.
    const alice = { user: "alice", role: "member" };
    for (const [flag, undoing] of [["muted", alice], ["locked", {}]]) {
      await seats(room, "PATCH", 1, { [`video_${flag}`]: true });
      const still = await silence(viewer, "video");
      assert.ok(still.audio > 15, `${still.audio} audio packets while the video was ${flag}`);
      await seats(room, "PATCH", 1, { [`video_${flag}`]: false }, undoing);
      await decodes(viewer, `video no longer ${flag}`, { ms: 3_000 });
    }
    await seats(room, "PATCH", 1, { audio_muted: true });
    const still = await silence(viewer, "audio");
    assert.ok(still.video > 5, `${still.video} video packets while the audio was muted`);
    await seats(room, "PATCH", 1, { audio_muted: false }, alice);
    await hears();
    assert.equal((await received(viewer)).video.packetsLost, 0);

    await seats(room, "DELETE", 1);
    await publisher.locator('#state[data-state="failed"]').waitFor({ timeout: 5_000 });
    assert.match(await publisher.locator("#message").textContent(), /seat is no longer yours/);
    assert.deepEqual(await silence(viewer, "video"), { audio: 0, video: 0 });
  }));

test("a publisher is told what the line carries", (t) =>
  kept(t, browser, server, async () => {
    const room = await newRoom();
    const target = 1_500_000;
    const publisher = await publish(room, 1, "alice", {
      codec: "VP8",
      encodings: [{ maxBitrate: target }],
      content: "noise",
      width: 480,
      height: 270,
    });
    const begin = Date.now();
    const readings = [];
    const reached = await eventually("the target bitrate", async () => {
      const { video } = await sent(publisher);
      if (!video) return false;
      readings.push(video);
      // Over a second or more: one frame of noise is large.
      const from = readings.findLast((one) => video.timestamp - one.timestamp >= 1_000);
      const bps = from && ((video.bytesSent - from.bytesSent) * 8_000) / (video.timestamp - from.timestamp);
      return bps > 1_000_000 && bps;
    }, 10_000);
    t.diagnostic(`${Math.round(reached / 1000)} kbit/s after ${Date.now() - begin} ms`);
    const { availableOutgoingBitrate } = await publisher.evaluate(() => window.client.path());
    t.diagnostic(`${Math.round(availableOutgoingBitrate / 1000)} kbit/s available`);
    assert.ok(availableOutgoingBitrate > target, `${availableOutgoingBitrate} bit/s available`);
    assert.equal((await sent(publisher)).video.retransmittedPacketsSent, 0, "nothing was lost that had to be sent again");
  }));

test("the program plays smoothly and in sync", (t) =>
  kept(t, browser, server, async () => {
    await eventually("the program", () =>
      api(server, "GET", "/v1/rooms/demo", { room: "demo" }).then((room) => room.phase === "live", () => false));
    const viewer = await view("demo", "program");
    const firstFrameMs = await viewer.evaluate(() => window.firstFrameMs);
    t.diagnostic(`first frame ${Math.round(firstFrameMs)} ms after the POST`);
    assert.ok(firstFrameMs < 1_000, `first frame after ${firstFrameMs} ms`);
    const before = await eventually("steady playback", async () => {
      const now = await received(viewer);
      return now.video?.framesDecoded > 45 && now.audio?.estimatedPlayoutTimestamp && now.video.estimatedPlayoutTimestamp && now;
    });
    // Chromium moves sound and picture towards each other by small steps: what counts is that it gets there and stays.
    const IN_SYNC_MS = 50;
    const STAYS_MS = 3_000;
    const skews = [];
    const after = await eventually("five seconds of playback, the last three of them in sync", async () => {
      const now = await received(viewer);
      skews.push({ at: now.video.timestamp, ms: now.audio.estimatedPlayoutTimestamp - now.video.estimatedPlayoutTimestamp });
      const astray = skews.findLast(({ ms }) => Math.abs(ms) > IN_SYNC_MS)?.at ?? 0;
      return now.video.timestamp - Math.max(astray, before.video.timestamp + 2_000) >= STAYS_MS && now;
    }, 20_000).catch((error) => assert.fail(`${error.message}: ${skews.slice(-60).map(({ ms }) => Math.round(ms)).join(" ")}`));
    const seconds = (after.video.timestamp - before.video.timestamp) / 1_000;
    const fps = (after.video.framesDecoded - before.video.framesDecoded) / seconds;
    const samples = after.audio.totalSamplesReceived - before.audio.totalSamplesReceived;
    const concealed = (after.audio.concealedSamples - before.audio.concealedSamples) / samples;
    t.diagnostic(`${fps.toFixed(1)} fps, ${(concealed * 100).toFixed(2)} % of the sound concealed, over ${seconds.toFixed(1)} s`);
    t.diagnostic(`sound ${skews.at(-1).ms} ms ahead of the picture`);
    assert.ok(Math.abs(fps - 30) < 2, `${fps} fps`);
    assert.ok(samples > 0 && concealed < 0.02, `${concealed} of ${samples} samples concealed`);
  }));

test("without UDP the media goes over TCP", (t) =>
  kept(t, browser, server, async () => {
    const room = await newRoom();
    await publish(room, 1, "alice", { codec: "VP8", ...SMALL });
    const edit = 'return sdp.split("\\r\\n").filter((line) => !/^a=candidate:\\S+ \\d+ udp /i.test(line)).join("\\r\\n");';
    const viewer = await view(room, "seats/1", { edit });
    await decodes(viewer, "video over TCP");
    const { local, remote } = await viewer.evaluate(() => window.client.path());
    assert.deepEqual([local.protocol, remote.protocol, remote.tcpType], ["tcp", "tcp", "passive"]);
    assert.equal((await received(viewer)).video.packetsLost, 0);
  }));

test("a publisher's path is repaired, and a reload keeps the seat", (t) =>
  kept(t, browser, server, async () => {
    const room = await newRoom();
    const publisher = await browser.open(`${server.url}/publish?room=${room}&seat=1&user=alice`, { init: installClient });
    const goOnAir = async () => {
      await publisher.locator("#start:not(:disabled)").click();
      await publisher.locator('#state[data-state="live"]').waitFor({ timeout: 10_000 });
    };
    await goOnAir();
    const viewer = await view(room, "seats/1");
    const { ssrc } = await decodes(viewer, "video");

    const path = () => publisher.evaluate(() => window.client.path());
    const before = await path();
    // No network here can be cut, so the connection claims to have failed, for a moment.
    await publisher.evaluate(() => {
      const [pc] = window.connections;
      Object.defineProperty(pc, "connectionState", { get: () => "failed", configurable: true });
      pc.dispatchEvent(new Event("connectionstatechange"));
      delete pc.connectionState;
    });
    const changed = await eventually("another path", async () => {
      const now = await path();
      return now?.id !== before.id && now;
    });
    assert.notEqual(changed.local.usernameFragment, before.local.usernameFragment);
    await decodes(viewer, "video over the new path");
    assert.equal(await publisher.evaluate(() => window.connections.length), 1, "the session was kept");

    const seat = async () => (await api(server, "GET", `/v1/rooms/${room}/seats`, { room })).seats.find((one) => one.seat === 1);
    await publisher.reload();
    await eventually("a held seat", async () => (await seat()).state === "held");
    await goOnAir();
    assert.equal((await seat()).state, "occupied");
    assert.equal((await seat()).user.user, "alice");
    assert.equal((await decodes(viewer, "video after the reload")).ssrc, ssrc);
    assert.equal(await viewer.evaluate(() => window.connections.length), 1);
    assert.deepEqual([...publisher.errors, ...viewer.errors], []);
  }));
