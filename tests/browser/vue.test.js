// A Vue application written in the words of the guest-connection guide, against the server: its panels are used by their
// buttons, and judged by what their templates show.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { basename, dirname, extname, join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { api, eventually, kept, startBrowser, startServer } from "./harness.js";

const HERE = dirname(fileURLToPath(import.meta.url));
const VUE = join(HERE, "node_modules/vue/dist/vue.esm-browser.prod.js");
const TYPES = { ".html": "text/html", ".js": "text/javascript" };

let server;
let application;
let browser;
let room;
let rooms = 0;

before(async () => {
  [server, browser] = await Promise.all([startServer(["--dev"]), startBrowser()]);
  application = await startApplication();
});
after(async () => {
  await browser?.close();
  application?.close();
  await server?.stop();
});
beforeEach(async () => {
  rooms += 1;
  room = `vue-${rooms}`;
  const policies = { reject_cooldown_ms: 0, kick_cooldown_ms: 0 };
  await api(server, "POST", "/v1/rooms", { room, body: { room, host: "ann", max_guests: 3, policies } });
});
afterEach(() => api(server, "DELETE", `/v1/rooms/${room}`, { room }).catch(() => {}));

const call = (method, path) => api(server, method, `/v1/rooms/${room}${path}`, { room });
const seat = async (number) => (await call("GET", "/seats")).seats.find((one) => one.seat === number);

/** Serves the application from an origin of its own; `costage` is what the server has. */
async function startApplication() {
  const files = createServer(async (request, response) => {
    const name = basename(new URL(request.url, "http://x").pathname) || "index.html";
    const body = await readFile(name === "vue.js" ? VUE : join(HERE, "vue", name), "utf8").catch(() => null);
    response.writeHead(body === null ? 404 : 200, { "Content-Type": TYPES[extname(name)] ?? "text/plain" });
    response.end(body?.replace("COSTAGE", `${server.url}/costage.js`));
  });
  await new Promise((done) => files.listen(0, "127.0.0.1", done));
  return files;
}

async function open(user, role = "member") {
  const query = new URLSearchParams({ room, user, role });
  const page = await browser.open(`http://127.0.0.1:${application.address().port}/?${query}`);
  await page.waitForSelector("section");
  return page;
}

/** The text of a part, one string, or of a list one per entry. */
const text = (page, part) => page.locator(`[data-part="${part}"]`).innerText();
const lines = (page, part, inner = "li") => page.locator(`[data-part="${part}"] ${inner}`).allInnerTexts();
const shows = async (page, part, wanted) => {
  let seen;
  await eventually(part, async () => (seen = (await text(page, part)).trim()) === wanted).catch(() => {});
  assert.equal(seen, wanted, part);
};
const lists = async (page, part, wanted, inner = "li > span") => {
  let seen;
  await eventually(part, async () => JSON.stringify(seen = await lines(page, part, inner)) === JSON.stringify(wanted)).catch(() => {});
  assert.deepEqual(seen, wanted, part);
};
const logs = (page, wanted, ms) => eventually(`"${wanted}" in the log`, async () => (await lines(page, "log")).includes(wanted), ms);
const press = (page, name, user) => page.locator(`${user ? `[data-user="${user}"] ` : ""}button[name="${name}"]`).click();
const fill = (page, name, value) => page.fill(`input[name="${name}"]`, String(value));
/** In seconds. */
const lasting = ({ created_at, expires_at }) => Math.round((Date.parse(expires_at) - Date.parse(created_at)) / 1_000);
const clean = (...pages) => assert.deepEqual(pages.flatMap((page) => page.errors), []);

/** Plays the stage on `page` and waits for pictures and sound of `number`. */
async function watched(page, number) {
  await page.evaluate(async (number) => {
    const stage = await window.room.watchStage();
    const video = document.body.appendChild(Object.assign(document.createElement("video"), { autoplay: true }));
    stage.subscribe(() => (video.srcObject ??= stage.stream(number)));
    video.srcObject = stage.stream(number);
    window.watched = { stage, video };
  }, number);
  await eventually("pictures", () => page.evaluate(() => window.watched.video.getVideoPlaybackQuality().totalVideoFrames > 5), 20_000);
  await eventually("sound", () => page.evaluate(async () => {
    const { stage, video } = window.watched;
    const [track] = video.srcObject.getAudioTracks();
    const receiver = stage.connection.getReceivers().find((one) => one.track === track);
    return [...(await receiver.getStats()).values()].some((one) => one.type === "inbound-rtp" && one.totalAudioEnergy > 0);
  }), 20_000);
}

