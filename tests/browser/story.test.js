// A whole live on `/demo`, told from the opening to a crash of the server: five people in five pages, with fake cameras
// and microphones and the real server between them. The chapters follow one another; each starts where the last ended.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { api, eventually, freePorts, startBrowser, startServer } from "./harness.js";

// Five pages encode and decode beside the server: a small or busy machine takes its time, and so do its people.
const WAIT_MS = Number(process.env.STORY_WAIT_MS ?? 30_000);
const FPS = 10;
const PATIENT = { application_ms: 120_000, invitation_ms: 120_000, reservation_ms: 60_000, grace_ms: 60_000, host_away_ms: 300_000 };

const ANN = { user: "ann", name: "Ann Berg", role: "host", size: { viewport: { width: 1440, height: 900 } } };
const BOB = { user: "bob", name: "Bob Okafor" };
const CLEO = { user: "cleo", name: "Cleo Marin", size: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true } };
const DEV = { user: "dev", name: "Dev Rao", voice: true };
const EVE = { user: "eve", name: "Eve Novak" };

let directory;
let ports;
let server;
let browser;
let host, bob, cleo, dev, eve;

const start = () => startServer(["--dev", "--set", `store.path=${join(directory, "rooms.redb")}`], ports);

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "costage-story-"));
  ports = await freePorts();
  // One after the other, so that what has started is there to be stopped.
  browser = await startBrowser({ fps: FPS });
  server = await start();
});

after(async () => {
  await browser?.close();
  await server?.stop();
  rmSync(directory, { recursive: true, force: true });
});

let broken = null;

/** A test that goes on where the one before it ended. */
function chapter(name, body) {
  test(name, async (t) => {
    if (broken) return t.skip(`“${broken}” failed`);
    try {
      await body();
    } catch (error) {
      broken = name;
      await browser.keepPictures(`story ${name}`);
      console.error(server.log().split("\n").slice(-40).join("\n"));
      throw error;
    }
  });
}

// ---- what people do

async function enter({ user, name, role = "member", size }) {
  const page = await browser.open(`${server.url}/demo?room=story&user=${user}`, { ...size, reducedMotion: "reduce" });
  page.setDefaultTimeout(WAIT_MS);
  await page.getByLabel("Your name").fill(name);
  if (role === "host") await page.getByRole("radio", { name: /^Host/ }).check();
  await comeIn(page);
  return page;
}

async function comeIn(page) {
  await page.getByRole("button", { name: "Enter the room" }).click();
  await controls(page).waitFor();
}

const controls = (page) => page.getByRole("toolbar", { name: "Controls" });
const control = (page, name) => controls(page).getByRole("button", { name });
const card = (page, title) => page.getByRole("region", { name: "Your state" }).getByRole("group", { name: title });
const seat = (page, name) => page.getByRole("list", { name: "Seats" }).getByRole("button", { name, exact: true });
const tiles = (page) => page.getByRole("list", { name: "People on the stage" }).getByRole("listitem");
const tile = (page, { name }) => tiles(page).filter({ hasText: name });

async function goLive(page) {
  await control(page, "Go live").click();
  await page.getByRole("dialog", { name: "Go live" }).getByRole("button", { name: "Go live" }).click();
}

async function askForSeat(page, { microphoneOnly = false } = {}) {
  await control(page, "Ask to join").click();
  const dialog = page.getByRole("dialog", { name: "Ask to join" });
  if (microphoneOnly) await dialog.getByRole("radio", { name: /^Microphone only/ }).check();
  await dialog.getByRole("button", { name: "Ask to join" }).click();
  await card(page, "You have asked for a seat").waitFor();
}

/** Opens the menu of `opener` and goes through `path`. */
async function choose(page, opener, ...path) {
  await opener.click();
  for (const word of path) await page.getByRole("menuitem", { name: word, exact: true }).click();
}

const onSeat = (page, number) => page.getByRole("list", { name: "Seats" }).getByRole("button", { name: new RegExp(`^Seat ${number}, .*\\(you\\)$`) });

// ---- what arrives

