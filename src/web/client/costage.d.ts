// Types of `/costage.js`, the browser client of costage. One file, nothing to install:
//
//   import { Room } from "https://live.example/costage.js";
//   const room = await Room.connect({ room: "demo", getToken: () => fetch("/my-token").then((r) => r.text()) });
//
// Objects of the HTTP interface (seats, requests, people, events) are passed on as they come, in its names.

// ---- objects of the interface

export interface Person {
  user: string;
  name: string | null;
  avatar_url: string | null;
}

export type Phase = "idle" | "live" | "host_away" | "ended";
export type SeatMode = "apply" | "free" | "external";
export type Role = "member" | "admin" | "host" | "service";
export type SourceName = "camera" | "screen";
export type RequestMedia = "audio" | "av";
export type TrackState = "on" | "off" | "muted" | "locked";
export type LeaveReason =
  | "left" | "kicked" | "locked" | "replaced" | "assigned" | "media_timeout" | "disconnected" | "removed" | "room_ended";

export interface Source {
  /** Packets flow. */
  audio: boolean;
  video: boolean;
  width: number | null;
  height: number | null;
  codec: string | null;
  /** What the last `seat.media` said of the tracks; absent before the first. */
  audio_state?: TrackState;
  video_state?: TrackState;
}

export interface Seat {
  /** 0 is the host's. */
  seat: number;
  state: "empty" | "reserved" | "occupied" | "held";
  user?: Person;
  /** The application or invitation that a reserved seat was granted by; absent when it was by none. */
  request?: string;
  since?: string;
  until?: string;
  until_in_ms?: number;
  /** The same deadline on this machine's clock, as `Date.now()` counts. */
  until_ms?: number;
  locked: boolean;
  audio_locked: boolean;
  video_locked: boolean;
  audio_muted: boolean;
  video_muted: boolean;
  sources: { camera: Source | null; screen: Source | null };
  /** Somebody is heard, now or a moment ago; `null` on an empty seat. */
  speaking: boolean | null;
  /** In dBov, -127..=0, when the seat list was read or somebody began to speak; `null` where nothing is measured. */
  audio_level: number | null;
}

/** An application or an invitation. */
export interface Request {
  id: string;
  kind: "application" | "invitation";
  guest: Person;
  by: Person;
  /** -1: any. */
  seat: number;
  media: RequestMedia;
  extra: unknown;
  state: "pending" | "accepted" | "rejected" | "cancelled" | "expired" | "superseded" | "failed";
  created_at: string;
  expires_at: string;
  expires_in_ms: number;
  /** The same deadline on this machine's clock, as `Date.now()` counts. */
  expires_ms: number;
  processed_by?: Person;
  granted_seat?: number;
}

export interface Member extends Person {
  role: "member" | "admin" | "host";
  presence: "online" | "suspended" | "gone";
  joined_at: string;
  seat?: number;
}

export interface Granted {
  seat: number;
  connect_by?: string;
  connect_by_in_ms?: number;
  whip_url: string;
}

export interface Speaking {
  seat: number;
  /** In dBov, -127..=0. */
  level: number;
}

/** What a new room has where something is absent stands behind each. */
export interface Layout {
  /** `grid` */
  template?: "grid" | "float" | "screen" | "custom";
  /** Of the template `custom`: at most one for each source. */
  tiles?: LayoutTile[];
  background?: { color?: string; image?: string | null };
  /** What a tile shows without a picture; `name` (`true`): whether it says who sits there. */
  placeholder?: { color?: string; image?: string | null; name?: boolean };
  /** Whether tiles carry names; `null`: from two tiles on. */
  labels?: boolean | null;
  watermarks?: Watermark[];
  /** Seat number → factor, 0 to 2. */
  volumes?: Record<string, number>;
}

