// Somebody who watches, asks for a seat, is asked to take one, and leaves it.

import { computed, ref } from "vue";
import { CoGuestEvent, useCoGuestState, useDeviceState, useLiveSeatState } from "costage";
import { useLog } from "./log.js";

export const AudiencePanel = {
  props: { user: { type: String, required: true } },
  setup({ user }) {
    const guests = useCoGuestState();
    const { openLocalMicrophone, openLocalCamera, microphoneStatus, cameraStatus } = useDeviceState();
    const { seatList } = useLiveSeatState();
    const seatIndex = ref(-1);
    const timeout = ref(30);
    const waiting = ref(false);
    const inviterId = ref("");
    const onSeat = computed(() => guests.connected.value.some((one) => one.userId === user));

    // Neither is awaited: both ask the browser at once.
    const goLive = () => {
      openLocalMicrophone();
      openLocalCamera();
    };
    const { log, failure, trying } = useLog(guests, {
      [CoGuestEvent.onGuestApplicationResponded]({ isAccept, hostUser, reason }) {
        waiting.value = false;
        if (isAccept) goLive();
        return `${isAccept} ${hostUser.userName} ${reason ?? ""}`;
      },
      [CoGuestEvent.onGuestApplicationNoResponse]({ reason }) {
        waiting.value = false;
        return reason;
      },
      [CoGuestEvent.onHostInvitationReceived]({ hostUser }) {
        inviterId.value = hostUser.userId;
        return hostUser.userName;
      },
      [CoGuestEvent.onHostInvitationCancelled]({ hostUser }) {
        inviterId.value = "";
        return hostUser.userName;
      },
      [CoGuestEvent.onKickedOffSeat]: ({ seatIndex, hostUser, reason }) => `${seatIndex} ${hostUser.userName} ${reason}`,
    });

    return {
      log, failure, seatIndex, timeout, waiting, inviterId, onSeat, seatList, microphoneStatus, cameraStatus,
      connected: guests.connected,
      apply: trying(async () => {
        await guests.applyForSeat({ seatIndex: seatIndex.value, timeout: timeout.value });
        waiting.value = true;
      }),
      cancel: trying(async () => {
        await guests.cancelApplication();
        waiting.value = false;
      }),
      accept: trying(async () => {
        await guests.acceptInvitation({ inviterId: inviterId.value });
        inviterId.value = "";
        goLive();
      }),
      reject: trying(async () => {
        await guests.rejectInvitation({ inviterId: inviterId.value });
        inviterId.value = "";
      }),
      leave: trying(() => guests.disConnect()),
    };
  },
  template: `
    <section>
      <input name="seat" type="number" v-model.number="seatIndex">
      <input name="timeout" type="number" v-model.number="timeout">
      <button name="apply" @click="apply">Ask for a seat</button>
      <button name="cancel" @click="cancel">Ask no longer</button>
      <button name="leave" @click="leave">Leave the seat</button>
      <p data-part="standing">{{ onSeat ? "on a seat" : waiting ? "waiting" : "watching" }}</p>
      <p data-part="devices">microphone {{ microphoneStatus }}, camera {{ cameraStatus }}</p>
      <dialog :open="inviterId !== ''">
        {{ inviterId }}
        <button name="accept" @click="accept">Accept</button>
        <button name="reject" @click="reject">Decline</button>
      </dialog>
      <ul data-part="connected"><li v-for="one in connected" :key="one.userId">{{ one.seatIndex }} {{ one.userName }}</li></ul>
      <ol data-part="locked"><li v-for="seat in seatList.filter((one) => one.isLocked)" :key="seat.index">{{ seat.index }}</li></ol>
      <p data-part="failure">{{ failure }}</p>
      <ol data-part="log"><li v-for="line in log">{{ line }}</li></ol>
    </section>
  `,
};
