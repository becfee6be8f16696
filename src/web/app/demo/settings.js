// The tab of settings: one's own devices, the link to the room, and for hosts how guests get to a seat.

import { toast } from "./dialog.js";
import { $, h, icon, set, text } from "./dom.js";

export class Settings {
  #live;
  #camera;
  #microphone;
  #speaker;
  #mirror;
  #room;
  #mode;
  #guests;

  constructor(live) {
    this.#live = live;
    const { devices } = live.room;
    this.#camera = choice("Camera", (id) => live.run(() => devices.switchCamera(id)));
    this.#microphone = choice("Microphone", (id) => live.run(() => devices.switchMicrophone(id)));
    this.#speaker = choice("Speaker", (id) => live.setSpeaker(id));
    this.#mirror = toggle("Show me as in a mirror", (on) => live.setMirror(on));
    this.#mode = toggle("Guests ask before they sit down", (on) => this.#change({ seat_mode: on ? "apply" : "free" }));
    this.#guests = choice("Guest seats", (count) => this.#change({ max_guests: Number(count) }));
    this.#room = h("section", { class: "settings" }, h("h3", {}, "Seats"), this.#mode.element, this.#guests.element);
    const link = h("button", { type: "button", onclick: () => this.#copy() }, icon("link"), "Copy the link to this room");
    $("pane-settings").replaceChildren(
      this.#room,
      h("section", { class: "settings" }, h("h3", {}, "Your devices"), this.#camera.element, this.#microphone.element, this.#speaker.element, this.#mirror.element),
      h("section", { class: "settings" }, h("h3", {}, "Invite people"), h("p", { class: "hint" }, "Whoever has the link can watch, and ask for a seat."), link),
    );
    // Names of devices are known once one was opened.
    devices.refresh().catch(() => {});
  }

  render() {
    // Nobody sees it otherwise, and lists of devices are long.
    if ($("pane-settings").hidden || !$("panel").open) return;
    const { state, runs, room, ui } = this.#live;
    const { camera, microphone, cameras, microphones, speakers } = room.devices.state;
    this.#camera.fill(named(cameras, "Camera"), camera.deviceId);
    this.#microphone.fill(named(microphones, "Microphone"), microphone.deviceId);
    this.#speaker.fill(named(speakers, "Speaker"), ui.speaker ?? "default");
    this.#mirror.show(ui.mirror);
    const { seat_mode: mode, max_guests: most } = state.settings;
    set(this.#room, "hidden", !runs || mode === "external");
    this.#mode.show(mode === "apply");
    const counts = Array.from({ length: Math.max(9, most) + 1 }, (_, count) => [String(count), String(count)]);
    this.#guests.fill(counts, String(most));
  }

  #change(settings) {
    this.#live.run(() => this.#live.room.updateSettings(settings));
  }

  async #copy() {
    const url = new URL("/demo", location.href);
    url.searchParams.set("room", this.#live.state.id);
    try {
      await navigator.clipboard.writeText(url.href);
      toast("The link is copied.", "good");
    } catch {
      toast(url.href);
    }
  }
}

const named = (devices, kind) => devices.map((one, index) => [one.deviceId, one.label || `${kind} ${index + 1}`]);

function choice(label, onChoose) {
  const select = h("select", { onchange: () => onChoose(select.value) });
  const element = h("label", { class: "field" }, label, select);
  return {
    element,
    /** `options` as `[value, word]`. */
    fill(options, chosen) {
      set(element, "hidden", options.length === 0);
      const signature = JSON.stringify(options);
      if (select.dataset.options !== signature) {
        select.dataset.options = signature;
        select.replaceChildren(...options.map(([value, word]) => h("option", { value }, word)));
      }
      const known = options.some(([value]) => value === chosen);
      if (document.activeElement !== select || known) select.value = known ? chosen : (options[0]?.[0] ?? "");
    },
  };
}

function toggle(label, onToggle) {
  const input = h("input", { type: "checkbox", role: "switch", onchange: () => onToggle(input.checked) });
  const words = h("span");
  text(words, label);
  return { element: h("label", { class: "switch" }, words, input), show: (on) => set(input, "checked", on) };
}
