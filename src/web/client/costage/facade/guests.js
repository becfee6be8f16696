// `useCoGuestState`: applying for seats and inviting to them, in the words of the guest-connection guide.

import { hosts } from "../state.js";
import { DeviceStatus } from "./devices.js";
import { events, fromRoom, once, room, seatNumber, timeoutMs, userInfo } from "./reactive.js";

const named = (...names) => Object.freeze(Object.fromEntries(names.map((name) => [name, name])));

export const CoGuestEvent = named(
  "onHostInvitationReceived",
  "onHostInvitationCancelled",
  "onGuestApplicationResponded",
  "onGuestApplicationNoResponse",
  "onKickedOffSeat",
);

export const CoHostEvent = named(
  "onGuestApplicationReceived",
  "onGuestApplicationCancelled",
  "onGuestApplicationProcessedByOtherHost",
  "onHostInvitationResponded",
  "onHostInvitationNoResponse",
);

export const NoResponseReason = Object.freeze({ Timeout: "timeout", AlreadySeated: "alreadySeated" });

const REASONS = { timeout: NoResponseReason.Timeout, already_seated: NoResponseReason.AlreadySeated };

/** Someone on a seat. */
export const seatUser = (seat) => ({
  ...userInfo(seat.user),
  seatIndex: seat.seat,
  microphoneStatus: seat.sources?.camera?.audio ? DeviceStatus.On : DeviceStatus.Off,
  cameraStatus: seat.sources?.camera?.video ? DeviceStatus.On : DeviceStatus.Off,
});

const extension = (extra) => (typeof extra === "string" ? extra : extra === null || extra === undefined ? "" : JSON.stringify(extra));

const requestUser = ({ guest, seat, extra }) => ({ ...userInfo(guest), seatIndex: seat ?? -1, extension: extension(extra) });

/** Who could be invited: here, and neither on a seat nor asked already. */
function candidates(state) {
  if (!hosts(state.me.role)) return [];
  const invited = new Set(state.invitations.map((request) => request.guest.user));
  const seated = new Set(state.seats.map((seat) => seat.user?.user));
  const free = state.members.filter((one) => one.presence === "online" && !seated.has(one.user) && !invited.has(one.user));
  return free.filter((one) => one.user !== state.me.user).map(userInfo);
}

/** What the guide's listeners get of an event. Pure. */
export function info(data, event) {
  const request = data.request ?? data;
  const { guest, by, processed_by: processedBy } = request;
  const answered = data.by ?? processedBy ?? event.actor;
  const application = request.kind === "application" || event.type.startsWith("application");
  const seatIndex = data.seat ?? request.granted_seat ?? request.seat ?? -1;
  return {
    guestUser: userInfo(guest),
    hostUser: userInfo(application ? answered : (by ?? event.actor)),
    seatIndex,
    ...(data.accepted !== undefined && { isAccept: data.accepted }),
    ...(typeof data.reason === "string" && { reason: REASONS[data.reason] ?? data.reason }),
    ...(!application && { inviterId: (by ?? event.actor)?.user ?? "" }),
    extension: extension(request.extra),
  };
}

/** The room's events → the guide's names. */
const NAMES = {
  "application.received": CoHostEvent.onGuestApplicationReceived,
  "application.cancelled": CoHostEvent.onGuestApplicationCancelled,
  // Over without an answer: for whoever shows the list it is withdrawn; `reason` says why.
  "application.closed": CoHostEvent.onGuestApplicationCancelled,
  "application.processed": CoHostEvent.onGuestApplicationProcessedByOtherHost,
  "application.responded": CoGuestEvent.onGuestApplicationResponded,
  "application.no_response": CoGuestEvent.onGuestApplicationNoResponse,
  "invitation.received": CoGuestEvent.onHostInvitationReceived,
  "invitation.cancelled": CoGuestEvent.onHostInvitationCancelled,
  "invitation.closed": CoGuestEvent.onHostInvitationCancelled,
  "invitation.responded": CoHostEvent.onHostInvitationResponded,
  "invitation.no_response": CoHostEvent.onHostInvitationNoResponse,
};

