// What lies over the page: toasts, dialogs, and menus for mouse, touch and keyboard.

import { $, h, icon } from "./dom.js";

const TOAST_MS = 5_000; // long enough to read a sentence twice
const TOASTS = 3; // more at once hide the stage

/** Says what has happened, in sight and to screen readers. */
export function toast(sentence, tone = "idle") {
  // What is outside an open modal dialog is inert, and would not be read.
  const place = document.querySelector("dialog:modal [data-toasts]") ?? $("toasts");
  const element = h("p", { class: "toast", data: { tone } }, sentence);
  place.append(element);
  while (place.children.length > TOASTS) place.firstElementChild.remove();
  setTimeout(() => element.remove(), TOAST_MS);
}

/** Says something to screen readers alone, at once. */
export function say(sentence) {
  $("say").textContent = "";
  setTimeout(() => ($("say").textContent = sentence), 50);
}

/**
 * A modal dialog; resolves with the `value` of the button that closed it, or `null`. `fields` are elements between text
 * and buttons. A button: `{word, value, kind}`.
 */
export function ask({ title, text, fields = [], buttons, onClose }) {
  return new Promise((resolve) => {
    const id = `dialog-${Math.random().toString(36).slice(2)}`;
    const dialog = h("dialog", { class: "dialog", "aria-labelledby": id });
    const form = h("form", { method: "dialog", class: "choices" });
    form.append(
      h("h2", { id }, title),
      ...(text ? [h("p", {}, text)] : []),
      ...fields,
      h(
        "div",
        { class: "buttons" },
        buttons.map(({ word, value, kind, cancel }) =>
          h("button", { class: kind ?? "", value, formNoValidate: Boolean(cancel), data: { cancel } }, word),
        ),
      ),
      h("div", { class: "toasts", data: { toasts: "" }, role: "status", "aria-live": "polite" }),
    );
    dialog.append(form);
    // Enter in a field means the first button that does something.
    const main = form.querySelector("button:not([data-cancel])");
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.target.matches("input")) return;
      event.preventDefault();
      main?.click();
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close(""));
    dialog.addEventListener("close", () => {
      dialog.remove();
      onClose?.(dialog.returnValue || null);
      resolve(dialog.returnValue || null);
    });
    (document.querySelector("dialog:modal") ?? document.body).append(dialog);
    dialog.showModal();
    dialog.cancelled = () => dialog.close("");
    ask.open = dialog;
  });
}

/** Yes or no to something that can't be undone. */
export async function confirm(title, text, word, kind = "danger", fields = []) {
  const buttons = [
    { word, value: "yes", kind },
    { word: "Cancel", value: "", cancel: true },
  ];
  return (await ask({ title, text, fields, buttons })) === "yes";
}

/**
 * A menu at `opener`. An item: `{word, icon, run, tone}`, `{word, icon, items}` for a list of its own, or `"-"` for a
 * line. Arrow keys, Home, End and letters move; Escape closes.
 */
export function menu(opener, title, items) {
  const element = h("div", { class: "menu", role: "menu", popover: "auto", "aria-label": title });
  // A popover outside an open modal dialog would be inert.
  (opener.closest("dialog") ?? document.body).append(element);
  fill(element, opener, title, items);
  element.addEventListener("keydown", (event) => walk(event, element));
  element.addEventListener("toggle", (event) => {
    if (event.newState !== "closed") return;
    opener.setAttribute("aria-expanded", "false");
    const inside = element.contains(document.activeElement) || document.activeElement === document.body;
    element.remove();
    if (inside && opener.isConnected) opener.focus();
  });
  opener.setAttribute("aria-expanded", "true");
  element.showPopover();
  place(element, opener);
  first(element)?.focus();
}

function fill(element, opener, title, items, back) {
  const close = () => element.hidePopover();
  const rows = items.map((item) => {
    if (item === "-") return h("hr", { role: "separator" });
    const { word, icon: picture, tone, run, items: inner } = item;
    const props = { type: "button", role: "menuitem", tabIndex: -1, data: { tone } };
    if (inner) props["aria-haspopup"] = "menu";
    const button = h("button", props, picture && icon(picture), word);
    button.addEventListener("click", () => {
      if (!inner) {
        close();
        run();
        return;
      }
      fill(element, opener, word, inner, () => fill(element, opener, title, items, back));
      place(element, opener);
      first(element)?.focus();
    });
    return button;
  });
  if (back) {
    const button = h("button", { type: "button", role: "menuitem", tabIndex: -1 }, icon("leave"), "Back");
    button.addEventListener("click", () => {
      back();
      place(element, opener);
      first(element)?.focus();
    });
    rows.push(h("hr", { role: "separator" }), button);
  }
  element.replaceChildren(h("p", { class: "menu-title", role: "presentation" }, title), ...rows);
}

const entries = (element) => [...element.querySelectorAll('[role="menuitem"]')];
const first = (element) => entries(element)[0];

function walk(event, element) {
  const all = entries(element);
  const at = all.indexOf(document.activeElement);
  const to = {
    ArrowDown: (at + 1) % all.length,
    ArrowUp: (at - 1 + all.length) % all.length,
    Home: 0,
    End: all.length - 1,
  }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    all[to].focus();
  } else if (event.key === "Tab") {
    element.hidePopover();
  } else if (event.key.length === 1 && /\S/.test(event.key)) {
    const rest = [...all.slice(at + 1), ...all.slice(0, at + 1)];
    rest.find((one) => one.textContent.toLowerCase().startsWith(event.key.toLowerCase()))?.focus();
  }
}

/** Under its button, or above it, and within the window; on phones the style sheet puts it at the bottom. */
function place(element, opener) {
  const from = opener.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = element;
  const below = from.bottom + 6 + height <= innerHeight;
  const left = Math.min(Math.max(8, from.right - width), innerWidth - width - 8);
  const top = below ? from.bottom + 6 : Math.max(8, from.top - 6 - height);
  element.style.left = `${left}px`;
  element.style.top = `${Math.min(top, innerHeight - height - 8)}px`;
}
