// `/publish`: takes a seat and publishes camera and microphone to it.

import { CostageError, call } from "/costage/http.js";
import { Session } from "/costage/session.js";
import { $, Meter, Tokens, inWords, parameters, roomUrl, show, showStats } from "./room.js";

const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

// Three sizes, so that each viewer gets what their line carries. In ascending order, as browsers drop from the end.
const LAYERS = [
  { rid: "l", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: "m", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: "h", scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
];

const given = parameters();
const meter = new Meter();
let media = null;
let session = null;
let tokens = null;

$("room").value = given.room;
$("demo-link").href = `/demo?room=${encodeURIComponent(given.room)}`;
$("seat").value = given.seat ?? 1;
$("user").value = given.user;
$("token").value = given.token ?? "";

/** Room, seat and user as the form has them now. */
function wanted() {
  return { room: $("room").value.trim(), seat: Number($("seat").value), user: $("user").value.trim() };
}

// ---- camera and microphone

async function openDevices() {
  $("devices-again").hidden = true;
  show("idle", "busy", "Camera", "Allow camera and microphone.");
  try {
    media = await devices();
  } catch (error) {
    show("no-devices", "bad", "No camera", deviceTrouble(error));
    $("devices-again").hidden = false;
    return;
  }
  $("preview").srcObject = media;
  const [microphone, camera] = [media.getAudioTracks()[0], media.getVideoTracks()[0]];
  $("start").disabled = false;
  $("microphone").disabled = !microphone;
  $("camera").disabled = !camera;
  const missing = [!camera && "camera", !microphone && "microphone"].filter(Boolean);
  show("ready", "idle", "Ready", missing.length ? `No ${missing[0]} found; the other is used alone.` : "");
}

/** Both devices, or the one there is. */
async function devices() {
  if (!navigator.mediaDevices) throw new DOMException("insecure", "SecurityError");
  try {
    return await navigator.mediaDevices.getUserMedia({ video: CAMERA, audio: MICROPHONE });
  } catch (error) {
    if (error.name !== "NotFoundError") throw error;
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ video: CAMERA });
  } catch (error) {
    if (error.name !== "NotFoundError") throw error;
    return navigator.mediaDevices.getUserMedia({ audio: MICROPHONE });
  }
}

function deviceTrouble(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "Camera and microphone are not allowed here. Allow them in the browser's address bar, then try again.";
    case "NotFoundError":
      return "This device has neither a camera nor a microphone.";
    case "NotReadableError":
      return "The camera or microphone is in use by another program.";
    case "SecurityError":
      return "Browsers give cameras only to https:// pages and to this machine itself.";
    default:
      return inWords(error);
  }
}

function showDevice(id, kind, on, off) {
  const track = media?.getTracks().find((one) => one.kind === kind);
  const enabled = Boolean(track?.enabled);
  $(id).textContent = enabled ? off : on;
  $(id).setAttribute("aria-pressed", String(enabled));
}

function showDevices() {
  showDevice("microphone", "audio", "Unmute", "Mute");
  showDevice("camera", "video", "Camera on", "Camera off");
  $("preview").classList.toggle("dark", media?.getVideoTracks()[0]?.enabled === false);
}

function toggle(kind) {
  for (const track of media.getTracks().filter((one) => one.kind === kind)) track.enabled = !track.enabled;
  showDevices();
}

// ---- publishing

function build(pc) {
  for (const track of media.getTracks()) {
    const sendEncodings = track.kind === "video" ? LAYERS : [{ maxBitrate: 64_000 }];
    const transceiver = pc.addTransceiver(track, { direction: "sendonly", streams: [media], sendEncodings });
    if (track.kind === "video") preferLayeredCodecs(transceiver);
  }
}

