// `/` plays the demo room's program.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { api, eventually, freePorts, kept, metric, startBrowser, startServer, stats, streams } from "./harness.js";

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([startServer(["--demo"]), startBrowser()]);
});

after(async () => {
  await browser?.close();
  const end = await server?.stop();
  assert.deepEqual(end, { code: 0, signal: null }, "SIGTERM ends the server in good order");
});

/** The page plays: frames decoded, sound arriving. */
async function plays(page, frames = 60) {
  await page.locator('#stage[data-state="playing"]').waitFor({ timeout: 20_000 });
  await eventually(`${frames} frames`, async () => (await stats(page)).frames >= frames);
}

test("the program plays", (t) =>
  kept(t, browser, server, async () => {
    assert.match(server.stdout(), /watch: +http:\S+\/\?room=demo/);
    assert.match(server.stdout(), /publish: +http:\S+\/publish\?room=demo&seat=1/);
    assert.match(server.stdout(), /demo: +http:\S+\/demo\?room=demo/);
    const page = await browser.open(`${server.url}/?room=demo`);
    await plays(page);
    const video = page.locator("#video");
    const size = await video.evaluate((v) => [v.videoWidth, v.videoHeight]);
    assert.deepEqual(size, [1280, 720]);
    assert.equal(await page.locator("#state").textContent(), "Live");

    const before = await video.evaluate((v) => v.currentTime);
    const shown = await stats(page);
    await eventually("two seconds of playback", () => video.evaluate((v, from) => v.currentTime - from > 2, before));
    const later = await stats(page);
    assert.ok(later.frames - shown.frames > 30, `${later.frames - shown.frames} frames in two seconds`);
    assert.ok(later.audioPackets > 100, `${later.audioPackets} audio packets`);
    const [received] = (await streams(page, "inbound-rtp")).filter((stream) => stream.kind === "video");
    assert.equal(received.mimeType, "video/H264");
    assert.ok(received.freezeCount <= 1, `${received.freezeCount} freezes`);
    assert.deepEqual(page.errors, []);
  }));

test("sound is off until asked for", (t) =>
  kept(t, browser, server, async () => {
    const page = await browser.open(`${server.url}/?room=demo`);
    await plays(page, 5);
    const muted = () => page.locator("#audio").evaluate((audio) => audio.muted);
    assert.equal(await page.locator("#video").evaluate((v) => v.muted), true);
    assert.equal(await muted(), true);
    await page.getByRole("button", { name: "Unmute" }).click();
    assert.equal(await muted(), false);
    assert.equal(await page.locator("#video").evaluate((v) => v.muted), true, "the sound is played once");
    assert.equal(await page.locator("#sound").getAttribute("aria-pressed"), "true");
    await page.getByRole("button", { name: "Mute" }).click();
    assert.equal(await muted(), true);
  }));

/** In the page: the loudest that the `<audio>` element plays within a second, 0 to 1. */
function loudest() {
  const audio = document.getElementById("audio");
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(audio.captureStream()).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  return new Promise((done) => {
    let peak = 0;
    const looking = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), peak);
    }, 20);
    setTimeout(() => {
      clearInterval(looking);
      context.close();
      done(peak);
    }, 1_000);
  });
}

test("a guest without a camera is heard", (t) =>
  kept(t, browser, server, async () => {
    const guest = await browser.open(`${server.url}/?room=demo`);
    await guest.evaluate(async () => {
      const { Room } = await import("/costage.js");
      const issue = async () => {
        const response = await fetch("/v1/tokens", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ room: "demo", user: "mia", role: "member" }),
        });
        return (await response.json()).token;
      };
      window.room = await Room.connect({ url: location.origin, room: "demo", getToken: issue });
    });
    await api(server, "PUT", "/v1/rooms/demo/seats/4", { room: "demo", body: { user: "mia" } });
    await guest.evaluate(() => window.room.devices.openMicrophone());
    const page = await browser.open(`${server.url}/?room=demo&seat=4`);
    await page.locator('#state[data-state="sound"]').waitFor({ timeout: 20_000 });
    const audio = page.locator("#audio");
    assert.equal(await page.locator("#message").textContent(), "Sound only: there is no camera yet.");
    await page.getByRole("button", { name: "Unmute" }).click();
    const before = await audio.evaluate((element) => element.currentTime);
    const played = (from) => audio.evaluate((element, from) => element.currentTime - from > 1, from);
    await eventually("a second of playback", () => played(before));
    // The fake microphone beeps once a second.
    await eventually("a beep", async () => (await page.evaluate(loudest)) > 0.01);
    assert.equal(await page.locator("#video").evaluate((video) => video.videoWidth), 0);
    assert.deepEqual([...page.errors, ...guest.errors], []);
  }));

test("a page that is left is no viewer any more", (t) =>
  kept(t, browser, server, async () => {
    const page = await browser.open(`${server.url}/?room=demo`);
    await plays(page, 5);
    await eventually("a viewer", async () => (await metric(server, "costage_viewers")) >= 1);
    await page.goto("about:blank");
    await eventually("no viewer", async () => (await metric(server, "costage_viewers")) === 0, 5_000);
  }));

test("a broken path is repaired by an ICE restart", (t) =>
  kept(t, browser, server, async () => {
    const page = await browser.open(`${server.url}/?room=demo`);
    await plays(page, 5);
    const ufrag = () =>
      page.evaluate(() => window.connections[0].currentRemoteDescription.sdp.match(/^a=ice-ufrag:(.*)$/m)[1]);
    const before = await ufrag();
    // No network here can be cut, so the connection claims to have failed, for a moment.
    await page.evaluate(() => {
      const [pc] = window.connections;
      Object.defineProperty(pc, "connectionState", { get: () => "failed", configurable: true });
      pc.dispatchEvent(new Event("connectionstatechange"));
      delete pc.connectionState;
    });
    await eventually("new credentials", async () => (await ufrag()) !== before);
    await plays(page, (await stats(page)).frames + 30);
    assert.equal(await page.evaluate(() => window.connections.length), 1, "the session was kept");
  }));

test("a room that is not there yet is waited for", (t) =>
  kept(t, browser, server, async () => {
    const page = await browser.open(`${server.url}/?room=nobody-here`);
    await page.locator('#state[data-state="waiting"]').waitFor();
    assert.match(await page.locator("#message").textContent(), /Looking again in \d+ s/);
  }));

test("the page fits a phone", (t) =>
  kept(t, browser, server, async () => {
    const page = await browser.open(`${server.url}/?room=demo`, { viewport: { width: 360, height: 640 }, isMobile: true });
    await plays(page, 5);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(wide, 0, "nothing to scroll sideways");
  }));

test("the page comes back after a restart of the server", (t) =>
  kept(t, browser, server, async () => {
    const ports = await freePorts();
    const first = await startServer(["--demo"], ports);
    let second;
    try {
      const page = await browser.open(`${first.url}/?room=demo`);
      await plays(page, 5);
      assert.deepEqual(await first.stop(), { code: 0, signal: null });
      await page.locator('#stage:not([data-state="playing"])').waitFor({ timeout: 10_000 });
      second = await startServer(["--demo"], ports);
      await plays(page, 5);
    } finally {
      await first.stop();
      await second?.stop();
    }
  }));
