// The bar at the bottom: what one does oneself.

import { $, h, icon, keyed, reicon, set, text, update } from "./dom.js";

export class Controls {
  #live;

  constructor(live) {
    this.#live = live;
    $("controls").onkeydown = (event) => this.#walk(event);
  }

  render() {
    const buttons = this.#all().filter(Boolean);
    keyed($("controls"), buttons, (one) => one.id, control);
  }

  /** In a toolbar arrow keys move as well. */
  #walk(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const all = [...$("controls").querySelectorAll("button:not(:disabled)")];
    const at = all.indexOf(document.activeElement);
    if (at < 0) return;
    event.preventDefault();
    all[(at + step + all.length) % all.length].focus();
  }

  #all() {
    const { state, runs, ui } = this.#live;
    const seated = state.me.seat !== null;
    const sending = Boolean(this.#live.room.publication);
    const host = state.me.role === "host";
    return [
      host && !sending && { id: "go", icon: "program", word: "Go live", kind: "primary", run: () => this.#live.goLive() },
      seated && (!host || sending) && this.#microphone(),
      seated && (!host || sending) && this.#camera(),
      seated && (!host || sending) && this.#screen(),
      !seated && !host && this.#seat(),
      !seated && {
        id: "sound",
        icon: ui.sound ? "sound" : "sound-off",
        word: ui.sound ? "Sound on" : "Sound off",
        label: ui.sound ? "switch it off" : "switch it on",
        run: () => this.#live.setSound(!ui.sound),
      },
      {
        id: "panel",
        icon: runs ? "inbox" : "people",
        word: runs ? "Requests" : "People",
        badge: runs ? state.applications.length : 0,
        label: runs ? `Requests and people, ${state.applications.length} waiting` : "People and settings",
        expanded: ui.panel,
        run: () => this.#live.togglePanel(runs && state.applications.length ? "requests" : undefined),
      },
      seated && !host && { id: "leave", icon: "hangup", word: "Leave seat", kind: "danger", run: () => this.#live.leaveSeat() },
      host && { id: "end", icon: "hangup", word: "End live", kind: "danger", run: () => this.#live.endLive() },
    ];
  }

  #microphone() {
    const { room, state } = this.#live;
    const seat = state.seats[state.me.seat];
    const { status, muted, error } = room.devices.state.microphone;
    const base = { id: "microphone", label: "switch the microphone on", icon: "mic-off", tone: "off" };
    if (seat?.audio_locked) return { ...base, icon: "lock", word: "Locked", disabled: true, label: "a host has locked your microphone" };
    if (status === "opening") return { ...base, word: "Opening…", disabled: true };
    if (status === "closed") return { ...base, word: error ? "Blocked" : "Mic off", run: () => this.#live.device("microphone", true) };
    if (muted || seat?.audio_muted) return { ...base, word: "Muted", label: "unmute the microphone", run: () => this.#live.run(() => room.unmute()) };
    return { ...base, icon: "mic", tone: "", word: "Mic on", label: "mute the microphone", run: () => this.#live.run(() => room.mute()) };
  }

  #camera() {
    const { room, state } = this.#live;
    const seat = state.seats[state.me.seat];
    const { status, error } = room.devices.state.camera;
    const base = { id: "camera", label: "switch the camera on", icon: "camera-off", tone: "off" };
    if (seat?.video_locked) return { ...base, icon: "lock", word: "Locked", disabled: true, label: "a host has locked your camera" };
    if (status === "opening") return { ...base, word: "Opening…", disabled: true };
    if (status === "closed") return { ...base, word: error ? "Blocked" : "Camera off", run: () => this.#live.device("camera", true) };
    if (seat?.video_muted) return { ...base, word: "Stopped", label: "show the camera again", run: () => this.#live.run(() => room.unmuteCamera()) };
    return { ...base, icon: "camera", tone: "", word: "Camera on", label: "switch the camera off", run: () => this.#live.device("camera", false) };
  }

  #screen() {
    // Phones have no screen to share, and say so by not having the call.
    if (!navigator.mediaDevices?.getDisplayMedia) return null;
    const { room } = this.#live;
    const on = room.devices.state.screen.status === "open";
    return {
      id: "screen",
      icon: "screen",
      word: on ? "Stop sharing" : "Share",
      label: on ? "your screen" : "your screen with everybody",
      tone: on ? "on" : "",
      run: () => this.#live.shareScreen(!on),
    };
  }

  /** For who has no seat. */
  #seat() {
    const { state, room, runs } = this.#live;
    if (state.settings.seat_mode === "external") return null;
    const waits = this.#live.cooldownMs();
    if (state.me.application) {
      return { id: "ask", icon: "hand", word: "Withdraw", tone: "on", run: () => this.#live.run(() => room.cancelApplication(), "Your request is withdrawn.") };
    }
    const free = state.settings.seat_mode === "free" || runs;
    const word = waits ? `In ${Math.ceil(waits / 1_000)} s` : free ? "Take a seat" : "Ask to join";
    return { id: "ask", icon: "hand", word, kind: "primary", disabled: waits > 0, run: () => this.#live.apply() };
  }
}

function control(first) {
  let current = first;
  const picture = icon(first.icon);
  const badge = h("span", { class: "pill", hidden: true, "aria-hidden": "true" });
  const word = h("span", { class: "word" });
  const element = h("button", { type: "button", onclick: () => current.run?.() }, h("span", { class: "face" }, picture), badge, word);
  return {
    element,
    update(next) {
      current = next;
      reicon(picture, next.icon);
      text(word, next.word);
      set(badge, "hidden", !next.badge);
      text(badge, String(next.badge ?? ""));
      update(element, {
        class: `control ${next.kind ?? ""}`,
        data: { control: next.id, tone: next.tone || null },
        disabled: Boolean(next.disabled),
        "aria-expanded": next.expanded === undefined ? null : String(next.expanded),
        // What is read begins with what is seen.
        "aria-label": next.label ? `${next.word}: ${next.label}` : null,
      });
    },
  };
}
