// Who decides: answers those who ask, asks others, and keeps order on the seats.

import { computed, ref, watch } from "vue";
import { CoHostEvent, useCoGuestState, useLiveSeatState } from "costage";
import { useLog } from "./log.js";

export const HostPanel = {
  setup() {
    const guests = useCoGuestState();
    const { seatList, kickUserOutOfSeat, lockSeat, unlockSeat } = useLiveSeatState();
    const { applicants, invitees, candidates, connected } = guests;
    const timeout = ref(30);
    const seatIndex = ref(-1);
    // Derived and watched as Vue does with any other ref.
    const free = computed(() => seatList.value.filter((seat) => !seat.userInfo && !seat.isLocked).length);
    const most = ref(0);
    watch(applicants, (now) => (most.value = Math.max(most.value, now.length)));

    const { log, failure, trying } = useLog(guests, {
      [CoHostEvent.onGuestApplicationReceived]: ({ guestUser }) => guestUser.userName,
      [CoHostEvent.onGuestApplicationCancelled]: ({ guestUser }) => guestUser.userName,
      [CoHostEvent.onGuestApplicationProcessedByOtherHost]: ({ guestUser, hostUser }) => `${guestUser.userName} ${hostUser.userName}`,
      [CoHostEvent.onHostInvitationResponded]: ({ isAccept, guestUser, inviterId }) => `${isAccept} ${guestUser.userName} ${inviterId}`,
      [CoHostEvent.onHostInvitationNoResponse]: ({ guestUser, reason }) => `${guestUser.userName} ${reason}`,
    });

    return {
      log, failure, timeout, seatIndex, applicants, invitees, candidates, connected, seatList, free, most,
      accept: trying((userId) => guests.acceptApplication({ userId })),
      reject: trying((userId) => guests.rejectApplication({ userId })),
      invite: trying((userId) => guests.inviteToSeat({ userId, seatIndex: seatIndex.value, timeout: timeout.value })),
      withdraw: trying((inviteeId) => guests.cancelInvitation({ inviteeId })),
      kick: trying((userId) => kickUserOutOfSeat({ userId })),
      lock: trying(({ index, isLocked }) => (isLocked ? unlockSeat : lockSeat)({ seatIndex: index })),
    };
  },
  template: `
    <section>
      <input name="seat" type="number" v-model.number="seatIndex">
      <input name="timeout" type="number" v-model.number="timeout">
      <p data-part="applicants-count">{{ applicants.length }} of {{ most }}</p>
      <ul data-part="applicants">
        <li v-for="one in applicants" :key="one.userId" :data-user="one.userId">
          <span>{{ one.userName }}</span>
          <button name="accept" @click="accept(one.userId)">Accept</button>
          <button name="reject" @click="reject(one.userId)">Decline</button>
        </li>
      </ul>
      <ul data-part="candidates">
        <li v-for="one in candidates" :key="one.userId" :data-user="one.userId">
          <span>{{ one.userName }}</span> <button name="invite" @click="invite(one.userId)">Invite</button>
        </li>
      </ul>
      <ul data-part="invitees">
        <li v-for="one in invitees" :key="one.userId" :data-user="one.userId">
          <span>{{ one.userName }}</span> <button name="withdraw" @click="withdraw(one.userId)">Withdraw</button>
        </li>
      </ul>
      <ul data-part="connected">
        <li v-for="one in connected" :key="one.userId" :data-user="one.userId">
          <span>{{ one.seatIndex }} {{ one.userName }} {{ one.microphoneStatus }}{{ one.cameraStatus }}</span>
          <button name="kick" @click="kick(one.userId)">Remove</button>
        </li>
      </ul>
      <p data-part="free">{{ free }}</p>
      <ol data-part="seats">
        <li v-for="seat in seatList" :key="seat.index" :data-seat="seat.index">
          <span>{{ seat.index }} {{ seat.isLocked ? "locked" : (seat.userInfo?.userId ?? "empty") }}</span>
          <button name="lock" @click="lock(seat)">{{ seat.isLocked ? "Unlock" : "Lock" }}</button>
        </li>
      </ol>
      <p data-part="failure">{{ failure }}</p>
      <ol data-part="log"><li v-for="line in log">{{ line }}</li></ol>
    </section>
  `,
};
