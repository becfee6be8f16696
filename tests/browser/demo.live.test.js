// `/demo` against the server: a host, a guest and somebody in the audience, with cameras, in one room.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually, kept, startBrowser, startServer } from "./harness.js";

// Three pages encode and decode on one machine: what takes a moment elsewhere may take long here.
const PATIENCE_MS = 30_000;

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([startServer(["--demo"]), startBrowser()]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function enter(name, room, { host = false, ...options } = {}) {
  const url = `${server.url}/demo?room=${room}&user=${name.toLowerCase()}${host ? "&role=host" : ""}`;
  const page = await browser.open(url, options);
  page.setDefaultTimeout(PATIENCE_MS);
  await page.fill("#join-name", name);
  await page.click("#join-enter");
  await page.waitForSelector("#live:not([hidden])");
  return page;
}

const control = (page, id) => page.locator(`[data-control="${id}"]`);
const card = (page, title) => page.locator(".card", { hasText: title });

/** A picture that moves, of that seat. */
function plays(page, seat) {
  const moving = (number) => {
    const video = document.querySelector(`.tile[data-seat="${number}"] video`);
    return Boolean(video?.videoWidth) && video.currentTime > 0.3 && !video.closest("[data-dark]");
  };
  return eventually(`a picture of seat ${seat}`, () => page.evaluate(moving, seat), PATIENCE_MS);
}

async function bring(page, button) {
  await page.getByRole("dialog").getByRole("button", { name: button }).click();
}

test("a guest asks, is accepted, seen, muted, moved and taken off; the host ends it", (t) =>
  kept(t, browser, server, async () => {
    const host = await enter("Ann", "evening", { host: true });
    await control(host, "go").click();
    await bring(host, "Go live");
    await host.locator('#phase[data-phase="live"]').waitFor();

    const guest = await enter("Bob", "evening", { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
    await plays(guest, 0);
    await control(guest, "ask").click();
    await bring(guest, "Ask to join");
    await card(guest, "You have asked for a seat").waitFor();
    await host.getByRole("button", { name: "Accept Bob" }).click();
    await plays(host, 1);

    const viewer = await enter("Kim", "evening");
    await plays(viewer, 0);
    await plays(viewer, 1);
    const seat = async (page, name, ...items) => {
      await page.getByRole("button", { name }).click();
      for (const item of items) await page.getByRole("menuitem", { name: item }).click();
    };
    await seat(host, "Seat 1, Bob", "Mute the microphone");
    await card(guest, "Ann has muted you").getByRole("button", { name: "Unmute" }).click();
    await control(guest, "microphone").getByText("Mic on").waitFor();
    await seat(host, "Seat 1, Bob", "Move or swap", "Move to seat 4");
    await viewer.getByRole("button", { name: "Seat 4, Bob" }).waitFor();
    await plays(viewer, 4);
    await seat(host, "Seat 4, Bob", "Take off the seat");
    await bring(host, "Take off");
    await card(guest, "Ann has taken you off the seat").getByText(/in \d+ s/).waitFor();
    assert.equal(await guest.evaluate(() => window.room.devices.state.camera.status), "closed", "no camera stays on");

    await control(host, "end").click();
    await bring(host, "End the live");
    for (const page of [host, guest, viewer]) {
      await page.getByRole("heading", { name: "The live has ended" }).waitFor();
      assert.deepEqual(page.errors, []);
    }
  }));

test("whoever picks host in a room that has one is its co-host", (t) =>
  kept(t, browser, server, async () => {
    const page = await enter("Ann", "demo", { host: true });
    await page.getByText("You are a co-host · with").waitFor();
    await plays(page, 0);
    assert.equal(await control(page, "end").count(), 0);
    const guest = await enter("Bob", "demo");
    await page.getByRole("tab", { name: "People" }).click();
    await page.getByRole("button", { name: "Invite Bob" }).click();
    await card(guest, "Ann invites you").getByRole("button", { name: "Accept" }).click();
    await bring(guest, "Join now");
    await plays(page, 1);
    assert.deepEqual([...page.errors, ...guest.errors], []);
  }));
