// `/demo` with a fake room: what it shows and does in each state, on a phone and on a laptop.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually, kept, startBrowser } from "./harness.js";
import { startPages } from "./pages.js";

let pages;
let browser;

before(async () => {
  [pages, browser] = await Promise.all([startPages(), startBrowser()]);
});

after(async () => {
  await browser?.close();
  await pages?.close();
});

const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const LAPTOP = { viewport: { width: 1440, height: 900 } };

const USERS = ["ann", "bob", "cleo", "dev", "eva", "finn", "gus", "hana", "ivo", "jo"];
/** The first `count` people, each on the seat of their number. */
const seated = (count) => Object.fromEntries(USERS.slice(0, count).map((user, seat) => [seat, { user }]));
const HOST = { me: { user: "ann", role: "host" }, publishing: {}, members: ["ann", "kim", "lea", "mo"] };
const GUEST = { me: { user: "bob" }, publishing: {} };
const AUDIENCE = { me: { user: "kim" } };

const SCENES = {
  "host before the live": { ...HOST, publishing: null, phase: "idle", seats: { 0: { user: "ann", state: "reserved" } } },
  "host with requests": {
    ...HOST,
    seats: { ...seated(3), 5: { locked: true } },
    applications: [{ user: "kim" }, { user: "mo", media: "audio", seat: 4 }],
    invitations: [{ user: "lea", by: "ann" }],
  },
  "host of a full stage": { ...HOST, seats: seated(10), speaking: [{ seat: 4, level: -20 }] },
  "co-host in the audience": { ...HOST, me: { user: "kim", role: "admin" }, publishing: null, seats: seated(2) },
  "guest, muted and locked by a host": { ...GUEST, seats: { ...seated(3), 1: { user: "bob", audio_locked: true, video_muted: true } } },
  "audience": { ...AUDIENCE, seats: { ...seated(4), 2: { user: "cleo", state: "held" }, 3: { user: "dev", state: "reserved" } } },
  "audience, waiting": { me: { user: "kim", application: {} }, seats: seated(1) },
  "audience, invited": { me: { user: "kim", invitation: { by: "ann", seat: 3 } }, seats: seated(2) },
  "nobody live": { ...AUDIENCE, phase: "idle" },
  "host away, line broken": { ...AUDIENCE, phase: "host_away", connection: "reconnecting", seats: seated(2) },
  "a room of fifteen": { ...HOST, count: 15, seats: seated(4) },
};

/** Opens the page and enters the room of `scene`. */
async function enter(scene, size = LAPTOP) {
  const page = await browser.open(`${pages.url}/demo?room=demo&user=${scene.me.user}`, {
    ...size,
    reducedMotion: "reduce",
    init: `window.scene = ${JSON.stringify(scene)}`,
  });
  await page.fill("#join-name", "Kim");
  await page.click("#join-enter");
  await page.waitForSelector("#live:not([hidden])");
  await page.waitForSelector("#controls button");
  return page;
}

/** What the room was told to do, as it would go over the wire. */
const calls = (page) => page.evaluate(() => JSON.parse(JSON.stringify(window.calls)));
const called = (page, name) => eventually(`a call of ${name}`, async () => (await calls(page)).find(([one]) => one === name));
const control = (page, id) => page.locator(`[data-control="${id}"]`);
const card = (page, title) => page.locator(".card", { hasText: title });

/** In the page: what a reader of the screen, or one with poor eyes or thick fingers, would stumble over. */
function troubles() {
  const found = [];
  const visible = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  for (const element of document.querySelectorAll("button, input, select, [role=menuitem], dialog[open], progress")) {
    if (!visible(element) || element.getAttribute("aria-hidden") === "true") continue;
    const label = element.labels?.[0]?.textContent ?? "";
    const by = element.getAttribute("aria-labelledby");
    const name = element.getAttribute("aria-label") ?? (by ? document.getElementById(by)?.textContent : label || element.textContent);
    if (!name?.trim()) found.push(`no name: ${element.outerHTML.slice(0, 90)}`);
    const { width, height } = element.getBoundingClientRect();
    if (element.matches("button") && (width < 24 || height < 24)) found.push(`too small: ${name} ${width}×${height}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids.filter((one, index) => ids.indexOf(one) !== index)) found.push(`twice: #${id}`);
  const parse = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !visible(element)) continue;
    // Over pictures there is no one colour behind; what is disabled need not be read.
    if (element.closest(".tile, .unseen, :disabled, script")) continue;
    let [behind, color] = [element, null];
    while (behind) {
      const background = parse(getComputedStyle(behind).backgroundColor);
      if (background.length === 3 || background[3] === 1) {
        color = background;
        break;
      }
      behind = behind.parentElement;
    }
    const [light, dark] = [luminance(parse(getComputedStyle(element).color)), luminance(color ?? [11, 13, 18])].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) found.push(`contrast ${contrast.toFixed(2)}: ${element.textContent.slice(0, 40)}`);
  }
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) found.push(`${wide} px to scroll sideways`);
  return found;
}

