// The tab of people: who is on the stage, who is in the audience, and what hosts may do with them.

import { menu } from "./dialog.js";
import { $, h, icon, keyed, name, set, text } from "./dom.js";
import { frame } from "./requests.js";

export class People {
  #live;
  #stage = h("div", { class: "rows" });
  #audience = h("div", { class: "rows" });
  #heading = h("h3", {}, "Audience");
  #nothing = h("p", { class: "hint" });

  constructor(live) {
    this.#live = live;
    $("pane-people").replaceChildren(
      h("section", {}, h("h3", {}, "On the stage"), this.#stage),
      h("section", {}, this.#heading, this.#nothing, this.#audience),
    );
  }

  render() {
    const { state, runs } = this.#live;
    const seated = state.seats.filter((seat) => seat.user);
    keyed(this.#stage, seated, (seat) => seat.user.user, (seat) => this.#seated(seat));
    const others = runs ? state.members.filter((one) => !seated.some((seat) => seat.user.user === one.user)) : [];
    const all = this.#live.present;
    text(this.#heading, runs ? `Audience · ${others.length}` : "Audience");
    const unnamed = runs
      ? others.length ? "" : "Nobody else is here yet. Share the link in the settings."
      : `${all === 1 ? "1 person is" : `${all} people are`} here. Only hosts see their names.`;
    set(this.#nothing, "hidden", !unnamed);
    text(this.#nothing, unnamed);
    keyed(this.#audience, others, (one) => one.user, (one) => this.#member(one));
  }

  #seated(first) {
    let number = first.seat;
    const row = frame(first.user, "row");
    const more = dots(() => this.#live.seats.menu(number, more));
    row.side.append(more);
    return {
      element: row.element,
      update: (seat) => {
        number = seat.seat;
        const { me } = this.#live.state;
        row.who(seat.user, seat.user.user === me.user ? " (you)" : "");
        const rank = seat.seat === 0 ? "Host" : this.#live.isAdmin(seat.user.user) ? `Seat ${seat.seat} · co-host` : `Seat ${seat.seat}`;
        const how = { reserved: "connecting", held: "reconnecting" }[seat.state];
        const flags = [how, seat.audio_locked ? "mic locked" : seat.audio_muted && "muted", seat.video_locked && "camera locked"];
        text(row.words, [rank, ...flags].filter(Boolean).join(" · "));
        set(more, "hidden", !this.#live.seats.can(seat));
        set(more, "aria-label", `What you can do with ${name(seat.user)}`);
      },
    };
  }

  #member(first) {
    let person = first;
    const { room } = this.#live;
    const row = frame(first, "row");
    const invite = h("button", { type: "button", class: "small" }, "Invite");
    invite.addEventListener("click", () => this.#live.run(() => room.invite(person.user), `${name(person)} is invited.`));
    const more = dots(() => menu(more, name(person), this.#items(person)));
    row.side.append(invite, more);
    return {
      element: row.element,
      update: (next) => {
        person = next;
        const { state } = this.#live;
        const own = person.user === state.me.user;
        row.who(person, own ? " (you)" : "");
        const asked = state.applications.some((one) => one.guest.user === person.user);
        const invited = state.invitations.some((one) => one.guest.user === person.user);
        const rank = { host: "Host", admin: "Co-host" }[person.role] ?? "Audience";
        const gone = person.presence === "online" ? "" : "away for a moment";
        text(row.words, [rank, asked && "asks for a seat", invited && "invited", gone].filter(Boolean).join(" · "));
        set(invite, "hidden", own || invited || person.presence !== "online");
        text(invite, asked ? "Accept" : "Invite");
        set(invite, "aria-label", asked ? `Accept ${name(person)}` : `Invite ${name(person)}`);
        set(more, "hidden", own || this.#items(person).length === 0);
        set(more, "aria-label", `What you can do with ${name(person)}`);
      },
    };
  }

  #items(person) {
    const { state, room } = this.#live;
    const free = state.seats.filter((seat) => seat.seat > 0 && !seat.user && !seat.locked);
    const seats = (run) => free.map((seat) => ({ word: `Seat ${seat.seat}`, icon: "move", run: () => this.#live.run(() => run(seat.seat)) }));
    const items = [];
    if (free.length) {
      items.push({ word: "Invite to a seat", icon: "invite", items: seats((seat) => room.invite(person.user, { seat })) });
      items.push({
        word: "Put on a seat",
        icon: "move",
        items: seats((seat) => room.takeSeat(seat, { user: person.user, name: person.name ?? undefined, avatar_url: person.avatar_url ?? undefined })),
      });
    }
    items.push(...this.#live.seats.rank(person));
    // Not over hosts, and over admins only as the host.
    const over = person.role === "member" || (person.role === "admin" && state.me.role === "host");
    if (over) items.push("-", ...this.#live.seats.removal(person));
    return items;
  }
}

function dots(onclick) {
  return h("button", { type: "button", class: "quiet square", "aria-haspopup": "menu", "aria-expanded": "false", onclick }, icon("more"));
}