test("a guest applies, is accepted in the list, sends, and leaves", (t) =>
  kept(t, browser, server, async () => {
    const host = await open("ann", "host");
    const admin = await open("kim", "admin");
    const bob = await open("bob");
    const cleo = await open("cleo");
    await lists(host, "seats", ["0 ann", "1 empty", "2 empty", "3 empty"]);
    await shows(host, "free", "3");

    await press(bob, "apply");
    await shows(bob, "standing", "waiting");
    await fill(cleo, "timeout", 30_000);
    await press(cleo, "apply");
    for (const page of [host, admin]) await lists(page, "applicants", ["BOB", "CLEO"]);
    await shows(host, "applicants-count", "2 of 2");
    assert.deepEqual(await lines(host, "log"), ["onGuestApplicationReceived BOB", "onGuestApplicationReceived CLEO"]);
    const { applications } = await call("GET", "/applications");
    const waits = Object.fromEntries(applications.map((one) => [one.guest.user, lasting(one)]));
    assert.deepEqual(waits, { bob: 30, cleo: 30 }, "30 is seconds, 30000 is milliseconds");
    assert.deepEqual(await lines(cleo, "connected"), ["0 ann"]);

    await press(host, "accept", "bob");
    await logs(bob, "onGuestApplicationResponded true ANN");
    await logs(admin, "onGuestApplicationProcessedByOtherHost BOB ANN");
    await shows(bob, "standing", "on a seat");
    await shows(bob, "devices", "microphone 1, camera 1");
    for (const page of [host, admin]) await lists(page, "applicants", ["CLEO"]);
    await lists(host, "connected", ["0 ann 00", "1 BOB 11"]);
    await shows(host, "free", "2");
    await lists(cleo, "connected", ["0 ann", "1 BOB"], "li");
    await watched(host, 1);

    await press(bob, "leave");
    await shows(bob, "standing", "watching");
    await shows(bob, "devices", "microphone 0, camera 0");
    await lists(host, "connected", ["0 ann 00"]);
    assert.equal((await seat(1)).state, "empty");
    assert.ok(!(await lines(bob, "log")).some((line) => line.startsWith("onKickedOffSeat")), "nobody kicked");
    clean(host, admin, bob, cleo);
  }));

test("withdrawn, declined, not answered, refused", (t) =>
  kept(t, browser, server, async () => {
    const host = await open("ann", "host");
    const bob = await open("bob");
    await press(bob, "apply");
    await lists(host, "applicants", ["BOB"]);
    await press(bob, "cancel");
    await shows(bob, "standing", "watching");
    await logs(host, "onGuestApplicationCancelled BOB");
    await lists(host, "applicants", []);

    await press(bob, "apply");
    await lists(host, "applicants", ["BOB"]);
    await press(host, "reject", "bob");
    await logs(bob, "onGuestApplicationResponded false ANN");
    await shows(bob, "standing", "watching");
    await lists(host, "applicants", []);
    assert.equal(await text(bob, "devices"), "microphone 0, camera 0");

    await press(bob, "cancel");
    await shows(bob, "failure", "CostageError already_processed");
    await fill(bob, "seat", 9);
    await press(bob, "apply");
    await shows(bob, "failure", "CostageError seat_index_invalid");

    // A panel that comes back shows what is, and hears each event once.
    for (const label of ["Hide", "Show"]) await host.getByText(label).click();
    await lists(host, "log", [], "li");
    await fill(bob, "seat", 2);
    await fill(bob, "timeout", 5);
    await press(bob, "apply");
    await lists(host, "applicants", ["BOB"]);
    assert.deepEqual(await lines(host, "log"), ["onGuestApplicationReceived BOB"]);
    await logs(bob, "onGuestApplicationNoResponse timeout", 9_000);
    await shows(bob, "standing", "watching");
    await lists(host, "applicants", []);
    clean(host, bob);
  }));

