// What people in browsers wait for: from accepting somebody to their picture at another's stage, and from removing them
// to the last packet that others got. A server with the release binary; three headless Chromium pages with fake cameras.
//
//   cargo build --release && node benches/stage/browser.mjs [rounds]
//
// Each page notes times on the machine's one clock, and so does this program, which does the removing: its call is answered
// when the guest's transport is closed and no media worker has a packet of it left to send, so the answer bounds the server's
// part of the last packet. Nothing here is pinned to cores: browsers need more than one.

import { api, startBrowser, startServer } from "../../tests/browser/harness.js";

const ROUNDS = Number(process.argv[2] ?? 30);
const ROOM = "bench";
// A round that takes longer has failed.
const PATIENCE_MS = 15_000;

process.env.COSTAGE_BIN ??= new URL("../../target/release/costage", import.meta.url).pathname;

const quantile = (values, q) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))];
const now = () => performance.timeOrigin + performance.now();
const summary = (values) => ({ p50_ms: Math.round(quantile(values, 0.5)), p95_ms: Math.round(quantile(values, 0.95)), rounds: values.length });

/** Runs in a page: its token, its room, and the clock all pages share. */
async function join({ room, user, role }) {
  const { Room } = await import("/costage.js");
  const getToken = async () => {
    const body = JSON.stringify({ room, user, role });
    const response = await fetch("/v1/tokens", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    return (await response.json()).token;
  };
  globalThis.now = () => performance.timeOrigin + performance.now();
  globalThis.room = await Room.connect({ room, getToken });
}

/** In the watching page: notes when the first frame of a guest's seat is drawn. */
async function watch() {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, autoplay: true, playsInline: true });
  document.body.append(video);
  globalThis.firstFrame = null;
  globalThis.stage = await globalThis.room.watchStage({ slots: 2 });
  stage.subscribe((slots) => {
    const guest = slots.find((slot) => slot.seat > 0 && slot.source === "camera");
    if (!guest || video.srcObject === guest.stream) return;
    video.srcObject = guest.stream;
  });
  // Frames by the receivers' count, since a slot's video element may be attached before its occupant changes.
  let decoded = 0;
  const look = async () => {
    const report = await stage.connection?.getStats();
    let frames = 0;
    for (const stat of report?.values() ?? []) {
      if (stat.type === "inbound-rtp" && stat.kind === "video") frames += stat.framesDecoded ?? 0;
    }
    if (frames > decoded) globalThis.firstFrame ??= now();
    decoded = frames;
    setTimeout(look, 5);
  };
  look();
}

/** In the watching page: when the last packet of anything came. */
async function lastPacket() {
  let last = 0;
  for (const stat of (await stage.connection.getStats()).values()) {
    if (stat.type === "inbound-rtp") last = Math.max(last, stat.lastPacketReceivedTimestamp ?? 0);
  }
  return last;
}

/** Takes a guest off the seat: when the call was sent, and how long its answer took. */
async function kick(token, user) {
  const path = `${server.url}/v1/rooms/${ROOM}/members/${user}/seat`;
  const headers = { Authorization: `Bearer ${token}` };
  // On a connection that is open already, as a host's is.
  await (await fetch(`${server.url}/v1/rooms/${ROOM}`, { headers })).text();
  const at = now();
  const answer = await fetch(path, { method: "DELETE", headers });
  const answered = now() - at;
  if (!answer.ok) throw new Error(`DELETE ${path}: ${answer.status} ${await answer.text()}`);
  return { at, answered };
}

const server = await startServer(["--dev"]);
const browser = await startBrowser();
const results = { accept_to_first_frame: [], kick_to_answer: [], kick_to_last_packet: [] };
try {
  const pages = {};
  for (const [user, role] of [["host", "service"], ["viewer", "member"]]) {
    pages[user] = await browser.open(`${server.url}/publish`);
    await pages[user].evaluate(join, { room: ROOM, user, role }).catch(() => {});
    if (role === "service") {
      await pages[user].evaluate(async (room) => {
        const body = JSON.stringify({ room, user: "host", role: "service" });
        const headers = { "Content-Type": "application/json" };
        const { token } = await (await fetch("/v1/tokens", { method: "POST", headers, body })).json();
        const create = JSON.stringify({ room, host: "host", policies: { kick_cooldown_ms: 0 } });
        await fetch("/v1/rooms", { method: "POST", headers: { ...headers, Authorization: `Bearer ${token}` }, body: create });
      }, ROOM);
      await pages[user].evaluate(join, { room: ROOM, user, role: "host" });
    }
  }
  const { token } = await api(server, "POST", "/v1/tokens", { body: { room: ROOM, user: "host", role: "host" } });
  await pages.viewer.evaluate(watch);
  for (let round = 0; round < ROUNDS; round += 1) {
    const user = `guest-${round}`;
    const guest = await browser.open(`${server.url}/publish`);
    await guest.evaluate(join, { room: ROOM, user, role: "member" });
    // As somebody who looked at the preview before asking.
    await guest.evaluate(() => Promise.all([room.devices.openCamera(), room.devices.openMicrophone()]));
    await guest.evaluate(() => room.apply());
    await pages.viewer.evaluate(() => (globalThis.firstFrame = null));
    const accepted = await pages.host.evaluate(async (user) => {
      const at = now();
      await room.acceptApplication(user);
      return at;
    }, user);
    const shown = await pages.viewer.waitForFunction(() => globalThis.firstFrame, null, { timeout: PATIENCE_MS, polling: 20 });
    results.accept_to_first_frame.push((await shown.jsonValue()) - accepted);
    // Let it flow, so that there is something to stop.
    await guest.waitForTimeout(1_000);
    const kicked = await kick(token, user);
    results.kick_to_answer.push(kicked.answered);
    await guest.waitForTimeout(500);
    results.kick_to_last_packet.push(Math.max(0, (await pages.viewer.evaluate(lastPacket)) - kicked.at));
    await guest.context().close();
  }
} finally {
  await browser.close();
  await server.stop();
}
for (const [what, values] of Object.entries(results)) console.log(JSON.stringify({ what, ...summary(values) }));
console.log("\n| | reach | p50 / p95 |\n|---|---|---|");
const first = summary(results.accept_to_first_frame);
const answer = summary(results.kick_to_answer);
const last = summary(results.kick_to_last_packet);
console.log(`| accept → the guest's first frame decoded at another's stage | ≤ 700 ms | ${first.p50_ms} / ${first.p95_ms} ms |`);
console.log(`| kick → its answer: nothing of the guest is left to send | ≤ 20 ms | ${answer.p50_ms} / ${answer.p95_ms} ms |`);
console.log(`| kick → the last packet another got | ≤ 20 ms | ${last.p50_ms} / ${last.p95_ms} ms |`);