for (const [what, scene] of Object.entries(SCENES)) {
  test(`fits and is named: ${what}`, (t) =>
    kept(t, browser, null, async () => {
      for (const [name, size] of Object.entries({ phone: PHONE, laptop: LAPTOP })) {
        const page = await enter(scene, size);
        await page.waitForTimeout(250);
        assert.deepEqual(await page.evaluate(troubles), [], name);
        const bar = await page.locator("#controls").boundingBox();
        assert.ok(bar.y + bar.height <= size.viewport.height + 1, `${name}: the controls are in sight`);
        assert.deepEqual(page.errors, [], name);
        await page.context().close();
      }
    }));
}

test("every part of the panel fits and is named", (t) =>
  kept(t, browser, null, async () => {
    for (const size of [PHONE, LAPTOP]) {
      const page = await enter(SCENES["host with requests"], size);
      if (size === PHONE) await control(page, "panel").click();
      for (const tab of ["Requests", "People", "Settings"]) {
        await page.getByRole("tab", { name: tab }).click();
        assert.deepEqual(await page.evaluate(troubles), [], tab);
      }
      assert.deepEqual(page.errors, []);
    }
  }));

test("the host chooses the program's layout, by keyboard as well", (t) =>
  kept(t, browser, null, async () => {
    const own = { background: { color: "#102030", image: null }, watermarks: [], volumes: { 3: 0.5 } };
    const page = await enter({ ...HOST, seats: seated(3), settings: { layout: { template: "float", ...own } } });
    await page.getByRole("tab", { name: "Settings" }).click();
    const group = page.getByRole("group", { name: "Layout" });
    const template = (name) => group.getByRole("radio", { name });
    await eventually("the layout in force", () => template(/^Floating/).isChecked());
    assert.deepEqual(await page.evaluate(troubles), []);
    await template(/^Floating/).focus();
    await page.keyboard.press("ArrowDown");
    // What else is set stays as it is.
    assert.deepEqual((await called(page, "setLayout"))[1], { template: "screen", ...own });
    // What is in force is shown, not what was asked for.
    await eventually("the layout in force", () => template(/^Floating/).isChecked());
    const force = (layout) =>
      page.evaluate((next) => window.fake.change({ settings: { ...window.fake.state.settings, layout: next } }), layout);
    await force({ template: "screen", ...own });
    await eventually("the new layout", () => template(/^Screen/).isChecked());
    const tiles = [{ seat: 0, x: 0, y: 0, w: 1, h: 1 }];
    await force({ template: "custom", tiles, ...own });
    await group.getByText(/a layout of its own/).waitFor();
    assert.equal(await group.getByRole("radio", { checked: true }).count(), 0);
    await template(/^Grid/).click({ force: true });
    const last = async () => (await calls(page)).filter(([name]) => name === "setLayout").at(-1)[1];
    await eventually("a grid instead", async () => (await last()).template === "grid");
    assert.deepEqual(await last(), { template: "grid", ...own });
    assert.deepEqual(page.errors, []);

    // Switches in the panel do what they say.
    await page.getByRole("switch", { name: "Guests ask before they sit down" }).click();
    assert.deepEqual((await called(page, "updateSettings"))[1], { seat_mode: "free" });

    const admin = SCENES["co-host in the audience"];
    for (const [admin_may, groups] of [[["layout"], 1], [["settings"], 0]]) {
      const other = await enter({ ...admin, settings: { policies: { admin_may } } });
      await other.getByRole("tab", { name: "Settings" }).click();
      await other.getByText("Your devices").waitFor();
      const shown = () => other.getByRole("group", { name: "Layout" }).count();
      await eventually(`${groups} for ${admin_may}`, async () => (await shown()) === groups);
      await other.context().close();
    }
    const viewer = await enter({ ...AUDIENCE, seats: seated(2) });
    await viewer.getByRole("tab", { name: "Settings" }).click();
    const shown = () => viewer.getByRole("group", { name: "Layout" }).count();
    await eventually("nothing to choose", async () => (await shown()) === 0);
  }));