/** In fractions of the canvas, 0 to 1. */
export interface Rectangle {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface LayoutTile extends Rectangle {
  seat: number;
  /** `camera` */
  source?: SourceName;
  /** What has more covers what has less; 0. */
  z?: number;
  /** `crop` for a camera, `contain` for a screen */
  fit?: "crop" | "contain" | "stretch" | null;
  /** Of the corners, 0 to 0.5 of the tile's shorter side; 0. */
  radius?: number;
  /** 0 to 0.25 of the tile's shorter side; 0. */
  border?: number;
  /** `#ffffff` */
  border_color?: string;
}

/** One of `text`, `image` (a `data:` URL of PNG or JPEG) and `clock`. */
export interface Watermark extends Rectangle {
  text?: string;
  image?: string;
  clock?: "hh:mm" | "hh:mm:ss";
  /** Of the clock, east of Greenwich; 0. */
  utc_offset_minutes?: number;
  /** Of text and clock; `#ffffff`. */
  color?: string;
  /** 0 to 1; 1. */
  opacity?: number;
}

/** A layout, and where its tiles are now, in drawing order. */
export interface LayoutInForce extends Layout {
  version: number;
  /** In pixels. */
  canvas: { width: number; height: number };
  in_force: ({ seat: number; source: SourceName; z: number } & Rectangle)[];
}

/** Absent in a change: as it is. */
export interface ProgramSettings {
  mode?: "auto" | "mixed" | "passthrough" | "off";
  video?: {
    /** Both numbers, or both `auto`: what the host sends. */
    width?: number | "auto";
    height?: number | "auto";
    fps?: number;
    bitrate_kbps?: number | "auto";
    gop_ms?: number;
    /** What each mixed picture says of itself. */
    sei?: "none" | "timestamp" | "layout";
  };
  audio?: { bitrate_kbps?: number; channels?: number };
  idle?: "on_demand" | "always";
}

/** Everything of the room that is neither seats nor people; as the interface has it. */
export interface Settings {
  seat_mode: SeatMode;
  max_guests: number;
  public_program: boolean;
  policies: Record<string, unknown>;
  program: ProgramSettings;
  layout: Layout;
  metadata: unknown;
  urls: Record<string, string>;
}

// ---- state and events

export type Connection = "connecting" | "online" | "reconnecting" | "closed";

export interface Me {
  user: string;
  role: Role;
  /** One's own seat. */
  seat: number | null;
  /** One's own pending application. */
  application: Request | null;
  /** One's own pending invitation. */
  invitation: Request | null;
}

/** A new object after every change: compare by identity, never write to it. */
export interface RoomState {
  readonly id: string;
  readonly phase: Phase;
  readonly epoch: number;
  readonly version: number;
  readonly seats: readonly Seat[];
  readonly host: Person | null;
  readonly settings: Settings;
  readonly me: Me;
  /** Who is in the room, at most the first thousand; filled for hosts, admins and service keys. */
  readonly members: readonly Member[];
  /** Pending applications; filled for hosts, admins and service keys. */
  readonly applications: readonly Request[];
  /** Pending invitations; filled for hosts, admins and service keys. */
  readonly invitations: readonly Request[];
  /** How many people are here, viewers included. */
  readonly audience: number;
  /** Who is heard right now, loudest first. */
  readonly speaking: readonly Speaking[];
  readonly connection: Connection;
}

/** An event as the room sent it. */
export interface Envelope<Data = any> {
  room: string;
  epoch: number;
  version: number;
  seq: number;
  prev: number | null;
  at: string;
  type: string;
  actor: Person | null;
  data: Data;
}

export type CloseReason =
  | "left" | "closed" | "replaced" | "removed" | "room_ended" | "token_expired" | (string & {});

export interface Answered {
  request: Request;
  accepted: boolean;
  seat: number | null;
  /** Who answered. */
  by: Person | null;
}
export interface Unanswered {
  request: Request;
  reason: "timeout" | "already_seated" | "left" | "room_ended" | "seats_disabled";
}

/** The room's events (names and data as in the interface) and, below them, the module's own. */
export interface RoomEvents {
  snapshot: { room: any; you: Me & Person };
  "seats.changed": {
    seats: Seat[];
    joined: { seat: number; user: Person }[];
    left: { seat: number; user: Person; reason: LeaveReason }[];
    moved: { from: number; to: number; user: Person }[];
  };
  "seat.granted": Granted & { media?: RequestMedia };
  "seat.kicked": { seat: number; reason: LeaveReason; note?: string | null; by?: Person | null };
  "seat.updated": Pick<Seat, "seat" | "locked" | "audio_locked" | "video_locked" | "audio_muted" | "video_muted">;
  /** A host asks to switch something on: only the person may. */
  "seat.asked": { seat: number; by: Person | null; audio: boolean; video: boolean };
  "seat.connected": { seat: number; user: Person };
  "seat.resumed": { seat: number; user: Person };
  "seat.suspended": { seat: number; user: Person; until?: string; until_in_ms?: number };
  /** To hosts: the program shows the seat's camera. */
  "seat.first_frame": { seat: number };
  "seat.media": { seat: number; source: SourceName; audio: TrackState; video: TrackState };
  "application.received": { request: Request };
  "application.cancelled": { request: Request };
  "application.responded": Answered & { reason: string | null };
  "application.processed": Answered;
  "application.no_response": Unanswered;
  "application.closed": Unanswered;
  "invitation.received": { request: Request };
  "invitation.cancelled": { request: Request };
  "invitation.responded": Answered & { reason: string | null };
  "invitation.no_response": Unanswered;
  "invitation.closed": Unanswered;
  "host.away": { host: Person; until?: string; until_in_ms?: number };
  "host.back": { host: Person };
  "host.changed": { host: Person; previous: Person };
  "room.updated": { phase: Phase; max_guests: number };
  "room.ended": { reason: string };
  "member.joined": { member: Member };
  "member.updated": { member: Member };
  "member.left": { member: Member; reason: string };
  audience: { count: number };
  speaking: { seats: { seat: number; audio_level: number }[] };
  "stage.slots": { viewer: string; slots: Omit<SlotView, "user" | "stream">[] };
  /** The module's: the event stream's state changed. */
  connection: { connection: Connection };
  /** The module's: the room is over for this page and nothing reconnects. */
  closed: { reason: CloseReason; error?: CostageError };
  /** The module's: the state of one's own camera or screen transport changed. */
  publication: { source: SourceName; state: MediaState; error?: Error };
  /** Every event of the room. */
  "*": any;
}

// ---- errors

/** What a call was refused with, or why it could not be made. */
export class CostageError extends Error {
  /**
   * The server's stable `code`, or the module's own: `network` (out of reach), `timeout`, `closed` (the room is over for
   * this page), `device_denied`, `device_not_found`, `device_in_use`, `device_insecure`, `device_failed`, `cancelled`
   * (the person closed the screen picker).
   */
  readonly code: string;
  /** The HTTP status; 0 if there was none. */
  readonly status: number;
  readonly retryAfterMs?: number;
  /** A sentence in plain English. */
  readonly detail: string;
  /** Whether the same call may succeed later without anybody changing it. */
  readonly retryable: boolean;
  /** Everything the server said. */
  readonly problem: Record<string, unknown>;
}

// ---- media

export type MediaState = "connecting" | "waiting" | "live" | "reconnecting" | "failed" | "closed";

export interface MediaStatus {
  state: MediaState;
  error?: Error;
  retryInMs?: number;
}

/** One's own source: a WHIP transport that lasts over device changes and broken networks. */
export class Publication {
  readonly source: SourceName;
  readonly state: MediaState;
  readonly error?: Error;
  /** For statistics; a new one after a reconnect. */
  readonly connection: RTCPeerConnection | null;
  /** Called at once and after every change. */
  subscribe(listener: (status: MediaStatus) => void): () => void;
  /** Ends the transport; keeps the seat for its grace time. */
  close(): Promise<void>;
}

/** One slot of the stage that somebody is in. */
export interface SlotView {
  slot: number;
  seat: number;
  source: SourceName;
  codec: string | null;
  state: "live" | "muted" | "no_media" | "codec_unsupported";
  /** Who sits there. */
  user: Person | null;
  /** Its picture and sound; the same object while the slot lasts. */
  stream: MediaStream;
}

export interface StageOptions {
  /** How many sources at once; default: what the room can hold, at most 12. */
  slots?: number;
  /** Called after every change, with the filled slots. */
  onSlots?: (slots: SlotView[]) => void;
  onState?: (status: MediaStatus) => void;
}

/** All seats but one's own, each as its own stream. */
export class Stage {
  readonly state: MediaState;
  readonly slots: readonly SlotView[];
  readonly connection: RTCPeerConnection | null;
  /** The stream of a seat, if a slot shows it. */
  stream(seat: number, source?: SourceName): MediaStream | null;
  /** Chooses layers: `{0: {max_height: 360, paused: false}}`, by slot. */
  setLayers(slots: Record<number, { max_height?: number; paused?: boolean }>): Promise<void>;
  subscribe(listener: (slots: SlotView[]) => void): () => void;
  close(): Promise<void>;
}

export interface ProgramOptions {
  /** Without one's own voice. */
  minusMe?: boolean;
  onState?: (status: MediaStatus) => void;
}

/** The room's one outbound stream. */
export class Program {
  readonly state: MediaState;
  readonly stream: MediaStream;
  readonly connection: RTCPeerConnection | null;
  close(): Promise<void>;
}

// ---- devices

export interface DeviceInfo {
  deviceId: string;
  label: string;
}

export interface LocalDevice {
  status: "closed" | "opening" | "open";
  muted: boolean;
  deviceId: string | null;
  label: string;
  /** Why it did not open, or ended. */
  error: CostageError | null;
}

export interface DevicesState {
  readonly microphone: Readonly<LocalDevice>;
  readonly camera: Readonly<LocalDevice>;
  readonly screen: Readonly<LocalDevice>;
  readonly microphones: readonly DeviceInfo[];
  readonly cameras: readonly DeviceInfo[];
  readonly speakers: readonly DeviceInfo[];
}

export interface CameraOptions {
  deviceId?: string;
  facingMode?: "user" | "environment";
  width?: number;
  height?: number;
  frameRate?: number;
}

/**
 * Microphone, camera and screen of this page. Nothing opens by itself. They work without a room, for a preview; a room
 * sends what is open once one has a seat. Switching never begins a new session.
 */
export class Devices {
  readonly state: DevicesState;
  /** For a local preview: camera and microphone as they are open. The same object always. */
  readonly stream: MediaStream;
  readonly screenStream: MediaStream | null;
  /** Called at once and after every change. */
  subscribe(listener: (state: DevicesState) => void): () => void;
  openMicrophone(options?: { deviceId?: string }): Promise<void>;
  closeMicrophone(): void;
  openCamera(options?: CameraOptions): Promise<void>;
  closeCamera(): void;
  /** Opens it if it is closed; keeps the former one if the new one fails. */
  switchMicrophone(deviceId: string): Promise<void>;
  switchCamera(to: string | CameraOptions): Promise<void>;
  /** Silences the microphone (or darkens the camera) here, at once, without closing it. */
  setMuted(muted: boolean, device?: "microphone" | "camera"): void;
  /** Asks the person which screen or window; the room publishes it while it is shared. */
  startScreenShare(options?: { audio?: boolean }): Promise<void>;
  stopScreenShare(): void;
  /** Reads the lists anew. Names are there once a permission was given. */
  refresh(): Promise<DevicesState>;
  /** The microphone's level now, 0..=1; 0 while closed or muted. */
  readonly level: number;
  /** Calls with the level, about ten times a second, until the returned function is called. */
  onLevel(listener: (level: number) => void, intervalMs?: number): () => void;
  /** Closes everything. */
  close(): void;
}

// ---- the room

export interface ConnectOptions {
  /** The server's origin (and prefix); default: where this module came from, or of a copy of it the page's own. */
  url?: string;
  room: string;
  /** Asked anew for every connection. */
  getToken: () => string | Promise<string>;
  /**
   * Bring the transport up at once when a guest seat is granted; default true. The host goes live by `publish()`. Switch it
   * off where the person publishes with another program: the newest transport of a seat replaces the older.
   */
  autoPublish?: boolean;
  /** Close microphone, camera and screen when the seat is lost; default true. */
  closeDevicesWithSeat?: boolean;
  /** Default: the page's own, shared by all rooms. */
  devices?: Devices;
  transport?: "auto" | "websocket" | "sse";
  /** Gives up the first connection. */
  signal?: AbortSignal;
}

/** What commands that change the room answer: at least its new `version`. */
export interface Changed {
  version: number;
  [field: string]: any;
}

/** The answer to an application or invitation: the request, and what has come of it already. */
export interface Asked extends Request {
  version: number;
  /** The same request was pending already. */
  deduplicated: boolean;
  /** The other side had asked for the same: this is theirs, and accepted. */
  matched: boolean;
  granted?: Granted;
}

/** A request after an answer or its withdrawal; accepted: with the seat it led to. */
export interface Answer extends Partial<Granted> {
  version: number;
  request: Request;
  /** Somebody was quicker, to the same effect. */
  already_processed_by?: Person;
}

export class Room {
  private constructor(options: ConnectOptions);
  /** Resolves with the first snapshot; rejects when refused for good. The newest room is the facade's. */
  static connect(options: ConnectOptions): Promise<Room>;

