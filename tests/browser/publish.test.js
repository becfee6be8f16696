// `/publish` puts a camera on a seat, and another page sees it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { api, eventually, kept, startBrowser, startServer, stats, streams } from "./harness.js";

const ROOM = "demo";

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([startServer(["--demo"]), startBrowser()]);
  const there = () => api(server, "GET", `/v1/rooms/${ROOM}`, { room: ROOM }).catch(() => null);
  await eventually("the demo room", there);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Takes `seat` as `user`; returns the page once it is on air. */
async function publish(seat, user, options) {
  const page = await browser.open(`${server.url}/publish?room=${ROOM}&seat=${seat}&user=${user}`, options);
  await page.locator("#start:not(:disabled)").click();
  await page.locator('#state[data-state="live"]').waitFor({ timeout: 15_000 });
  return page;
}

const seat = async (n) => (await api(server, "GET", `/v1/rooms/${ROOM}/seats`, { room: ROOM })).seats.find((s) => s.seat === n);

/** Lets only one video codec be offered. */
const onlyCodec = (name) => `{
  const all = RTCRtpSender.getCapabilities.bind(RTCRtpSender);
  RTCRtpSender.getCapabilities = (kind) => {
    const found = all(kind);
    if (kind !== "video") return found;
    return { ...found, codecs: found.codecs.filter((c) => c.mimeType === "video/${name}" || c.mimeType === "video/rtx") };
  };
}`;

for (const [number, codec] of [[1, "H264"], [2, "VP8"]]) {
  test(`a seat published in ${codec} is seen`, (t) =>
    kept(t, browser, server, async () => {
      const publisher = await publish(number, `user-${codec}`, { init: onlyCodec(codec) });
      await eventually("30 frames sent", async () => (await stats(publisher)).frames > 30);
      const sent = (await streams(publisher, "outbound-rtp")).filter((stream) => stream.kind === "video");
      assert.deepEqual([...new Set(sent.map((stream) => stream.mimeType))], [`video/${codec}`]);
      assert.deepEqual(sent.map((stream) => stream.rid).sort(), ["h", "l", "m"], "three simulcast layers");
      assert.equal((await seat(number)).state, "occupied");

      const viewer = await browser.open(`${server.url}/?room=${ROOM}&seat=${number}`);
      await viewer.locator('#stage[data-state="playing"]').waitFor({ timeout: 20_000 });
      const seen = await eventually("30 frames decoded", async () => {
        const now = await stats(viewer);
        return now.frames > 30 && now;
      });
      assert.ok(seen.width >= 160 && seen.height >= 90, `${seen.width}×${seen.height}`);
      assert.ok(seen.audioPackets > 20, `${seen.audioPackets} audio packets`);
      const [received] = (await streams(viewer, "inbound-rtp")).filter((stream) => stream.kind === "video");
      assert.equal(received.mimeType, `video/${codec}`);
      assert.deepEqual(publisher.errors, []);
      assert.deepEqual(viewer.errors, []);

      await publisher.getByRole("button", { name: "Leave the seat" }).click();
      await publisher.locator('#state[data-state="ready"]').waitFor();
      await eventually("an empty seat", async () => (await seat(number)).state === "empty");
    }));
}

test("microphone and camera can be switched off and on", (t) =>
  kept(t, browser, server, async () => {
    const page = await publish(3, "carol");
    await page.getByRole("button", { name: "Camera off" }).click();
    assert.equal(await page.locator("#camera").getAttribute("aria-pressed"), "false");
    await page.getByRole("button", { name: "Camera on" }).click();
    await page.getByRole("button", { name: "Mute" }).click();
    assert.equal(await page.locator("#microphone").textContent(), "Unmute");
  }));

test("who is taken off the seat is told so", (t) =>
  kept(t, browser, server, async () => {
    const page = await publish(4, "dave");
    await api(server, "DELETE", `/v1/rooms/${ROOM}/seats/4`, { room: ROOM });
    await page.locator('#state[data-state="failed"]').waitFor({ timeout: 10_000 });
    assert.match(await page.locator("#message").textContent(), /seat is no longer yours/);
    assert.equal(await page.locator("#start").isVisible(), true);
    assert.equal(await page.locator("#token").isVisible(), false, "another token would not help");
  }));

test("a taken seat is refused in plain words", (t) =>
  kept(t, browser, server, async () => {
    await publish(5, "erin");
    const second = await browser.open(`${server.url}/publish?room=${ROOM}&seat=5&user=frank`);
    await second.locator("#start:not(:disabled)").click();
    await second.locator('#state[data-state="failed"]').waitFor();
    assert.match(await second.locator("#message").textContent(), /taken/);
  }));

test("a page without a camera says what to do", (t) =>
  kept(t, browser, server, async () => {
    const init = 'navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError"); };';
    const page = await browser.open(`${server.url}/publish?room=${ROOM}&seat=1`, { init });
    await page.locator('#state[data-state="no-devices"]').waitFor();
    assert.match(await page.locator("#message").textContent(), /not allowed/);
    assert.equal(await page.locator("#devices-again").isVisible(), true);
    assert.equal(await page.locator("#start").isDisabled(), true);
  }));

test("the publish page fits a phone", (t) =>
  kept(t, browser, server, async () => {
    const page = await browser.open(`${server.url}/publish?room=${ROOM}&seat=1`, { viewport: { width: 360, height: 640 }, isMobile: true });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(wide, 0, "nothing to scroll sideways");
  }));