test("the form says what entering means", (t) =>
  kept(t, browser, null, async () => {
    const page = await browser.open(`${pages.url}/demo?room=demo&user=kim`, PHONE);
    await page.getByText("Room demo is live with Ann Berg.").waitFor();
    await page.getByRole("radio", { name: /^Host/ }).check();
    await page.getByText(/You come in as a co-host/).waitFor();
    assert.deepEqual(await page.evaluate(troubles), []);
    await page.getByRole("button", { name: "Enter the room" }).click();
    await page.getByText("Please enter your name.").waitFor();
  }));

test("a room that is not open yet is waited for", (t) =>
  kept(t, browser, null, async () => {
    const page = await browser.open(`${pages.url}/demo?room=closed&user=kim`, PHONE);
    await page.fill("#join-name", "Kim");
    await page.click("#join-enter");
    await page.getByText(/not open yet. You get in as soon as/).waitFor();
    await page.getByRole("button", { name: "Stop waiting" }).click();
    await page.getByRole("button", { name: "Enter the room" }).waitFor();
  }));

test("a host answers requests", (t) =>
  kept(t, browser, null, async () => {
    const page = await enter(SCENES["host with requests"]);
    const row = page.getByRole("group", { name: "Mo Salah" });
    assert.match(await row.textContent(), /Microphone only · seat 4/);
    assert.match(await row.textContent(), /Waiting for \d+ s/);
    await page.getByRole("button", { name: "Accept Kim Nguyen" }).click();
    assert.deepEqual(await called(page, "acceptApplication"), ["acceptApplication", "kim", { request: "1-kim" }]);
    await page.getByRole("button", { name: "Decline Mo Salah" }).click();
    assert.deepEqual(await called(page, "rejectApplication"), ["rejectApplication", "mo", { request: "1-mo" }]);
    assert.match(await page.title(), /^\(2\)/);
  }));

test("a refused answer is said in words", (t) =>
  kept(t, browser, null, async () => {
    const page = await enter({ ...SCENES["host with requests"], errors: { acceptApplication: { code: "all_seats_occupied" } } });
    await page.getByRole("button", { name: "Accept Kim Nguyen" }).click();
    await page.locator(".toast", { hasText: "All seats are taken." }).waitFor();
  }));

test("seats are managed by keyboard", (t) =>
  kept(t, browser, null, async () => {
    const page = await enter(SCENES["host with requests"]);
    await page.getByRole("button", { name: "Seat 1, Bob Okafor" }).focus();
    await page.keyboard.press("Enter");
    const item = () => page.evaluate(() => document.activeElement.textContent);
    assert.equal(await item(), "Mute the microphone");
    await page.keyboard.press("End");
    assert.equal(await item(), "Ban from the room");
    await page.keyboard.press("m"); // mute, then move
    await page.keyboard.press("m");
    assert.equal(await item(), "Move or swap");
    await page.keyboard.press("Enter");
    assert.match(await item(), /^Swap with Cleo/);
    await page.keyboard.press("ArrowDown");
    assert.equal(await item(), "Move to seat 3");
    await page.keyboard.press("Enter");
    assert.deepEqual(await called(page, "move"), ["move", 1, 3, "abort"]);
    await page.locator(".menu").waitFor({ state: "detached" });
    assert.match(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), /^Seat 1/);
  }));

