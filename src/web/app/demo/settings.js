// The tab of settings: one's own devices, the link to the room, and for hosts how guests get to a seat and where the
// program shows them.

import { toast } from "./dialog.js";
import { $, h, icon, set, text } from "./dom.js";

const TEMPLATES = [
  { value: "grid", word: "Grid", about: "Everybody the same size" },
  { value: "float", word: "Floating", about: "The host large, guests small on top" },
  { value: "screen", word: "Screen", about: "A shared screen large, people beside it" },
];

export class Settings {
  #live;
  #program;
  #templates;
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
    this.#templates = picker("Layout", "template", TEMPLATES, (template) => this.#arrange(template));
    this.#program = h("section", { class: "settings" }, h("h3", {}, "The program's picture"), this.#templates.element);
    this.#room = h("section", { class: "settings" }, h("h3", {}, "Seats"), this.#mode.element, this.#guests.element);
    const link = h("button", { type: "button", onclick: () => this.#copy() }, icon("link"), "Copy the link to this room");
    $("pane-settings").replaceChildren(
      this.#room,
      this.#program,
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
    set(this.#program, "hidden", !mayArrange(state));
    const { template } = state.settings.layout;
    const own = template === "custom" ? "Now a layout of its own is in force, which this page can't draw. Another choice replaces it." : "";
    this.#templates.show(template, own);
  }

  /** What else there is of a layout stays: colours, images, watermarks, volumes. */
  #arrange(template) {
    const { tiles, ...layout } = this.#live.state.settings.layout;
    this.#live.run(() => this.#live.room.setLayout({ ...layout, template }));
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

/** The host, and co-hosts if the room lets them. */
function mayArrange({ me, settings }) {
  if (me.role === "admin") return settings.policies.admin_may?.includes("layout") ?? false;
  return me.role === "host" || me.role === "service";
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

/** One of a few, each with a picture: `options` as `{value, word, about}`. */
function picker(label, group, options, onChoose) {
  const radio = ({ value, word, about }) => {
    const input = h("input", { type: "radio", name: group, value, onchange: () => onChoose(value) });
    const words = h("span", {}, h("strong", {}, word), h("span", {}, about));
    return { input, element: h("label", { class: "role" }, input, icon(`layout-${value}`), words) };
  };
  const radios = options.map(radio);
  const hint = h("p", { class: "hint", role: "status" });
  const element = h("fieldset", { class: "roles" }, h("legend", {}, label), ...radios.map((one) => one.element), hint);
  return {
    element,
    show(chosen, words) {
      for (const { input } of radios) set(input, "checked", input.value === chosen);
      text(hint, words);
    },
  };
}

function toggle(label, onToggle) {
  const input = h("input", { type: "checkbox", role: "switch", onchange: () => onToggle(input.checked) });
  const words = h("span");
  text(words, label);
  return { element: h("label", { class: "switch" }, words, input), show: (on) => set(input, "checked", on) };
}
