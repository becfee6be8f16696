// `useDeviceState`: microphone, camera and screen, in the words of the guide. Works before there is a room, for a preview.

import { devices as pageDevices } from "../devices.js";
import { cell, once, roomOrNone } from "./reactive.js";

export const DeviceStatus = Object.freeze({ Off: 0, On: 1 });
export const DeviceError = Object.freeze({
  NoError: 0,
  NoDeviceDetected: 1,
  NoSystemPermission: 2,
  NotSupportCapture: 3,
  OccupiedError: 4,
  UnknownError: 5,
});

const ERRORS = {
  device_not_found: DeviceError.NoDeviceDetected,
  device_denied: DeviceError.NoSystemPermission,
  cancelled: DeviceError.NoSystemPermission,
  device_insecure: DeviceError.NotSupportCapture,
  device_in_use: DeviceError.OccupiedError,
};

const LEVEL_STEP = 2; // of 100; finer is not seen, and every change redraws

const status = (device) => (device.status === "open" ? DeviceStatus.On : DeviceStatus.Off);
const lastError = (device) => (device.error ? (ERRORS[device.error.code] ?? DeviceError.UnknownError) : DeviceError.NoError);
const list = (devices) => devices.map(({ deviceId, label }) => ({ deviceId, deviceName: label }));
const chosen = ({ deviceId, label }) => (deviceId ? { deviceId, deviceName: label } : null);

const SELECTORS = {
  microphoneStatus: (state) => status(state.microphone),
  cameraStatus: (state) => status(state.camera),
  screenStatus: (state) => status(state.screen),
  microphoneLastError: (state) => lastError(state.microphone),
  cameraLastError: (state) => lastError(state.camera),
  screenLastError: (state) => lastError(state.screen),
  isMicrophoneMuted: (state) => state.microphone.muted,
  microphoneList: (state) => list(state.microphones),
  cameraList: (state) => list(state.cameras),
  speakerList: (state) => list(state.speakers),
  currentMicrophone: (state) => chosen(state.microphone),
  currentCamera: (state) => chosen(state.camera),
};

/** The room's, if it was given devices of its own. */
const devices = () => roomOrNone()?.devices ?? pageDevices;

function make() {
  const cells = Object.entries(SELECTORS).map(([name, select]) => ({ name, select, ...cell(select(pageDevices.state)) }));
  const volume = cell(0);
  const front = cell(true);
  const stream = cell(globalThis.MediaStream ? pageDevices.stream : null);
  let stopLevel = null;
  const show = (state) => {
    for (const { set, select } of cells) set(select(state));
    // The meter runs only while there is something to measure.
    if (state.microphone.status === "open") {
      stopLevel ??= pageDevices.onLevel((level) => volume.set(Math.round((100 * level) / LEVEL_STEP) * LEVEL_STEP));
    } else {
      stopLevel?.();
      stopLevel = null;
      volume.set(0);
    }
  };
  pageDevices.subscribe(show);
  return {
    ...Object.fromEntries(cells.map(({ name, ref }) => [name, ref])),
    currentMicVolume: volume.ref,
    isFrontCamera: front.ref,
    localStream: stream.ref,

    openLocalMicrophone: async (options) => devices().openMicrophone(options),
    closeLocalMicrophone: async () => devices().closeMicrophone(),
    openLocalCamera: async (options) => devices().openCamera(options),
    closeLocalCamera: async () => devices().closeCamera(),
    muteLocalAudio: async () => devices().setMuted(true),
    unmuteLocalAudio: async () => devices().setMuted(false),
    getMicrophoneList: async () => list((await devices().refresh()).microphones),
    getCameraList: async () => list((await devices().refresh()).cameras),
    getSpeakerList: async () => list((await devices().refresh()).speakers),
    setCurrentMicrophone: async ({ deviceId }) => devices().switchMicrophone(deviceId),
    setCurrentCamera: async ({ deviceId }) => devices().switchCamera(deviceId),
    switchCamera: async ({ isFrontCamera = !front.ref.value } = {}) => {
      await devices().switchCamera({ facingMode: isFrontCamera ? "user" : "environment" });
      front.set(isFrontCamera);
    },
    startScreenShare: async ({ screenAudio = false } = {}) => devices().startScreenShare({ audio: screenAudio }),
    stopScreenShare: async () => devices().stopScreenShare(),
  };
}

export const useDeviceState = once(make);