/** H.264 and VP8 are what browsers send in separate sizes; the server chooses among what is offered. */
function preferLayeredCodecs(transceiver) {
  const all = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  const of = (...names) => all.filter((codec) => names.includes(codec.mimeType.toLowerCase()));
  const codecs = [...of("video/h264"), ...of("video/vp8"), ...of("video/rtx")];
  if (codecs.length && transceiver.setCodecPreferences) transceiver.setCodecPreferences(codecs);
}

/** Takes the seat. Under --dev the page may seat its own user; elsewhere the host or a signalling server does. */
async function takeSeat({ room, seat, user }) {
  const service = await tokens.service();
  const headers = { "Content-Type": "application/json" };
  const { seats } = await (await call(roomUrl(room, "/seats"), { token: service })).json();
  if (seats.find((one) => one.seat === seat)?.user?.user === user) return;
  const body = JSON.stringify({ user, name: user });
  await call(roomUrl(room, `/seats/${seat}`), { method: "PUT", token: service, headers, body });
}

function onState({ name, error, retryInMs }) {
  const { room, seat } = wanted();
  if (name === "connecting") show(name, "busy", "Connecting", `Taking seat ${seat}.`);
  if (name === "live") show(name, "good", "On air", `You are on seat ${seat} of ${room}.`);
  if (name === "reconnecting") show(name, "busy", "Reconnecting", error ? inWords(error) : "The connection broke.");
  if (name === "waiting") {
    show(name, "busy", "Waiting", `${inWords(error)} Trying again in ${Math.ceil(retryInMs / 1000)} s.`);
  }
  if (name === "failed") failed(error);
  if (name === "closed") stopped("ready", "idle", "Ready", "You have left the seat.");
}

function failed(error) {
  // The page's own token was good; a pasted one may be of somebody without a seat.
  const unseated = error.code === "not_seated" && !tokens.pasted;
  stopped("failed", "bad", "Stopped", unseated ? "Your seat is no longer yours." : inWords(error));
  $("token-row").hidden = unseated || !(error.status === 401 || error.status === 403);
}

function stopped(...state) {
  session = null;
  $("start").hidden = false;
  $("stop").hidden = true;
  $("fields").hidden = false;
  $("watch-link").hidden = true;
  show(...state);
}

async function start() {
  const want = wanted();
  $("start").hidden = true;
  $("stop").hidden = false;
  $("fields").hidden = true;
  tokens = new Tokens({ ...want, token: $("token").value.trim() || null });
  show("connecting", "busy", "Connecting", `Taking seat ${want.seat}.`);
  try {
    // A pasted token names its own user, and whoever gave it out gives the seat as well.
    if (!tokens.pasted && want.seat > 0) await takeSeat(want);
  } catch (error) {
    const askForToken = error instanceof CostageError && (error.status === 401 || error.status === 403);
    $("token-row").hidden = !askForToken;
    stopped("failed", "bad", "Stopped", askForToken ? "The server wants a token: paste one." : inWords(error));
    return;
  }
  $("watch-link").href = `/?room=${encodeURIComponent(want.room)}&seat=${want.seat}`;
  $("watch-link").hidden = false;
  session = new Session({ url: roomUrl(want.room, "/whip"), token: () => tokens.member(), build, onState });
  session.run();
}

/** Ends the session and gives the seat back. */
async function stop() {
  $("stop").disabled = true;
  const { room, seat } = wanted();
  const token = await tokens.member().catch(() => null);
  await session?.close();
  if (seat > 0 && token) {
    // Whoever has no seat any more has left already.
    await call(roomUrl(room, "/seats/me"), { method: "DELETE", token }).catch(() => {});
  }
  $("stop").disabled = false;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!session && media) start();
});
$("stop").addEventListener("click", stop);
$("microphone").addEventListener("click", () => toggle("audio"));
$("camera").addEventListener("click", () => toggle("video"));
$("devices-again").addEventListener("click", () => openDevices().then(showDevices));
addEventListener("pageshow", (event) => event.persisted && location.reload());
setInterval(async () => showStats(await meter.read(session?.connection, "out")), 1_000);

await openDevices();
showDevices();