test("a host invites, is declined, accepted, removes the guest, and locks the seat", (t) =>
  kept(t, browser, server, async () => {
    const host = await open("ann", "host");
    const bob = await open("bob");
    const cleo = await open("cleo");
    await lists(host, "candidates", ["BOB", "CLEO"]);

    await press(host, "invite", "bob");
    await lists(host, "invitees", ["BOB"]);
    await lists(host, "candidates", ["CLEO"]);
    await logs(bob, "onHostInvitationReceived ANN");
    await press(bob, "reject");
    await logs(host, "onHostInvitationResponded false BOB ann");
    await lists(host, "invitees", []);

    await press(host, "invite", "cleo");
    await logs(cleo, "onHostInvitationReceived ANN");
    await press(host, "withdraw", "cleo");
    await logs(cleo, "onHostInvitationCancelled ANN");
    await lists(host, "invitees", []);

    await fill(host, "seat", 2);
    await fill(host, "timeout", 30_000);
    await press(host, "invite", "bob");
    const { invitations } = await call("GET", "/invitations");
    assert.deepEqual(invitations.map((one) => [one.guest.user, one.seat, lasting(one)]), [["bob", 2, 30]]);
    await bob.locator("dialog[open]").waitFor();
    await press(bob, "accept");
    await logs(host, "onHostInvitationResponded true BOB ann");
    await lists(host, "connected", ["0 ann 00", "2 BOB 11"]);
    await lists(host, "seats", ["0 ann", "1 empty", "2 bob", "3 empty"]);
    await lists(host, "candidates", ["CLEO"]);
    await watched(cleo, 2);

    await press(host, "kick", "bob");
    await logs(bob, "onKickedOffSeat 2 ANN kicked");
    await shows(bob, "standing", "watching");
    await shows(bob, "devices", "microphone 0, camera 0");
    await lists(host, "connected", ["0 ann 00"]);

    await host.locator('[data-seat="2"] button').click();
    await lists(host, "seats", ["0 ann", "1 empty", "2 locked", "3 empty"]);
    await lists(bob, "locked", ["2"], "li");
    // Asking for a locked seat is asking for any.
    await fill(bob, "seat", 2);
    await press(bob, "apply");
    await lists(host, "applicants", ["BOB"]);
    await press(host, "accept", "bob");
    await lists(host, "seats", ["0 ann", "1 bob", "2 locked", "3 empty"]);
    await host.locator('[data-seat="1"] button').click();
    await logs(bob, "onKickedOffSeat 1 ANN locked");
    await host.locator('[data-seat="2"] button').click();
    await lists(bob, "locked", ["1"], "li");
    clean(host, bob, cleo);
  }));

test("answers that come at once, and requests that cross", (t) =>
  kept(t, browser, server, async () => {
    const mode = (seat_mode) => api(server, "PATCH", `/v1/rooms/${room}`, { room, body: { seat_mode } });
    await mode("free");
    const host = await open("ann", "host");
    const bob = await open("bob");
    await press(bob, "apply");
    await logs(bob, "onGuestApplicationResponded true BOB");
    await shows(bob, "devices", "microphone 1, camera 1");
    await press(bob, "leave");
    // The answer came after the call, so the panel does not wait for another.
    await shows(bob, "standing", "watching");

    await mode("apply");
    await press(bob, "apply");
    await lists(host, "applicants", ["BOB"]);
    await host.evaluate(async () => (await import("costage")).useCoGuestState().inviteToSeat({ userId: "bob", timeout: 30 }));
    await logs(host, "onHostInvitationResponded true BOB ann");
    await shows(bob, "devices", "microphone 1, camera 1");
    assert.equal((await lines(bob, "log")).filter((line) => line === "onGuestApplicationResponded true ANN").length, 1);
    await press(bob, "leave");
    await shows(bob, "standing", "watching");

    await press(host, "invite", "bob");
    await logs(bob, "onHostInvitationReceived ANN");
    await bob.evaluate(() => document.querySelector("dialog").close());
    await press(bob, "apply");
    await eventually("a second answer", async () => (await lines(bob, "log")).filter((line) => line === "onGuestApplicationResponded true ANN").length === 2);
    await shows(bob, "standing", "on a seat");
    await shows(bob, "devices", "microphone 1, camera 1");
    await lists(host, "invitees", []);
    assert.equal((await lines(host, "log")).filter((line) => line === "onHostInvitationResponded true BOB ann").length, 2);
    clean(host, bob);
  }));
