// Panels of the guest-connection guide as a strict project in TypeScript has them: this need only compile.

import { computed, isRef, onMounted, onUnmounted, shallowRef, watch, type ComputedRef } from "vue";
import {
  CoGuestEvent, CoHostEvent, GuestEvent, HostEvent, LiveSeatEvent, NoResponseReason, Room,
  useCoGuestState, useDeviceState, useLiveSeatState, useVue,
  type CoGuestEventInfos, type RequestUserInfo, type SeatInfo,
} from "../../../src/web/client/costage.js";

useVue({ shallowRef, computed });
await Room.connect({ room: "demo", getToken: async () => "token" });

export function audiencePanel() {
  const { applyForSeat, cancelApplication, disConnect, acceptInvitation, rejectInvitation, subscribeEvent, unsubscribeEvent } = useCoGuestState();
  const { openLocalMicrophone, openLocalCamera } = useDeviceState();
  let inviterId = "";
  // Untyped, and typed by the event.
  const responded = (eventInfo: any) => eventInfo.isAccept && openLocalMicrophone();
  const invited = (eventInfo: CoGuestEventInfos[CoGuestEvent.onHostInvitationReceived]) => (inviterId = eventInfo.hostUser.userId);
  onMounted(() => {
    subscribeEvent(CoGuestEvent.onGuestApplicationResponded, responded);
    subscribeEvent(CoGuestEvent.onHostInvitationReceived, invited);
    subscribeEvent(GuestEvent.onKickedOffSeat, (eventInfo) => console.info(eventInfo.seatIndex, eventInfo.hostUser.userName));
    subscribeEvent(GuestEvent.onGuestApplicationNoResponse, ({ reason }) => reason === NoResponseReason.Timeout);
    // @ts-expect-error: nobody answered, so there is no answer
    subscribeEvent(GuestEvent.onGuestApplicationNoResponse, (eventInfo) => eventInfo.isAccept);
  });
  onUnmounted(() => {
    unsubscribeEvent(CoGuestEvent.onGuestApplicationResponded, responded);
    unsubscribeEvent(CoGuestEvent.onHostInvitationReceived, invited);
  });
  return {
    apply: () => applyForSeat({ seatIndex: -1, timeout: 30 }),
    cancel: () => cancelApplication(),
    accept: async () => {
      await acceptInvitation({ inviterId });
      openLocalMicrophone();
      openLocalCamera();
    },
    reject: () => rejectInvitation({ inviterId }),
    leave: () => disConnect(),
    // @ts-expect-error: a seat is a number
    wrong: () => applyForSeat({ seatIndex: "1", timeout: 30 }),
  };
}

export function hostPanel() {
  const { applicants, invitees, candidates, connected, subscribeEvent, ...guests } = useCoGuestState();
  const { seatList, speakingUsers, kickUserOutOfSeat, lockSeat, subscribeEvent: onSeats } = useLiveSeatState();
  const { microphoneStatus, currentMicVolume } = useDeviceState();
  // They are Vue's own refs, to whoever watches, derives or passes them on.
  const asRef: ComputedRef<RequestUserInfo[]> = applicants;
  watch(applicants, (now, before) => console.info(now.length - before.length, isRef(asRef)));
  watch([connected, currentMicVolume], ([seated, volume]) => console.info(seated[0]?.microphoneStatus === microphoneStatus.value, volume));
  const free = computed(() => seatList.value.filter((seat: SeatInfo) => !seat.isLocked && seat.userInfo === null).length);
  const loud = (userId: string) => speakingUsers.value.has(userId);
  onMounted(() => {
    subscribeEvent(CoHostEvent.onGuestApplicationReceived, (eventInfo) => console.info(eventInfo.guestUser.userName));
    subscribeEvent(HostEvent.onHostInvitationResponded, (eventInfo) => console.info(eventInfo.isAccept, eventInfo.guestUser.userName));
    onSeats(LiveSeatEvent.onLocalMicrophoneClosedByAdmin, ({ operator, policy }) => console.info(operator.userName, policy));
    for (const name of Object.values({ ...HostEvent, ...GuestEvent })) subscribeEvent(name, (eventInfo) => console.info(name, eventInfo.hostUser));
  });
  // @ts-expect-error: nobody but the room sets it
  applicants.value = [];
  return {
    free, loud, invitees, candidates,
    accept: (userId: string) => guests.acceptApplication({ userId }),
    reject: (userId: string) => guests.rejectApplication({ userId }),
    invite: (userId: string) => guests.inviteToSeat({ userId, seatIndex: -1, timeout: 30 }),
    withdraw: (inviteeId: string) => guests.cancelInvitation({ inviteeId }),
    kick: (userId: string) => kickUserOutOfSeat({ userId }),
    lock: (seatIndex: number) => lockSeat({ seatIndex }),
  };
}