  readonly id: string;
  readonly state: RoomState;
  readonly devices: Devices;
  /** One's own camera transport, if there is one. */
  readonly publication: Publication | null;
  readonly screen: Publication | null;

  /** Listens; returns how to stop. An exception in a listener stops nobody else. */
  on<Type extends keyof RoomEvents>(type: Type, listener: (data: RoomEvents[Type], event: Envelope) => void): () => void;
  /** Called after any change of state; returns how to stop. */
  subscribe(listener: (state: RoomState) => void): () => void;
  /** Closes stream and media and leaves the rest to time: the seat is kept for its grace. */
  close(): Promise<void>;

  // Applications and invitations. `timeoutMs` 0: the longest the room allows.
  apply(options?: { seat?: number; media?: RequestMedia; timeoutMs?: number; extra?: unknown; user?: string }): Promise<Asked>;
  cancelApplication(user?: string): Promise<Answer>;
  acceptApplication(user: string, options?: { seat?: number; request?: string }): Promise<Answer>;
  rejectApplication(user: string, options?: { reason?: string; request?: string }): Promise<Answer>;
  invite(user: string, options?: { seat?: number; timeoutMs?: number; extra?: unknown }): Promise<Asked>;
  cancelInvitation(user: string): Promise<Answer>;
  acceptInvitation(options?: { request?: string }): Promise<Answer>;
  rejectInvitation(options?: { reason?: string; request?: string }): Promise<Answer>;

