// The browser client of costage: a room's state, events and commands, one's own devices, and what there is to watch.
//
//   import { Room } from "https://live.example/costage.js";
//   const room = await Room.connect({ room: "demo", getToken });
//   room.subscribe((state) => draw(state));
//   await room.apply();
//
// Types: `/costage.d.ts` beside this file.

export { Room } from "./costage/room.js";
export { Devices, devices } from "./costage/devices.js";
export { Program, Stage } from "./costage/playback.js";
export { Publication } from "./costage/publication.js";
export { CostageError } from "./costage/http.js";
export { Session } from "./costage/session.js";
export { useVue } from "./costage/facade/reactive.js";
export {
  CoGuestEvent, CoGuestEvent as GuestEvent, CoHostEvent, CoHostEvent as HostEvent, NoResponseReason, useCoGuestState,
} from "./costage/facade/guests.js";
export { DeviceControlPolicy, LiveSeatEvent, MoveSeatPolicy, useLiveSeatState } from "./costage/facade/seats.js";
export { DeviceError, DeviceStatus, useDeviceState } from "./costage/facade/devices.js";