/**
 * What has come so far for what plays in the video elements of a page: for each, in their order, pictures decoded and
 * shown, packets and energy of the sound; with the words of its tile.
 */
function arrived(page) {
  return page.evaluate(async () => {
    const received = {};
    for (const connection of window.connections) {
      if (connection.connectionState !== "connected") continue;
      for (const stat of (await connection.getStats()).values()) if (stat.type === "inbound-rtp") received[stat.trackIdentifier] = stat;
    }
    return [...document.querySelectorAll("video")].map((video) => {
      const sum = { frames: 0, packets: 0, energy: 0, shown: video.getVideoPlaybackQuality().totalVideoFrames };
      for (const { id } of video.srcObject?.getTracks() ?? []) {
        const { kind, framesDecoded = 0, packetsReceived, totalAudioEnergy } = received[id] ?? {};
        if (kind === "video") sum.frames += framesDecoded;
        if (kind === "audio") Object.assign(sum, { packets: packetsReceived, energy: totalAudioEnergy });
      }
      return { words: video.getAttribute("aria-label") ?? video.closest("li")?.textContent ?? "", ...sum };
    });
  });
}

const of = (all, { name }) => all.find(({ words }) => words.includes(name)) ?? null;

/** Waits until pictures and sound of everybody named come in, from now on. */
async function meets(page, ...people) {
  const before = new Map();
  const wait = new Set(people);
  let now;
  const flows = async () => {
    now = await arrived(page);
    for (const person of wait) {
      const [first, last] = [before.get(person), of(now, person)];
      // Another stream counts from its own start.
      if (!first || !last || last.frames < first.frames || last.packets < first.packets) before.set(person, last);
      else if (person.voice || (last.frames >= first.frames + 5 && last.shown > first.shown)) {
        if (person.silent || last.energy > first.energy) wait.delete(person);
      }
    }
    // Statistics of many streams take their time as well.
    if (wait.size > 0) await new Promise((done) => setTimeout(done, 400));
    return wait.size === 0;
  };
  await eventually("pictures and sound", flows, WAIT_MS).catch((error) => {
    const missing = [...wait].map((person) => [person.name, before.get(person), of(now ?? [], person)]);
    throw new Error(`${page.url()}: ${error.message}: ${JSON.stringify(missing)}`);
  });
}

/** The states of a page's connections, in the order of their making. */
const connections = (page) => page.evaluate(() => window.connections.map((one) => one.connectionState));

// ---- the story

chapter("a host opens the room and goes live before an audience", async () => {
  host = await enter(ANN);
  await card(host, "You are not live").waitFor();
  await api(server, "PATCH", "/v1/rooms/story", { room: "story", body: { policies: PATIENT } });
  [bob, cleo, dev, eve] = await Promise.all([BOB, CLEO, DEV, EVE].map(enter));
  await eve.getByText("Waiting for Ann Berg to go live.").waitFor();
  await goLive(host);
  await Promise.all([host, bob, cleo, dev, eve].map((page) => page.getByText("LIVE", { exact: true }).waitFor()));
  await meets(eve, ANN);
  await host.getByLabel("5 people here").waitFor();
});