  // Seats.
  /** Oneself in `free` mode; hosts also `user`. */
  takeSeat(seat: number, options?: { user?: string; name?: string; avatar_url?: string; ifVersion?: number }): Promise<Changed>;
  leaveSeat(): Promise<Changed>;
  /** Leaves the room: frees the seat and closes everything. */
  leave(): Promise<void>;
  /** By seat number or by user. */
  kick(who: number | string, options?: { user?: string; reason?: string; ifVersion?: number }): Promise<Changed>;
  lockSeat(seat: number): Promise<Changed>;
  unlockSeat(seat: number): Promise<Changed>;
  lockMicrophone(seat: number): Promise<Changed>;
  unlockMicrophone(seat: number): Promise<Changed>;
  lockCamera(seat: number): Promise<Changed>;
  unlockCamera(seat: number): Promise<Changed>;
  /** In the server; without a seat: one's own, and the microphone here as well. */
  mute(seat?: number): Promise<Changed>;
  unmute(seat?: number): Promise<Changed>;
  muteCamera(seat?: number): Promise<Changed>;
  unmuteCamera(seat?: number): Promise<Changed>;
  updateSeat(seat: number, flags: Partial<Pick<Seat, "locked" | "audio_locked" | "video_locked" | "audio_muted" | "video_muted">>): Promise<Changed>;
  move(seat: number, to: number, policy?: "abort" | "replace" | "swap"): Promise<Changed>;
  swap(seat: number, to: number): Promise<Changed>;
  /** Asks whoever sits there to switch on. */
  ask(seat: number, what: { audio?: boolean; video?: boolean }): Promise<Changed>;

