// The tab of requests: who asks for a seat, and who is invited.

import { seconds } from "../words.js";
import { span } from "./cards.js";
import { ask, menu } from "./dialog.js";
import { $, face, h, icon, keyed, name, reface, set, text, update } from "./dom.js";

export class Requests {
  #live;
  #applications = h("div", { class: "rows" });
  #invitations = h("div", { class: "rows" });
  #invited;
  #nothing;

  constructor(live) {
    this.#live = live;
    this.#invited = h("section", { hidden: true }, h("h3", {}, "Invited"), this.#invitations);
    this.#nothing = h("div", { class: "nothing" }, icon("inbox"), h("strong", {}, "No requests"), h("p", {}, "When somebody in the audience asks for a seat, you accept or decline it here."));
    $("pane-requests").replaceChildren(h("section", { "aria-label": "Requests" }, this.#nothing, this.#applications), this.#invited);
  }

  render() {
    const { state, runs } = this.#live;
    const { applications, invitations } = runs ? state : { applications: [], invitations: [] };
    set(this.#nothing, "hidden", applications.length > 0);
    set(this.#invited, "hidden", invitations.length === 0);
    set($("requests-count"), "hidden", applications.length === 0);
    text($("requests-count"), String(applications.length));
    keyed(this.#applications, applications, (one) => one.id, (one) => this.#application(one));
    keyed(this.#invitations, invitations, (one) => one.id, (one) => this.#invitation(one));
  }

  #application(first) {
    let request = first;
    const row = frame(first.guest, "row request");
    const { room } = this.#live;
    const of = () => ({ request: request.id });
    const accept = (seat) => this.#live.run(() => room.acceptApplication(request.guest.user, { ...of(), seat }));
    const reject = (reason) => this.#live.run(() => room.rejectApplication(request.guest.user, { ...of(), reason }));
    const yes = h("button", { type: "button", class: "primary small", onclick: () => accept() }, icon("check"), "Accept");
    const no = h("button", { type: "button", class: "small", onclick: () => reject() }, icon("close"), "Decline");
    const more = h("button", { type: "button", class: "quiet square", "aria-haspopup": "menu", "aria-expanded": "false" }, icon("more"));
    more.addEventListener("click", () => {
      const free = this.#live.state.seats.filter((seat) => seat.seat > 0 && !seat.user && !seat.locked);
      const seats = free.map((seat) => ({ word: `Seat ${seat.seat}`, icon: "check", run: () => accept(seat.seat) }));
      const items = [{ word: "Decline with a reason", icon: "close", run: () => this.#why(request, reject) }];
      if (seats.length) items.unshift({ word: "Accept to a seat", icon: "check", items: seats });
      menu(more, name(request.guest), items);
    });
    row.side.append(more);
    row.element.append(h("div", { class: "decide" }, yes, no));
    return {
      element: row.element,
      update: (next) => {
        request = next;
        const who = name(next.guest);
        row.who(next.guest);
        const what = next.media === "audio" ? "Microphone only" : "Camera + microphone";
        text(row.words, `${what}${next.seat > 0 ? ` · seat ${next.seat}` : ""}. Waiting for ${waited(next)}, ${left(next)} left`);
        set(yes, "aria-label", `Accept ${who}`);
        set(no, "aria-label", `Decline ${who}`);
        set(more, "aria-label", `More about the request of ${who}`);
        row.time(next);
      },
    };
  }

  #invitation(first) {
    let request = first;
    const row = frame(first.guest, "row invited");
    const cancel = h("button", { type: "button", class: "small" }, "Cancel");
    cancel.addEventListener("click", () => this.#live.run(() => this.#live.room.cancelInvitation(request.guest.user)));
    row.side.append(cancel);
    return {
      element: row.element,
      update: (next) => {
        request = next;
        row.who(next.guest);
        text(row.words, `Invited by ${name(next.by)} · ${left(next)} left`);
        update(cancel, { "aria-label": `Cancel the invitation of ${name(next.guest)}` });
        row.time(next);
      },
    };
  }

  async #why(request, reject) {
    const input = h("input", { maxLength: 120, placeholder: "For instance: one more song first" });
    const field = h("label", { class: "field" }, "Reason", input);
    const buttons = [
      { word: "Decline", value: "yes", kind: "danger" },
      { word: "Cancel", value: "", cancel: true },
    ];
    const title = `Decline ${name(request.guest)}'s request?`;
    if ((await ask({ title, text: "They see the reason.", fields: [field], buttons })) === "yes") reject(input.value.trim() || undefined);
  }
}

/** A row with a face, two lines of words and room at its side. */
export function frame(person, className) {
  const picture = face(person);
  const [strong, words] = [h("strong"), h("span")];
  const side = h("div", { class: "actions" });
  const progress = h("progress", { max: 1, value: 1, hidden: true, "aria-hidden": "true" });
  const element = h("div", { class: className, role: "group" }, picture, h("div", { class: "who" }, strong, words), side);
  element.append(progress);
  return {
    element,
    side,
    words,
    who(next, suffix = "") {
      reface(picture, next);
      text(strong, `${name(next)}${suffix}`);
      set(element, "aria-label", name(next));
    },
    time(request) {
      const { from, until } = span(request);
      set(progress, "hidden", until <= from);
      set(progress, "value", Math.min(1, Math.max(0, (until - Date.now()) / (until - from))));
    },
  };
}

const left = (request) => seconds(request.expires_ms - Date.now());

const waited = (request) => seconds(Date.now() - span(request).from);