chapter("asking and accepting, declining with a reason, inviting", async () => {
  await Promise.all([askForSeat(bob), askForSeat(cleo), askForSeat(dev, { microphoneOnly: true })]);
  await host.getByRole("button", { name: "Accept Bob Okafor" }).click();
  await onSeat(bob, 1).waitFor();

  await choose(host, host.getByRole("button", { name: "More about the request of Cleo Marin" }), "Decline with a reason");
  const decline = host.getByRole("dialog", { name: "Decline Cleo Marin's request?" });
  await decline.getByLabel("Reason").fill("one more song first");
  await decline.getByRole("button", { name: "Decline" }).click();
  await card(cleo, "Ann Berg has declined your request.").getByText("One more song first.").waitFor();

  await host.getByRole("group", { name: "Dev Rao" }).getByText(/^Microphone only/).waitFor();
  await choose(host, host.getByRole("button", { name: "More about the request of Dev Rao" }), "Accept to a seat", "Seat 4");
  await onSeat(dev, 4).waitFor();

  await host.getByRole("tab", { name: "People" }).click();
  await host.getByRole("button", { name: "Invite Cleo Marin" }).click();
  await card(cleo, "Ann Berg invites you to the stage").getByRole("button", { name: "Accept" }).click();
  await cleo.getByRole("dialog", { name: "Join Ann Berg on the stage" }).getByRole("button", { name: "Join now" }).click();
  await onSeat(cleo, 2).waitFor();

  await Promise.all([
    meets(host, BOB, CLEO, DEV),
    meets(bob, ANN, CLEO, DEV),
    meets(cleo, ANN, BOB, DEV),
    meets(dev, ANN, BOB, CLEO),
    meets(eve, ANN, BOB, CLEO, DEV),
  ]);
  assert.equal(of(await arrived(host), DEV).frames, 0, "a guest with a microphone only has no picture");
  await tile(host, DEV).getByText(/seat 4.*camera off/).waitFor();
  for (const page of [host, bob, cleo, dev, eve]) assert.equal(await tiles(page).count(), 4);
  const pictures = process.env.STORY_PICTURES;
  if (pictures) {
    for (const [name, page] of Object.entries({ host, guest: bob, phone: cleo })) await page.screenshot({ path: join(pictures, `story-${name}.png`) });
  }
});

chapter("seats are locked, and people moved and swapped without a new connection", async () => {
  await choose(host, seat(host, "Seat 5, free"), "Lock seat 5");
  await Promise.all([bob, cleo, dev, eve].map((page) => seat(page, "Seat 5, locked").waitFor()));
  assert.equal(await seat(eve, "Seat 5, locked").isDisabled(), true);
  assert.equal(await seat(eve, "Seat 6, free").isDisabled(), false);

  const before = await Promise.all([connections(bob), connections(cleo), connections(eve)]);
  await choose(host, seat(host, "Seat 1, Bob Okafor"), "Move or swap", "Move to seat 3");
  await onSeat(bob, 3).waitFor();
  await tile(eve, BOB).getByText(/seat 3/).waitFor();
  await choose(host, seat(host, "Seat 3, Bob Okafor"), "Move or swap", "Swap with Cleo Marin, seat 2");
  await Promise.all([onSeat(bob, 2).waitFor(), onSeat(cleo, 3).waitFor()]);
  await Promise.all([tile(eve, BOB).getByText(/seat 2/).waitFor(), tile(eve, CLEO).getByText(/seat 3/).waitFor()]);
  await Promise.all([meets(eve, BOB, CLEO), meets(bob, CLEO)]);
  assert.deepEqual(await Promise.all([connections(bob), connections(cleo), connections(eve)]), before);
});

chapter("a host mutes a guest, who is heard again after unmuting", async () => {
  await choose(host, seat(host, "Seat 2, Bob Okafor"), "Mute the microphone");
  await card(bob, "Ann Berg has muted you").waitFor();
  await Promise.all([cleo, eve].map(async (page) => {
    await tile(page, BOB).getByText(/microphone muted/).waitFor();
    const before = of(await arrived(page), BOB);
    await meets(page, { ...BOB, silent: true }, DEV);
    const now = of(await arrived(page), BOB);
    // What was on its way may still come in.
    assert.ok(now.packets - before.packets <= 3, `${now.packets - before.packets} packets of a muted microphone`);
  }));
  await card(bob, "Ann Berg has muted you").getByRole("button", { name: "Unmute" }).click();
  await meets(cleo, BOB);
});

chapter("a host takes a guest off the stage", async () => {
  await choose(host, seat(host, "Seat 4, Dev Rao"), "Take off the seat");
  const dialog = host.getByRole("dialog", { name: "Take Dev Rao off seat 4?" });
  await dialog.getByLabel("Reason").fill("out of time");
  await dialog.getByRole("button", { name: "Take off" }).click();
  const off = card(dev, "Ann Berg has taken you off the seat.");
  await off.getByText(/out of time.*You can ask again in \d+ s/i).waitFor();
  await Promise.all([host, bob, cleo, eve].map((page) => tile(page, DEV).waitFor({ state: "detached" })));
  await Promise.all([host, bob, cleo, eve].map((page) => seat(page, "Seat 4, free").waitFor()));
  assert.equal(await control(dev, /^(Mic|Camera)/).count(), 0);
  await meets(dev, BOB);
});

