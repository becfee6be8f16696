// `useLiveSeatState`: the seats, in the words of the guide.

import { events, fromRoom, once, room, roomOrNone, seatOf, userInfo } from "./reactive.js";
import { seatUser } from "./guests.js";

export const MoveSeatPolicy = Object.freeze({ AbortWhenOccupied: 0, ForceReplace: 1, SwapPosition: 2 });
export const DeviceControlPolicy = Object.freeze({ UnlockOnly: 1 });
export const LiveSeatEvent = Object.freeze({
  onLocalCameraOpenedByAdmin: "onLocalCameraOpenedByAdmin",
  onLocalCameraClosedByAdmin: "onLocalCameraClosedByAdmin",
  onLocalMicrophoneOpenedByAdmin: "onLocalMicrophoneOpenedByAdmin",
  onLocalMicrophoneClosedByAdmin: "onLocalMicrophoneClosedByAdmin",
});

const POLICIES = ["abort", "replace", "swap"];
const SILENCE_DBOV = -60; // what a meter shows as nothing
const CANVAS = { width: 1280, height: 720 }; // the program's size without a host's picture

const seatInfo = (seat) => ({
  index: seat.seat,
  isLocked: Boolean(seat.locked),
  isAudioLocked: Boolean(seat.audio_locked),
  isVideoLocked: Boolean(seat.video_locked),
  userInfo: seat.user ? seatUser(seat) : null,
  region: null,
});

/** The program's size as far as it is known. */
function canvas(state) {
  const { width, height } = state?.settings?.program?.video ?? {};
  if (Number.isInteger(width) && Number.isInteger(height)) return { width, height };
  const camera = state?.seats[0]?.sources?.camera;
  return camera?.width && camera?.height ? { width: camera.width, height: camera.height } : CANVAS;
}

/** dBov → 0..=100. Pure. */
export function loudness(dbov) {
  if (typeof dbov !== "number") return 0;
  return Math.round(100 * Math.min(1, Math.max(0, 1 - dbov / SILENCE_DBOV)));
}

function speakingUsers(state) {
  const heard = (state?.speaking ?? []).map(({ seat, level }) => {
    const user = state.seats.find((one) => one.seat === seat)?.user;
    return user && [user.user, loudness(level)];
  });
  return new Map(heard.filter(Boolean));
}

const DEVICES = [
  { word: "Microphone", closed: (seat) => seat.audio_locked || seat.audio_muted, asked: "audio" },
  { word: "Camera", closed: (seat) => seat.video_locked || seat.video_muted, asked: "video" },
];

/** What hosts do to one's own devices. */
function hear(room, emit) {
  const own = () => room.state.seats.find((seat) => seat.seat === room.state.me.seat);
  let before = own();
  const opened = new Map();
  return [
    room.on("seats.changed", () => (before = own())),
    room.on("snapshot", () => (before = own())),
    room.on("seat.updated", (data, event) => {
      const now = own();
      if (data.seat !== now?.seat) return;
      const by = event.actor;
      for (const { word, closed } of by?.user === room.state.me.user ? [] : DEVICES) {
        if (closed(now) === closed(before ?? now)) continue;
        const action = closed(now) ? "Closed" : "Opened";
        if (action === "Opened") opened.set(word, Date.now());
        emit(`onLocal${word}${action}ByAdmin`, { operator: userInfo(by), policy: DeviceControlPolicy.UnlockOnly });
      }
      before = now;
    }),
    room.on("seat.asked", (data, event) => {
      for (const { word, asked } of DEVICES) {
        // Unlocking and asking are one thing to whoever is asked.
        if (!data[asked] || Date.now() - (opened.get(word) ?? 0) < 2_000) continue;
        emit(`onLocal${word}OpenedByAdmin`, { operator: userInfo(event.actor), policy: DeviceControlPolicy.UnlockOnly });
      }
    }),
  ];
}

let playing = null;

async function stopPlayStream() {
  const { program, video } = playing ?? {};
  playing = null;
  video?.remove();
  await program?.close();
}

/** The program in a `<video>` of its own inside `view`; on a seat, without one's own voice. */
async function startPlayStream({ view }) {
  const element = typeof view === "string" ? document.getElementById(view) : view;
  if (!element) throw new TypeError("startPlayStream needs an element, or the id of one.");
  await stopPlayStream();
  const video = Object.assign(document.createElement("video"), { autoplay: true, playsInline: true });
  video.style.cssText = "width:100%;height:100%;object-fit:contain";
  element.append(video);
  const program = await room().watchProgram(video, { minusMe: room().state.me.seat !== null });
  playing = { program, video };
}

function make() {
  const done = async (call) => void (await call);
  const device = (audio) => (audio ? { audio: true, video: false } : { audio: false, video: true });
  const open = async (userId, audio) => {
    const seat = seatOf(userId);
    await room().updateSeat(seat, audio ? { audio_locked: false, audio_muted: false } : { video_locked: false, video_muted: false });
    await room().ask(seat, device(audio));
  };
  return {
    ...fromRoom({
      seatList: (state) => (state?.seats ?? []).map(seatInfo),
      canvas,
      speakingUsers,
    }),
    ...events(hear),

    takeSeat: async ({ seatIndex, userId }) => done(room().takeSeat(seatIndex, { user: userId })),
    leaveSeat: async () => done(room().leaveSeat()),
    lockSeat: async ({ seatIndex }) => done(room().lockSeat(seatIndex)),
    unlockSeat: async ({ seatIndex }) => done(room().unlockSeat(seatIndex)),
    kickUserOutOfSeat: async ({ userId, reason }) => done(room().kick(userId, { reason })),
    moveUserToSeat: async ({ userId, targetIndex, policy = MoveSeatPolicy.AbortWhenOccupied }) =>
      done(room().move(seatOf(userId), targetIndex, POLICIES[policy] ?? policy)),
    closeRemoteCamera: async ({ userId }) => done(room().lockCamera(seatOf(userId))),
    closeRemoteMicrophone: async ({ userId }) => done(room().lockMicrophone(seatOf(userId))),
    openRemoteCamera: async ({ userId }) => open(userId, false),
    openRemoteMicrophone: async ({ userId }) => open(userId, true),
    muteMicrophone: async () => done(room().mute()),
    unmuteMicrophone: async () => done(room().unmute()),
    startPlayStream,
    stopPlayStream: async () => (roomOrNone() ? stopPlayStream() : undefined),
  };
}

export const useLiveSeatState = once(make);