  // People and the room.
  grantAdmin(user: string): Promise<Changed>;
  withdrawAdmin(user: string): Promise<Changed>;
  removeMember(user: string, options?: { reason?: string }): Promise<Changed>;
  ban(user: string, options?: { banMs?: number; reason?: string }): Promise<Changed>;
  endRoom(): Promise<Changed>;
  updateSettings(settings: Record<string, unknown>): Promise<Changed>;
  /** What the program shows, and where everybody is in it now. */
  layout(): Promise<LayoutInForce>;
  /** Replaces the layout, whole. */
  setLayout(layout: Layout | LayoutInForce, options?: { ifVersion?: number }): Promise<LayoutInForce>;
  /** Changes what is named. */
  setProgram(settings: ProgramSettings, options?: { ifVersion?: number }): Promise<Changed & { program: ProgramSettings }>;
  /** Any call of the interface below `/v1/rooms/{room}`, with token, `Idempotency-Key` and retries. */
  call<T = any>(method: string, path: string, body?: unknown): Promise<T>;

  // Media.
  /** Brings one's camera transport up, or gives the one that is. Resolves when it is live. */
  publish(): Promise<Publication>;
  /** Shares a screen: asks the person if none is shared yet. */
  publishScreen(options?: { audio?: boolean }): Promise<Publication>;
  watchStage(options?: StageOptions): Promise<Stage>;
  watchProgram(video: HTMLVideoElement | null, options?: ProgramOptions): Promise<Program>;
  /** One seat alone. */
  watchSeat(seat: number, video: HTMLVideoElement | null, options?: ProgramOptions & { source?: SourceName }): Promise<Program>;
}

/** The devices of this page, as every room uses them unless told otherwise. */
export const devices: Devices;

// ---- the facade: the names of the guest-connection guide for web. It speaks for the newest `Room.connect`.

/** What a page watches where there is no Vue. */
interface PlainRef<Value> {
  readonly value: Value;
}
// @ts-ignore: where Vue is not installed there is no such type; it is taken for `any`, which alone is also a 1.
type VueRef<Value> = import("vue").ComputedRef<Value>;
/** Vue's ref where Vue is installed (and `useVue` was called), else a value; both with `subscribe`. */
export type Ref<Value> = ({ is: VueRef<Value> } extends { is: 1 } ? PlainRef<Value> : VueRef<Value>) & {
  subscribe(listener: (value: Value) => void): () => void;
};

/** Pass Vue's own: `useVue({ shallowRef, computed })`, before the first `use…State()`. */
export function useVue(vue: { shallowRef: (value: any) => any; computed: (getter: () => any) => any }): void;

export interface UserInfo {
  userId: string;
  userName: string;
  avatarUrl: string;
}

export interface SeatUserInfo extends UserInfo {
  seatIndex: number;
  microphoneStatus: DeviceStatus;
  cameraStatus: DeviceStatus;
}

export interface RequestUserInfo extends UserInfo {
  seatIndex: number;
  extension: string;
}

export enum CoGuestEvent {
  onHostInvitationReceived = "onHostInvitationReceived",
  onHostInvitationCancelled = "onHostInvitationCancelled",
  onGuestApplicationResponded = "onGuestApplicationResponded",
  onGuestApplicationNoResponse = "onGuestApplicationNoResponse",
  onKickedOffSeat = "onKickedOffSeat",
}
export enum CoHostEvent {
  onGuestApplicationReceived = "onGuestApplicationReceived",
  onGuestApplicationCancelled = "onGuestApplicationCancelled",
  onGuestApplicationProcessedByOtherHost = "onGuestApplicationProcessedByOtherHost",
  onHostInvitationResponded = "onHostInvitationResponded",
  onHostInvitationNoResponse = "onHostInvitationNoResponse",
}
export { CoGuestEvent as GuestEvent, CoHostEvent as HostEvent };

export enum NoResponseReason {
  Timeout = "timeout",
  AlreadySeated = "alreadySeated",
}

/** What listeners get of a request. */
export interface RequestEventInfo {
  guestUser: UserInfo;
  /** Who answered an application; who sent an invitation. */
  hostUser: UserInfo;
  /** The seat that was named or given; -1: any. */
  seatIndex: number;
  extension: string;
  /** Why it was turned down, or ended without an answer. */
  reason?: string;
}
export interface InvitationEventInfo extends RequestEventInfo {
  inviterId: string;
}
interface Answers {
  isAccept: boolean;
}
interface NoAnswer {
  reason: NoResponseReason | (string & {});
}

/** What the listeners of each event get. */
export interface CoGuestEventInfos {
  [CoGuestEvent.onHostInvitationReceived]: InvitationEventInfo;
  [CoGuestEvent.onHostInvitationCancelled]: InvitationEventInfo;
  [CoGuestEvent.onGuestApplicationResponded]: RequestEventInfo & Answers;
  [CoGuestEvent.onGuestApplicationNoResponse]: RequestEventInfo & NoAnswer;
  [CoGuestEvent.onKickedOffSeat]: { seatIndex: number; hostUser: UserInfo; reason: string };
  [CoHostEvent.onGuestApplicationReceived]: RequestEventInfo;
  [CoHostEvent.onGuestApplicationCancelled]: RequestEventInfo;
  [CoHostEvent.onGuestApplicationProcessedByOtherHost]: RequestEventInfo & Answers;
  [CoHostEvent.onHostInvitationResponded]: InvitationEventInfo & Answers;
  [CoHostEvent.onHostInvitationNoResponse]: InvitationEventInfo & NoAnswer;
}

export interface CoGuestState {
  /** Everybody on a seat. */
  connected: Ref<SeatUserInfo[]>;
  applicants: Ref<RequestUserInfo[]>;
  invitees: Ref<RequestUserInfo[]>;
  /** Who could be invited. */
  candidates: Ref<UserInfo[]>;
  /** `timeout` in seconds; from 5000 up it is read as milliseconds; 0: the longest the room allows. */
  applyForSeat(options?: { seatIndex?: number; timeout?: number; extension?: string }): Promise<void>;
  cancelApplication(): Promise<void>;
  acceptApplication(options: { userId: string; seatIndex?: number }): Promise<void>;
  rejectApplication(options: { userId: string; reason?: string }): Promise<void>;
  inviteToSeat(options: { userId: string; seatIndex?: number; timeout?: number; extension?: string }): Promise<void>;
  cancelInvitation(options: { userId: string } | { inviteeId: string }): Promise<void>;
  acceptInvitation(options?: { inviterId?: string }): Promise<void>;
  rejectInvitation(options?: { inviterId?: string; reason?: string }): Promise<void>;
  disConnect(): Promise<void>;
  subscribeEvent<Name extends keyof CoGuestEventInfos>(event: Name, listener: (info: CoGuestEventInfos[Name]) => void): void;
  unsubscribeEvent<Name extends keyof CoGuestEventInfos>(event: Name, listener: (info: CoGuestEventInfos[Name]) => void): void;
}
export function useCoGuestState(): CoGuestState;

export interface RegionInfo {
  x: number;
  y: number;
  w: number;
  h: number;
  zOrder: number;
}

export interface SeatInfo {
  index: number;
  isLocked: boolean;
  isAudioLocked: boolean;
  isVideoLocked: boolean;
  /** `null` on an empty seat. */
  userInfo: SeatUserInfo | null;
  /** Where the program shows the seat, in pixels of `canvas`; `null` if it does not, or the layout is not known. */
  region: RegionInfo | null;
}

export enum MoveSeatPolicy {
  AbortWhenOccupied = 0,
  ForceReplace = 1,
  SwapPosition = 2,
}
export enum DeviceControlPolicy {
  /** The only thing there is: nobody switches another's device on. */
  UnlockOnly = 1,
}
export enum LiveSeatEvent {
  onLocalCameraOpenedByAdmin = "onLocalCameraOpenedByAdmin",
  onLocalCameraClosedByAdmin = "onLocalCameraClosedByAdmin",
  onLocalMicrophoneOpenedByAdmin = "onLocalMicrophoneOpenedByAdmin",
  onLocalMicrophoneClosedByAdmin = "onLocalMicrophoneClosedByAdmin",
}

export interface LiveSeatEventInfo {
  /** Which host or admin. */
  operator: UserInfo;
  policy: DeviceControlPolicy;
}

export interface LiveSeatState {
  seatList: Ref<SeatInfo[]>;
  canvas: Ref<{ width: number; height: number }>;
  /** User id → loudness 0..=100. */
  speakingUsers: Ref<Map<string, number>>;
  takeSeat(options: { seatIndex: number; userId?: string }): Promise<void>;
  leaveSeat(): Promise<void>;
  lockSeat(options: { seatIndex: number }): Promise<void>;
  unlockSeat(options: { seatIndex: number }): Promise<void>;
  kickUserOutOfSeat(options: { userId: string; reason?: string }): Promise<void>;
  moveUserToSeat(options: { userId: string; targetIndex: number; policy?: MoveSeatPolicy }): Promise<void>;
  /** Locks it: the person can't switch it on until it is opened again. */
  closeRemoteCamera(options: { userId: string }): Promise<void>;
  closeRemoteMicrophone(options: { userId: string }): Promise<void>;
  /** Unlocks it and asks the person; nothing opens by itself. */
  openRemoteCamera(options: { userId: string; policy?: DeviceControlPolicy }): Promise<void>;
  openRemoteMicrophone(options: { userId: string; policy?: DeviceControlPolicy }): Promise<void>;
  muteMicrophone(): Promise<void>;
  unmuteMicrophone(): Promise<void>;
  /** Plays the program (or, on a seat, the program without one's own voice) in the element with this id. */
  startPlayStream(options: { view: string | HTMLElement }): Promise<void>;
  stopPlayStream(): Promise<void>;
  subscribeEvent(event: LiveSeatEvent, listener: (info: LiveSeatEventInfo) => void): void;
  unsubscribeEvent(event: LiveSeatEvent, listener: (info: LiveSeatEventInfo) => void): void;
}
export function useLiveSeatState(): LiveSeatState;

export enum DeviceStatus {
  Off = 0,
  On = 1,
}
export enum DeviceError {
  NoError = 0,
  NoDeviceDetected = 1,
  NoSystemPermission = 2,
  NotSupportCapture = 3,
  OccupiedError = 4,
  UnknownError = 5,
}
export interface NamedDevice {
  deviceId: string;
  deviceName: string;
}

export interface DeviceState {
  microphoneStatus: Ref<DeviceStatus>;
  cameraStatus: Ref<DeviceStatus>;
  screenStatus: Ref<DeviceStatus>;
  microphoneLastError: Ref<DeviceError>;
  cameraLastError: Ref<DeviceError>;
  screenLastError: Ref<DeviceError>;
  isMicrophoneMuted: Ref<boolean>;
  microphoneList: Ref<NamedDevice[]>;
  cameraList: Ref<NamedDevice[]>;
  speakerList: Ref<NamedDevice[]>;
  currentMicrophone: Ref<NamedDevice | null>;
  currentCamera: Ref<NamedDevice | null>;
  isFrontCamera: Ref<boolean>;
  /** 0..=100. */
  currentMicVolume: Ref<number>;
  /** Camera and microphone, for a preview. */
  localStream: Ref<MediaStream>;
  openLocalMicrophone(options?: { deviceId?: string }): Promise<void>;
  closeLocalMicrophone(): Promise<void>;
  openLocalCamera(options?: CameraOptions): Promise<void>;
  closeLocalCamera(): Promise<void>;
  muteLocalAudio(): Promise<void>;
  unmuteLocalAudio(): Promise<void>;
  getMicrophoneList(): Promise<NamedDevice[]>;
  getCameraList(): Promise<NamedDevice[]>;
  getSpeakerList(): Promise<NamedDevice[]>;
  setCurrentMicrophone(options: { deviceId: string }): Promise<void>;
  setCurrentCamera(options: { deviceId: string }): Promise<void>;
  switchCamera(options?: { isFrontCamera?: boolean }): Promise<void>;
  startScreenShare(options?: { screenAudio?: boolean }): Promise<void>;
  stopScreenShare(): Promise<void>;
}
export function useDeviceState(): DeviceState;

// ---- below the room, for pages with a player of their own

/** One WHIP or WHEP session with recovery. */
export class Session {
  constructor(options: {
    url: string;
    token: () => string | null | Promise<string | null>;
    build: (connection: RTCPeerConnection) => void | Promise<void>;
    onState: (status: { name: MediaState; error?: Error; retryInMs?: number }) => void;
  });
  readonly connection: RTCPeerConnection | null;
  /** The absolute URL of the resource of the moment. */
  readonly resource: string | null;
  /** Connects, and stays connected until closed or refused for good. */
  run(): Promise<void>;
  close(): Promise<void>;
}