test("what may not be done is not offered", (t) =>
  kept(t, browser, null, async () => {
    const scene = { ...SCENES["co-host in the audience"], members: ["ann", "kim", { user: "bob", role: "admin" }] };
    const page = await enter(scene);
    await page.getByRole("button", { name: "Seat 1, Bob Okafor" }).click();
    assert.equal(await page.getByRole("menuitem", { name: "Mute the microphone" }).count(), 1);
    assert.equal(await page.getByRole("menuitem", { name: /Take off|Ban|co-host/ }).count(), 0);
    await page.keyboard.press("Escape");
    assert.equal(await control(page, "end").count(), 0);
    const other = await enter({ ...AUDIENCE, seats: seated(2) });
    assert.equal(await other.getByRole("button", { name: "Seat 1, Bob Okafor" }).isDisabled(), true);
    assert.equal(await other.getByRole("tab", { name: "Requests" }).count(), 0);
  }));

test("the audience asks for a seat, with the microphone only", (t) =>
  kept(t, browser, null, async () => {
    const page = await enter({ ...AUDIENCE, seats: seated(2) }, PHONE);
    await control(page, "ask").click();
    const dialog = page.getByRole("dialog", { name: "Ask to join" });
    await dialog.getByRole("radio", { name: /^Microphone only/ }).check();
    // The focus stays inside, however often one tabs.
    for (let press = 0; press < 12; press += 1) {
      await page.keyboard.press("Tab");
      const inside = await page.evaluate(() => document.activeElement === document.body || Boolean(document.activeElement.closest("dialog")));
      assert.ok(inside);
    }
    assert.deepEqual(await page.evaluate(troubles), []);
    await dialog.getByRole("button", { name: "Ask to join" }).click();
    assert.deepEqual(await called(page, "apply"), ["apply", { seat: -1, media: "audio" }]);
    await dialog.waitFor({ state: "detached" });
    await page.evaluate(() => {
      window.fake.seat(2, { user: "kim" });
      window.fake.emit("seat.granted", { seat: 2, media: "audio" });
    });
    await control(page, "microphone").getByText("Mic on").waitFor();
    await control(page, "camera").getByText("Camera off").waitFor();
  }));

test("waiting, declined with a reason, and the wait before the next request", (t) =>
  kept(t, browser, null, async () => {
    const page = await enter(SCENES["audience, waiting"], PHONE);
    await card(page, "You have asked for a seat").getByText(/\d+ s left/).waitFor();
    await page.getByRole("button", { name: "Withdraw" }).first().click();
    await called(page, "cancelApplication");
    await page.evaluate(() => {
      window.fake.change({ me: { ...window.fake.state.me, application: null } });
      window.fake.emit("application.responded", { accepted: false, reason: "one more song first" });
    });
    const declined = card(page, "Ann Berg has declined your request.");
    assert.match(await declined.textContent(), /“One more song first.” You can ask again in \d s/);
    assert.equal(await control(page, "ask").isDisabled(), true);
    await control(page, "ask").getByText("Ask to join").waitFor({ timeout: 6_000 });
    await page.evaluate(() => window.fake.emit("application.no_response", { reason: "timeout" }));
    await card(page, "Nobody has answered your request").waitFor();
  }));

test("an invitation is accepted or declined, and closes when it is over", (t) =>
  kept(t, browser, null, async () => {
    const page = await enter(SCENES["audience, invited"], PHONE);
    const invited = card(page, "Ann Berg invites you to seat 3");
    await invited.getByRole("button", { name: "Accept" }).click();
    const dialog = page.getByRole("dialog", { name: "Join Ann Berg on the stage" });
    await dialog.waitFor();
    await page.evaluate(() => window.fake.change({ me: { ...window.fake.state.me, invitation: null } }));
    await dialog.waitFor({ state: "detached" });
    assert.deepEqual(await calls(page), []);

    const again = await enter(SCENES["audience, invited"], PHONE);
    await card(again, "invites you").getByRole("button", { name: "Accept" }).click();
    await again.getByRole("button", { name: "Join now" }).click();
    assert.deepEqual(await called(again, "acceptInvitation"), ["acceptInvitation", { request: "1-kim" }]);
    await again.evaluate(() => (window.calls.length = 0));
    await card(again, "invites you").getByRole("button", { name: "Decline" }).click();
    await called(again, "rejectInvitation");
  }));