function hear(room, emit) {
  const requests = Object.entries(NAMES).map(([type, name]) => room.on(type, (data, event) => emit(name, info(data, event))));
  const kicked = room.on("seat.kicked", (data, event) =>
    emit(CoGuestEvent.onKickedOffSeat, {
      seatIndex: data.seat,
      hostUser: userInfo(data.by ?? event.actor),
      reason: data.note || data.reason,
    }),
  );
  return [...requests, kicked];
}

const ANSWERS = new Set([
  CoGuestEvent.onGuestApplicationResponded,
  CoGuestEvent.onGuestApplicationNoResponse,
  CoHostEvent.onHostInvitationResponded,
  CoHostEvent.onHostInvitationNoResponse,
]);

/** The answer to whoever asked for what the other side had asked for already; `asked` is theirs. */
function matched(asked) {
  const told = info({ request: asked, accepted: true, seat: asked.granted?.seat }, { type: "", actor: null });
  return { ...told, inviterId: told.hostUser.userId };
}

/**
 * Calls that ask, and the events that answer them: pages expect an answer after the call has resolved, and one answer to
 * each. A quick answer waits for its call; where both sides asked for the same, no event comes and the call is the answer.
 */
function questions() {
  const held = []; // at most one of each pending request, for as long as a call lasts
  let asking = 0;
  let emit = () => {};
  const release = () => {
    for (const [name, info] of asking === 0 ? held.splice(0) : []) emit(name, info);
  };
  return {
    hear(room, to) {
      emit = to;
      return hear(room, (name, info) => (ANSWERS.has(name) && (asking > 0 || held.length > 0) ? held.push([name, info]) : emit(name, info)));
    },
    async ask(answer, call) {
      asking += 1;
      try {
        const asked = await call();
        if (asked.matched) held.push([answer, matched(asked)]);
      } finally {
        asking -= 1;
        setTimeout(release); // after what the page does next
      }
    },
  };
}

function make() {
  const guest = async (call) => void (await call);
  const { hear, ask } = questions();
  return {
    ...fromRoom({
      connected: (state) => (state?.seats ?? []).filter((seat) => seat.user && seat.state !== "empty").map(seatUser),
      applicants: (state) => (state?.applications ?? []).map(requestUser),
      invitees: (state) => (state?.invitations ?? []).map(requestUser),
      candidates: (state) => (state ? candidates(state) : []),
    }),
    ...events(hear),

    applyForSeat: async ({ seatIndex, timeout, extension } = {}) =>
      ask(CoGuestEvent.onGuestApplicationResponded, () =>
        room().apply({ seat: seatNumber(seatIndex), timeoutMs: timeoutMs(timeout), extra: extension })),
    cancelApplication: async () => guest(room().cancelApplication()),
    acceptApplication: async ({ userId, seatIndex }) =>
      guest(room().acceptApplication(userId, { seat: seatNumber(seatIndex) < 0 ? undefined : seatIndex })),
    rejectApplication: async ({ userId, reason }) => guest(room().rejectApplication(userId, { reason })),
    inviteToSeat: async ({ userId, seatIndex, timeout, extension }) =>
      ask(CoHostEvent.onHostInvitationResponded, () =>
        room().invite(userId, { seat: seatNumber(seatIndex), timeoutMs: timeoutMs(timeout), extra: extension })),
    cancelInvitation: async ({ userId, inviteeId = userId }) => guest(room().cancelInvitation(inviteeId)),
    acceptInvitation: async ({ inviterId } = {}) => guest(room().acceptInvitation(invitationOf(inviterId))),
    rejectInvitation: async ({ inviterId, reason } = {}) =>
      guest(room().rejectInvitation({ ...invitationOf(inviterId), reason })),
    disConnect: async () => guest(room().leaveSeat()),
  };
}

/** Names the invitation shown, so that an answer to an old one is no answer to a new one. */
function invitationOf(inviterId) {
  const { invitation } = room().state.me;
  return invitation && (!inviterId || invitation.by.user === inviterId) ? { request: invitation.id } : {};
}

export const useCoGuestState = once(make);
