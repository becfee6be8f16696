// What happens to oneself, one card each: waiting, invited, muted, reconnecting. A card says what it is and what can be done.

import { inWords, seconds } from "../words.js";
import { say } from "./dialog.js";
import { $, h, icon, keyed, name, reicon, set, text } from "./dom.js";
import { deviceTrouble } from "./devices.js";

export class Cards {
  #live;
  #said = new Set();

  constructor(live) {
    this.#live = live;
  }

  render() {
    const cards = this.#all();
    keyed($("cards"), cards, (card) => card.id, card);
    for (const one of cards) {
      if (this.#said.has(one.id)) continue;
      say(`${one.title} ${one.text ?? ""}`);
    }
    this.#said = new Set(cards.map((one) => one.id));
  }

  /** Most pressing first. A card: `{id, icon, tone, title, text, actions: [{word, kind, run}], from, until}`. */
  #all() {
    const live = this.#live;
    const { state } = live;
    const cards = [
      ...this.#connection(),
      ...this.#invitation(),
      ...this.#application(),
      ...live.notices(),
      ...(state.me.seat === null ? [] : this.#seat(state.seats[state.me.seat])),
      ...this.#host(),
    ];
    return cards.filter(Boolean);
  }

  #connection() {
    const { state, stage, room, soundIsBlocked } = this.#live;
    const cards = [];
    if (state.connection !== "online") {
      const seat = state.me.seat === null ? "" : " Your seat is kept for a while.";
      cards.push({ id: "connection", icon: "offline", tone: "warn", title: "Reconnecting…", text: `The line to the server is broken.${seat}` });
    }
    const media = room.publication;
    if (state.connection === "online" && media?.state === "reconnecting") {
      cards.push({ id: "publication", icon: "offline", tone: "warn", title: "Your camera is reconnecting", text: "The others do not see or hear you at the moment. Your seat is kept for a while." });
    }
    if (media?.state === "failed") {
      const again = { word: "Try again", kind: "primary", run: () => this.#live.run(() => room.publish()) };
      cards.push({ id: "publication", icon: "offline", tone: "bad", title: "You are not sending", text: media.error ? inWords(media.error) : "", actions: [again] });
    }
    if (state.connection === "online" && stage.status?.name === "reconnecting") {
      cards.push({ id: "stage", icon: "offline", tone: "warn", title: "The pictures are reconnecting…", text: stage.status.sentence });
    }
    if (soundIsBlocked) {
      cards.push({ id: "sound", icon: "sound-off", title: "The sound is off", text: "The browser waits for a click.", actions: [{ word: "Play the sound", kind: "primary", run: () => this.#live.unblockSound() }] });
    }
    return cards;
  }

  #invitation() {
    const { invitation } = this.#live.state.me;
    if (!invitation) return [];
    const where = invitation.seat > 0 ? `to seat ${invitation.seat}` : "to the stage";
    return [
      {
        id: `invitation-${invitation.id}`,
        icon: "invite",
        tone: "good",
        title: `${name(invitation.by)} invites you ${where}`,
        text: (ms) => `Nothing of you is seen or heard before you accept. ${seconds(ms)} left.`,
        ...span(invitation),
        actions: [
          { word: "Accept", kind: "primary", run: () => this.#live.acceptInvitation(invitation) },
          { word: "Decline", run: () => this.#live.run(() => this.#live.room.rejectInvitation({ request: invitation.id })) },
        ],
      },
    ];
  }

  #application() {
    const { application } = this.#live.state.me;
    if (!application) return [];
    const what = application.media === "audio" ? "with microphone only" : "with camera and microphone";
    const where = application.seat > 0 ? `seat ${application.seat}` : "a seat";
    const full = this.#live.full() ? " All seats are taken at the moment; you may get the next one." : "";
    return [
      {
        id: `application-${application.id}`,
        icon: "hand",
        title: `You have asked for ${where}`,
        text: (ms) => `Waiting for the host, ${what}. ${seconds(ms)} left.${full}`,
        ...span(application),
        actions: [{ word: "Withdraw", run: () => this.#live.run(() => this.#live.room.cancelApplication(), "Your request is withdrawn.") }],
      },
    ];
  }

  /** What one's own seat has to say. */
  #seat(seat) {
    if (!seat) return [];
    const { room, mutedBy } = this.#live;
    const { microphone, camera } = room.devices.state;
    const cards = [];
    const failed = Object.entries({ microphone, camera }).filter(([, one]) => one.status === "closed" && deviceTrouble("camera", one.error));
    if (failed.length) {
      const names = failed.map(([device]) => device).join(" and ");
      const open = async () => {
        for (const [device] of failed) await (device === "camera" ? room.devices.openCamera() : room.devices.openMicrophone()).catch(() => {});
      };
      const keeps = seat.seat === 0 ? "You stay live without." : "You keep your seat.";
      cards.push({
        id: `device-${names}`,
        icon: camera.error ? "camera-off" : "mic-off",
        tone: "warn",
        title: `No ${names}`,
        text: `${deviceTrouble(names, failed[0][1].error)} ${keeps}`,
        actions: [{ word: "Try again", kind: "primary", run: open }],
      });
    }
    const locks = [seat.audio_locked && "microphone", seat.video_locked && "camera"].filter(Boolean);
    if (locks.length) {
      cards.push({ id: `locked-${locks.join()}`, icon: "lock", tone: "warn", title: `A host has locked your ${locks.join(" and ")}`, text: "You can't switch it on until it is unlocked." });
    }
    if (seat.audio_muted && !seat.audio_locked && mutedBy.audio) {
      const unmute = { word: "Unmute", kind: "primary", run: () => this.#live.run(() => room.unmute()) };
      cards.push({ id: "muted-audio", icon: "mic-off", tone: "warn", title: `${mutedBy.audio} has muted you`, text: "The others do not hear you. You may unmute.", actions: [unmute] });
    }
    if (seat.video_muted && !seat.video_locked && mutedBy.video) {
      const unmute = { word: "Show it again", kind: "primary", run: () => this.#live.run(() => room.unmuteCamera()) };
      cards.push({ id: "muted-video", icon: "camera-off", tone: "warn", title: `${mutedBy.video} has stopped your camera`, text: "The others do not see you. You may start it again.", actions: [unmute] });
    }
    if (microphone.status !== "open" && camera.status !== "open" && !cards.length && room.publication?.state === "live") {
      cards.push({ id: "silent", icon: "mic-off", title: "Camera and microphone are off", text: "You are on the stage; switch on what you like." });
    }
    return cards;
  }

  #host() {
    const { state } = this.#live;
    if (state.me.role === "host" && !this.#live.room.publication) {
      const go = { word: "Go live", kind: "primary", run: () => this.#live.goLive() };
      const away = state.phase === "host_away" ? "The others wait for you." : "The others see you as soon as you go live.";
      return [{ id: "go", icon: "program", title: "You are not live", text: away, actions: [go] }];
    }
    if (state.phase !== "host_away") return [];
    const seat = state.seats[0];
    const back = (ms) => (ms > 0 ? `The live goes on for ${seconds(ms)} without the host.` : "The guests stay on the stage.");
    return [{ id: "host-away", icon: "clock", tone: "warn", title: "The host is away", text: back, until: seat?.until_ms ?? 0 }];
  }
}

/** How long a request lasts in all is the server's to say, when it ends is on this machine's clock. */
export function span(request) {
  const whole = Date.parse(request.expires_at) - Date.parse(request.created_at);
  return { from: request.expires_ms - whole, until: request.expires_ms };
}

function card(first) {
  const picture = icon(first.icon);
  const [title, words] = [h("strong"), h("span")];
  const actions = h("div", { class: "card-actions" });
  const progress = h("progress", { max: 1, value: 0, hidden: true, "aria-hidden": "true" });
  const element = h("div", { class: "card", role: "group" }, picture, h("div", { class: "card-text" }, title, words), actions, progress);
  let current = first;
  return {
    element,
    update(next) {
      current = next;
      const { tone = "idle", until, from } = next;
      const left = Math.max(0, (until ?? 0) - Date.now());
      reicon(picture, next.icon);
      set(element, "data", { tone, card: next.id });
      set(element, "aria-label", next.title);
      text(title, next.title);
      text(words, typeof next.text === "function" ? next.text(left) : (next.text ?? ""));
      const timed = until > 0 && from > 0 && until > from;
      set(progress, "hidden", !timed);
      if (timed) set(progress, "value", Math.min(1, left / (until - from)));
      const list = next.actions ?? [];
      const signature = list.map((one) => `${one.word}/${one.kind}`).join();
      if (actions.dataset.signature === signature) return;
      actions.dataset.signature = signature;
      actions.replaceChildren(
        ...list.map((one, index) => h("button", { type: "button", class: `small ${one.kind ?? ""}`, onclick: () => current.actions?.[index]?.run() }, one.word)),
      );
    },
  };
}