chapter("a guest's page crashes, and the guest comes back to the seat", async () => {
  const gone = new Promise((done) => bob.on("crash", done));
  const devtools = await bob.context().newCDPSession(bob);
  devtools.send("Page.crash").catch(() => {});
  await gone;
  // Nobody says that it is gone: consent to send runs out, 30 s after the last check (RFC 7675).
  const timeout = 45_000;
  await Promise.all([host, cleo, eve].map((page) => seat(page, "Seat 2, Bob Okafor, reconnecting").waitFor({ timeout })));
  await tile(eve, BOB).getByText(/Reconnecting…/).first().waitFor();
  const old = bob;
  bob = await enter(BOB);
  await old.context().close();
  await onSeat(bob, 2).waitFor();
  // The seat is back by itself; camera and microphone are the guest's to switch on.
  await card(bob, "Camera and microphone are off").waitFor();
  await control(bob, /^Mic off/).click();
  await control(bob, /^Camera off/).click();
  await Promise.all([meets(host, BOB), meets(eve, BOB), meets(bob, CLEO)]);
  await seat(eve, "Seat 2, Bob Okafor").waitFor();
});

chapter("the host reloads: requests wait, guests stay, and the host is back on air", async () => {
  await askForSeat(eve);
  await host.getByRole("tab", { name: "Requests" }).click();
  await host.getByRole("button", { name: "Accept Eve Novak" }).waitFor();
  await host.reload();
  await Promise.all([bob, cleo, eve].map((page) => card(page, "The host is away").waitFor()));
  await comeIn(host);
  await host.getByRole("button", { name: "Accept Eve Novak" }).waitFor();
  await Promise.all([seat(host, "Seat 2, Bob Okafor").waitFor(), seat(host, "Seat 3, Cleo Marin").waitFor()]);
  await meets(bob, CLEO);
  await goLive(host);
  await Promise.all([bob, cleo, eve].map((page) => page.getByText("LIVE", { exact: true }).waitFor()));
  await Promise.all([meets(bob, ANN), meets(eve, ANN), meets(host, CLEO)]);
  await control(eve, "Withdraw").click();
  await host.getByText("No requests").waitFor();
});

chapter("the audience goes from the stage to the program and back", async () => {
  const program = eve.getByLabel("The program: one picture of everybody");
  await eve.getByRole("button", { name: "Program" }).click();
  await program.waitFor();
  await meets(eve, { name: "The program" });
  await tiles(eve).first().waitFor({ state: "hidden" });
  await eve.getByRole("button", { name: "Stage" }).click();
  await meets(eve, ANN, BOB);
  for (const page of [host, bob, cleo, dev, eve]) assert.deepEqual(page.errors, []);
});

chapter("the server is killed and started again, and everybody comes back alone", async () => {
  const everybody = [host, bob, cleo, dev, eve];
  await server.kill();
  await Promise.all(everybody.map((page) => card(page, "Reconnecting…").waitFor()));
  server = await start();
  const back = (page) => card(page, "Reconnecting…").waitFor({ state: "detached" });
  await Promise.all(everybody.map(back));
  await Promise.all([onSeat(bob, 2).waitFor(), onSeat(cleo, 3).waitFor()]);
  await Promise.all([seat(eve, "Seat 2, Bob Okafor"), seat(eve, "Seat 3, Cleo Marin"), seat(dev, "Seat 5, locked")].map((one) => one.waitFor()));
  await Promise.all(everybody.map((page) => page.getByText("LIVE", { exact: true }).waitFor()));
  await Promise.all([meets(eve, ANN, BOB, CLEO), meets(host, BOB, CLEO), meets(bob, ANN), meets(cleo, BOB)]);
  // Lost lines are in the browser's log, and nothing else.
  const lost = (text) => text.startsWith("WebSocket connection to ");
  for (const page of everybody) assert.deepEqual(page.errors.filter((text) => !lost(text)), []);
});