test("without permission for the camera the seat is kept, and it can be tried again", (t) =>
  kept(t, browser, null, async () => {
    const page = await enter({ ...GUEST, seats: seated(2), denied: ["camera"] });
    await control(page, "camera").click();
    const trouble = card(page, "No camera");
    assert.match(await trouble.textContent(), /does not allow the camera here.*You keep your seat/);
    await page.evaluate(() => (window.scene.denied = []));
    await trouble.getByRole("button", { name: "Try again" }).click();
    await control(page, "camera").getByText("Camera on").waitFor();
    assert.equal(await trouble.count(), 0);
  }));

test("what a host does to a guest is said to the guest", (t) =>
  kept(t, browser, null, async () => {
    const page = await enter({ ...GUEST, seats: seated(2) });
    await page.evaluate(() => {
      window.fake.emit("seat.updated", { seat: 1, audio_muted: true, video_muted: false });
      window.fake.seat(1, { user: "bob", audio_muted: true });
    });
    await card(page, "Ann Berg has muted you").getByRole("button", { name: "Unmute" }).click();
    await called(page, "unmute");
    await page.evaluate(() => window.fake.seat(1, { user: "bob", audio_locked: true }));
    await card(page, "A host has locked your microphone").waitFor();
    assert.equal(await control(page, "microphone").isDisabled(), true);
    await page.evaluate(() => window.fake.emit("seat.asked", { seat: 1, audio: true, video: true }));
    await card(page, "Ann Berg asks you to switch on microphone and camera").waitFor();
    await page.evaluate(() => {
      window.fake.seat(1, null);
      window.fake.emit("seat.kicked", { seat: 1, reason: "kicked", note: "Sorry, out of time" });
    });
    const off = card(page, "Ann Berg has taken you off the seat");
    assert.match(await off.textContent(), /Sorry, out of time.*in \d+ s/);
    assert.equal(await control(page, "microphone").count(), 0);
  }));

test("the end is said, with the way back", (t) =>
  kept(t, browser, null, async () => {
    const ends = [
      ["replaced", "Opened somewhere else", "Use it here"],
      ["removed", "You were removed from the room", "Back to the start"],
      ["room_ended", "The live has ended", "Back to the start"],
      ["token_expired", "Your token has expired", "Back to the start"],
    ];
    for (const [reason, title, button] of ends) {
      const page = await enter({ ...AUDIENCE, seats: seated(2) }, PHONE);
      await page.evaluate((reason) => window.fake.emit("closed", { reason }), reason);
      await page.getByRole("heading", { name: title }).waitFor();
      assert.deepEqual(await page.evaluate(troubles), [], reason);
      await page.getByRole("button", { name: button }).click();
      await page.locator(reason === "replaced" ? "#live:not([hidden])" : "#join:not([hidden])").waitFor();
      assert.deepEqual(page.errors, [], reason);
    }
  }));

test("the sheet on a phone holds the focus, and Escape gives it back", (t) =>
  kept(t, browser, null, async () => {
    const page = await enter(SCENES["host with requests"], PHONE);
    await control(page, "panel").click();
    assert.equal(await page.evaluate(() => document.activeElement.id), "tab-requests");
    await page.keyboard.press("ArrowRight");
    assert.equal(await page.evaluate(() => document.activeElement.id), "tab-people");
    // A menu inside the sheet is not inert.
    await page.getByRole("button", { name: "What you can do with Kim Nguyen" }).click();
    await page.getByRole("menuitem", { name: "Make co-host" }).click();
    assert.deepEqual(await called(page, "grantAdmin"), ["grantAdmin", "kim"]);
    await page.keyboard.press("Escape");
    await page.locator("#panel").waitFor({ state: "hidden" });
    assert.equal(await page.evaluate(() => document.activeElement.dataset.control), "panel");
  }));

test("the live ends only after a question", (t) =>
  kept(t, browser, null, async () => {
    const page = await enter(SCENES["host with requests"]);
    await control(page, "end").click();
    await page.getByRole("dialog", { name: "End the live?" }).getByRole("button", { name: "Cancel" }).click();
    assert.deepEqual(await calls(page), []);
    await control(page, "end").click();
    await page.getByRole("dialog").getByRole("button", { name: "End the live" }).click();
    await called(page, "endRoom");
  }));
