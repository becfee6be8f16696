// The stage: a tile for every source, the large one first; or the program, one picture of everybody.

import { inWords } from "../words.js";
import { $, h, icon, keyed, set, text } from "./dom.js";
import { arrange } from "./layout.js";
import { Quality } from "./quality.js";
import { tile } from "./tile.js";

const QUALITY_MS = 2_000;

export class StageView {
  #live;
  #stage = null;
  #program = null;
  #opening = null;
  #changes = 0;
  /** Whether the program comes without one's own voice. */
  #minusMe = false;
  #status = null;
  #quality = new Quality();
  #resized = new ResizeObserver(() => this.#measure());
  #count = 0;
  #timer = null;

  constructor(live) {
    this.#live = live;
    this.#resized.observe($("stage"));
    this.#timer = setInterval(() => this.#readQuality(), QUALITY_MS);
    for (const button of $("views").querySelectorAll("button")) {
      button.onclick = () => live.show(button.dataset.view);
    }
    $("program-video").onloadeddata = () => live.render();
  }

  /** What media it has, as `{name, sentence}`; nothing while all is well. */
  get status() {
    return this.#status;
  }

  async close() {
    clearInterval(this.#timer);
    this.#resized.disconnect();
    await Promise.all([this.#stage?.close(), this.#program?.close()]);
    $("program-video").srcObject = null;
    keyed($("tiles"), [], String, () => null);
  }

  /** Connects to what the person wants to see. */
  async open(view) {
    // One after the other: a quick change of mind must not leave two open.
    const before = this.#opening;
    this.#changes += 1;
    this.#opening = this.#change(view, before).finally(() => (this.#changes -= 1));
    await this.#opening;
  }

  async #change(view, before) {
    await before?.catch(() => {});
    const { room } = this.#live;
    const onState = (status) => {
      const trouble = { waiting: "waiting", reconnecting: "reconnecting", failed: "failed" }[status.state];
      this.#status = trouble ? { name: trouble, sentence: status.error ? inWords(status.error) : "" } : null;
      this.#live.render();
    };
    this.#status = null;
    this.#count = -1; // what was hidden had no size
    if (view === "program") {
      await this.#stage?.close();
      this.#stage = null;
      const minusMe = room.state.me.seat !== null;
      if (minusMe !== this.#minusMe) {
        await this.#program?.close();
        this.#program = null;
      }
      this.#minusMe = minusMe;
      this.#program ??= await room.watchProgram($("program-video"), { minusMe, onState });
    } else {
      await this.#program?.close();
      this.#program = null;
      this.#stage ??= await room.watchStage({ onSlots: () => this.#live.render(), onState });
    }
    this.#live.render();
  }

  async #readQuality() {
    const { room } = this.#live;
    await this.#quality.read({ incoming: [this.#stage?.connection], outgoing: room.publication?.connection }).catch(() => {});
    this.#live.render();
  }

  /** Every source that has a tile, the large one first: a shared screen, else the host. */
  #items() {
    const { room, state, ui } = this.#live;
    const speaking = new Set(state.speaking.map((one) => one.seat));
    const items = [];
    for (const seat of state.seats) {
      if (!seat.user) continue;
      // A host who has never been live is no picture yet; the stage says so instead.
      if (seat.seat === 0 && seat.state === "reserved" && state.me.seat !== 0) continue;
      const own = state.me.seat === seat.seat;
      const base = { seat, person: seat.user, own, host: seat.seat === 0, sound: ui.sound, sink: ui.speaker, mirror: ui.mirror };
      base.speaking = speaking.has(seat.seat);
      base.menu = this.#live.seats.can(seat);
      const on = own ? ownDevices(room, seat) : flowing(seat.sources.camera, seat);
      const stream = own ? room.devices.stream : (this.#stage?.stream(seat.seat, "camera") ?? null);
      const quality = own ? this.#quality.own : this.#quality.of(stream);
      items.push({ ...base, source: "camera", stream, on, picture: on.video && Boolean(stream), quality });
      const shared = own ? room.devices.screenStream : seat.sources.screen && (this.#stage?.stream(seat.seat, "screen") ?? null);
      if (!shared) continue;
      items.push({ ...base, source: "screen", stream: shared, on: { audio: true, video: true }, picture: true, quality: null });
    }
    // Screens first, then the host, then seats in order.
    return items.sort((a, b) => (a.source === "screen" ? 0 : 1) - (b.source === "screen" ? 0 : 1) || a.seat.seat - b.seat.seat);
  }

  render() {
    const { state, ui } = this.#live;
    const program = ui.view === "program";
    // On a seat one's own voice would come back as an echo.
    if (program && this.#program && !this.#changes && this.#minusMe !== (state.me.seat !== null)) this.#live.show("program");
    for (const button of $("views").querySelectorAll("button")) {
      set(button, "aria-pressed", String(button.dataset.view === ui.view));
    }
    set($("program"), "hidden", !program);
    set($("tiles"), "hidden", program);
    const video = $("program-video");
    video.muted = !ui.sound;
    const items = program ? [] : this.#items();
    keyed($("tiles"), items, (item) => `${item.seat.seat}-${item.source}-${item.person.user}`, (item) =>
      tile(item, {
        onMenu: (one, button) => this.#live.seats.menu(one.seat.seat, button),
        onBlocked: () => this.#live.soundBlocked(),
      }),
    );
    const nothing = program ? video.readyState < 2 && this.#emptyWords(state, true) : items.length === 0 && this.#emptyWords(state, false);
    set($("empty"), "hidden", !nothing);
    if (nothing) this.#fillEmpty(nothing);
    this.#fit(items.length);
  }

  /** Reading sizes makes the browser lay out at once: only when the number of tiles is another. */
  #fit(count) {
    if (count === this.#count) return;
    this.#count = count;
    this.#measure();
  }

  #emptyWords(state, program) {
    const host = state.host?.name || state.host?.user || "the host";
    if (state.phase === "idle") {
      return { icon: "stage", title: "Not live yet", words: state.me.role === "host" ? "Go live when you are ready: the others see you then." : `Waiting for ${host} to go live.` };
    }
    if (this.#status?.name === "failed") return { icon: "offline", title: "No picture", words: this.#status.sentence };
    if (program) return { icon: "program", title: "The program starts in a moment", words: "One picture with everybody, as the audience gets it." };
    return { icon: "stage", title: "Nobody is on the stage", words: "" };
  }

  #fillEmpty({ icon: picture, title, words }) {
    const box = $("empty");
    if (box.dataset.icon === picture) {
      text(box.children[1], title);
      text(box.children[2], words);
      return;
    }
    box.dataset.icon = picture;
    box.replaceChildren(icon(picture), h("strong", {}, title), h("span", {}, words));
  }

  #measure() {
    const { clientWidth: width, clientHeight: height } = $("stage");
    const { layout, main, side, columns, rows } = arrange(width, height, Math.max(0, this.#count));
    const tiles = $("tiles");
    set(tiles, "data", { layout });
    tiles.style.setProperty("--main", `${main[0]}px`);
    tiles.style.setProperty("--side", `repeat(${columns}, ${side[0]}px)`);
    tiles.style.setProperty("--rows", rows);
    tiles.style.setProperty("--main-height", `${main[1]}px`);
    tiles.style.setProperty("--side-width", `${side[0]}px`);
    tiles.style.setProperty("--side-height", `${side[1]}px`);
  }
}

/** What of one's own devices others get. */
function ownDevices(room, seat) {
  const { microphone, camera } = room.devices.state;
  return {
    audio: microphone.status === "open" && !microphone.muted && !seat.audio_muted && !seat.audio_locked,
    video: camera.status === "open" && !camera.muted,
  };
}

function flowing(source, seat) {
  const state = (kind) => source?.[`${kind}_state`] ?? (source?.[kind] ? "on" : "off");
  const on = (kind) => state(kind) === "on" && !seat[`${kind}_muted`] && !seat[`${kind}_locked`];
  return { audio: on("audio"), video: on("video") };
}
