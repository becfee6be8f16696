// A page without Vue, in strict TypeScript: this need only compile.

import {
  CostageError, Devices, Program, Publication, Room, Session, Stage, devices, useCoGuestState,
  type Asked, type ConnectOptions, type LayoutInForce, type MediaState, type RoomState, type SlotView,
} from "../../../src/web/client/costage.js";

const options: ConnectOptions = { room: "demo", getToken: () => "token", transport: "sse", signal: AbortSignal.timeout(1_000) };
const room: Room = await Room.connect(options);

const stop: () => void = room.on("application.received", ({ request }, event) => console.info(request.guest.name, event.seq));
room.on("seats.changed", ({ left }) => left.some(({ reason }) => reason === "kicked"));
room.on("closed", ({ reason, error }) => console.info(reason, error?.code));
room.on("*", (_, { type }) => console.info(type));
// @ts-expect-error: no such event
room.on("seats.change", () => {});

room.subscribe((state: RoomState) => console.info(state.me.seat, state.seats[0]?.user?.user));
// @ts-expect-error: never written to
room.state.me = null;
// @ts-expect-error: by `Room.connect`
new Room(options);

const asked: Asked = await room.apply({ seat: 1, media: "audio", timeoutMs: 30_000, extra: { song: 1 } });
if (!asked.matched) await room.cancelApplication();
const { granted_seat } = (await room.acceptApplication("bob", { seat: 2 })).request;
const { version } = await room.move(granted_seat ?? 1, 3, "swap");
await room.kick(3, { reason: "time", ifVersion: version });
// @ts-expect-error: no such policy
await room.move(1, 2, "push");

const layout: LayoutInForce = await room.layout();
await room.setLayout({ ...layout, template: "float" }, { ifVersion: layout.version });
await room.setProgram({ mode: "mixed", video: { width: 1280, height: 720 } });
// @ts-expect-error: no such template
await room.setLayout({ template: "pile" });

const publication: Publication = await room.publish();
const live: MediaState = publication.state;
const stage: Stage = await room.watchStage({ onSlots: (slots: SlotView[]) => slots.map(({ stream }) => stream.id) });
await stage.setLayers({ 0: { max_height: 360 } });
const program: Program = await room.watchProgram(document.querySelector("video"), { minusMe: true });
const preview: MediaStream = devices.stream;
const own = new Devices();
await own.openCamera({ facingMode: "user" }).catch((error: unknown) => {
  if (error instanceof CostageError && error.retryable) console.info(error.code, error.retryAfterMs);
});
const session = new Session({ url: "/whep", token: () => null, build: (connection) => void connection.addTransceiver("video"), onState: ({ name }) => name });
const ended: Promise<void> = session.close();

// Refs without Vue.
const { applicants } = useCoGuestState();
const unsubscribe: () => void = applicants.subscribe((now) => console.info(now[0]?.userName, applicants.value.length));
// @ts-expect-error: nobody but the room sets it
applicants.value = [];

export { ended, live, preview, program, stop, unsubscribe };
