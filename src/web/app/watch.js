// `/`: plays the program of a room, or with ?seat=N one seat.

import { Session } from "/costage/session.js";
import { $, Meter, Tokens, inWords, parameters, roomUrl, show, showStats } from "./room.js";

const STALLED_S = 3; // no new frame for so long: say so, the session itself may be fine

const { room, seat, user, token } = parameters();
const tokens = new Tokens({ room, user, token });
const video = $("video");
// Apart from the picture: a video element plays no sound before its first frame, and a guest with a microphone only never
// sends one.
const audio = $("audio");
const meter = new Meter();
let session = null;
let needsToken = false;
let live = false;

document.title = `${room} · costage`;
$("room").textContent = seat === null ? room : `${room}, seat ${seat}`;
$("publish-link").href = `/publish?room=${encodeURIComponent(room)}&seat=1`;
$("demo-link").href = `/demo?room=${encodeURIComponent(room)}`;

/** Watching the program may need no token; a seat always does. */
async function currentToken() {
  return needsToken || seat !== null || tokens.pasted ? tokens.member() : null;
}

function build(pc) {
  for (const element of [video, audio]) {
    const { receiver } = pc.addTransceiver(element.id, { direction: "recvonly" });
    element.srcObject = new MediaStream([receiver.track]);
    // A browser that forbids even muted playback shows its own button once asked.
    element.play().catch(() => {});
  }
}

function onState({ name, error, retryInMs }) {
  live = name === "live";
  $("stage").dataset.state = name;
  if (name === "connecting") show(name, "busy", "Connecting");
  if (name === "live") show("buffering", "busy", "Connected", "Waiting for the picture.");
  if (name === "reconnecting") show(name, "busy", "Reconnecting", error ? inWords(error) : "The connection broke.");
  if (name === "waiting") {
    const what = error.code === "room_not_found" ? inWords(error) : "Waiting for the host.";
    show(name, "idle", "Waiting", `${what} Looking again in ${Math.ceil(retryInMs / 1000)} s.`);
  }
  if (name === "failed") failed(error);
}

async function failed(error) {
  if (error.status === 401 && !needsToken && !tokens.pasted) {
    // The program is not public: the server may hand out a token (under --dev), else somebody has to paste one.
    needsToken = true;
    start();
    return;
  }
  show("failed", "bad", "Stopped", inWords(error));
  const askForToken = error.status === 401 || error.status === 403;
  $("token-form").hidden = !askForToken;
  $("again").hidden = askForToken;
}

function start() {
  $("token-form").hidden = true;
  $("again").hidden = true;
  const path = seat === null ? "/whep/program" : `/whep/seats/${seat}`;
  session = new Session({ url: roomUrl(room, path), token: currentToken, build, onState });
  session.run();
}

function showSound() {
  const button = $("sound");
  button.textContent = audio.muted ? "Unmute" : "Mute";
  button.setAttribute("aria-pressed", String(!audio.muted));
  button.classList.toggle("primary", audio.muted);
}

$("sound").addEventListener("click", () => {
  audio.muted = !audio.muted;
  if (!audio.muted) {
    audio.volume = 1;
    for (const element of [video, audio]) element.play().catch(() => {});
  }
  showSound();
});
audio.addEventListener("volumechange", showSound);
video.addEventListener("playing", () => live && playing());

$("fullscreen").addEventListener("click", () => {
  // An iPhone gives only the video element the whole screen.
  if (document.fullscreenElement) document.exitFullscreen();
  else if ($("stage").requestFullscreen) $("stage").requestFullscreen().catch(() => {});
  else video.webkitEnterFullscreen?.();
});

$("again").addEventListener("click", start);
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  tokens.paste($("token").value);
  start();
});

function playing() {
  $("stage").dataset.state = "playing";
  show("playing", "good", "Live");
}

let frames = 0;
let audioPackets = 0;
let darkS = 0;
setInterval(async () => {
  const stats = await meter.read(session?.connection, "in");
  showStats(stats);
  if (!live || !stats) return;
  darkS = stats.frames > frames ? 0 : darkS + 1;
  const heard = stats.audioPackets > audioPackets;
  ({ frames, audioPackets } = stats);
  if (darkS === 0 && frames > 0) {
    playing();
  } else if (darkS >= STALLED_S && heard) {
    $("stage").dataset.state = "sound";
    show("sound", "good", "Live", frames ? "The camera is off." : "Sound only: there is no camera yet.");
  } else if (darkS >= STALLED_S) {
    show("stalled", "idle", "Live", frames ? "The picture has stopped: the host may be away." : "No picture yet: the host may be away.");
  }
}, 1_000);

// Back from the browser's cache of left pages: the session was deleted when the page was left.
addEventListener("pageshow", (event) => event.persisted && location.reload());

showSound();
start();
