// The panel with its tabs: beside the stage where there is room, else a sheet from below that holds the focus.

import { $, set } from "./dom.js";

const WIDE = matchMedia("(min-width: 860px)");
const TABS = ["requests", "people", "settings"];

export class Panel {
  #live;
  #tab = "people";
  #onWidth = () => this.#place();

  constructor(live) {
    this.#live = live;
    WIDE.addEventListener("change", this.#onWidth);
    for (const tab of TABS) $(`tab-${tab}`).onclick = () => this.choose(tab);
    $("tabs").onkeydown = (event) => this.#walk(event);
    $("panel-close").onclick = () => this.toggle(false);
    $("panel").onclose = () => this.#closed();
    // A touch beside the sheet closes it.
    $("panel").onclick = (event) => {
      // Without a value: `false` would keep what is in the panel from being checked.
      if (event.target === $("panel") && $("panel").matches(":modal")) this.toggle(false);
    };
  }

  static get wide() {
    return WIDE.matches;
  }

  close() {
    WIDE.removeEventListener("change", this.#onWidth);
    if ($("panel").open) $("panel").close();
    delete $("live").dataset.panel;
  }

  toggle(open, tab) {
    this.#live.ui.panel = open;
    if (tab) this.choose(tab);
    this.#place();
    if (open && !WIDE.matches) $(`tab-${this.#tab}`).focus();
    this.#live.render();
  }

  choose(tab) {
    this.#tab = tab;
    this.render();
  }

  /** Open as a part of the page, as a sheet, or not at all. */
  #place() {
    const panel = $("panel");
    const { panel: open } = this.#live.ui;
    if (panel.open && (!open || panel.matches(":modal") === WIDE.matches)) {
      panel.onclose = null;
      panel.close();
    }
    if (open && !panel.open) {
      // `show()` would take the focus; a part of the page has no claim to it.
      if (WIDE.matches) panel.setAttribute("open", "");
      else panel.showModal();
    }
    panel.onclose = () => this.#closed();
    set($("live"), "data", { panel: open && WIDE.matches });
  }

  #closed() {
    this.#live.ui.panel = false;
    delete $("live").dataset.panel;
    this.#live.render();
  }

  #walk(event) {
    const shown = TABS.filter((tab) => !$(`tab-${tab}`).hidden);
    const at = shown.indexOf(this.#tab);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.choose(shown[(to + shown.length) % shown.length]);
    $(`tab-${this.#tab}`).focus();
  }

  render() {
    const { runs } = this.#live;
    $("tab-requests").hidden = !runs;
    if (!runs && this.#tab === "requests") this.#tab = "people";
    for (const tab of TABS) {
      const chosen = tab === this.#tab;
      set($(`tab-${tab}`), "aria-selected", String(chosen));
      set($(`tab-${tab}`), "tabIndex", chosen ? 0 : -1);
      set($(`pane-${tab}`), "hidden", !chosen);
    }
  }
}
