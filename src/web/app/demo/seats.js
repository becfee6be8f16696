// The strip of seats, and what may be done with one: by whom, in which words.

import { ask, confirm, menu } from "./dialog.js";
import { $, face, h, icon, keyed, name, reface, set, text, update } from "./dom.js";

const BANS = [
  ["10 minutes", 600_000],
  ["1 hour", 3_600_000],
  ["1 day", 86_400_000],
];

export class Seats {
  #live;

  constructor(live) {
    this.#live = live;
  }

  /** Whether a menu of the seat would hold anything. */
  can(seat) {
    return this.#items(seat).length > 0;
  }

  /** Opens the menu of a seat at `opener`. */
  menu(number, opener) {
    const seat = this.#live.state.seats[number];
    const items = seat ? this.#items(seat) : [];
    if (!items.length) return;
    const title = number === 0 ? "The host" : `Seat ${number}`;
    menu(opener, seat.user ? `${name(seat.user)} · ${title}` : title, items);
  }

  /** What the one who looks may do here. */
  #items(seat) {
    const { state, runs } = this.#live;
    if (state.phase === "ended" || (state.settings.seat_mode === "external" && state.me.role !== "service")) return [];
    if (state.me.seat === seat.seat) return this.#own(seat);
    if (seat.user) return runs ? this.#occupied(seat) : [];
    if (seat.seat === 0) return [];
    return runs ? this.#empty(seat) : this.#wanted(seat);
  }

  // ---- for whoever has no say over others

  #own(seat) {
    if (seat.seat === 0) return [];
    const { state, room, runs } = this.#live;
    const free = state.seats.filter((one) => one.seat > 0 && !one.user && !one.locked);
    const may = runs || state.settings.policies?.self_move;
    const moves = free.map((to) => this.#do(`Move to seat ${to.seat}`, "move", () => room.move(seat.seat, to.seat, "abort")));
    return [
      ...(may && moves.length ? [{ word: "Move to another seat", icon: "move", items: moves }] : []),
      { word: "Leave the seat", icon: "hangup", tone: "bad", run: () => this.#live.leaveSeat() },
    ];
  }

  #wanted(seat) {
    const { state, room } = this.#live;
    if (seat.locked) return [];
    if (state.me.seat !== null) {
      if (state.me.seat === 0 || !state.settings.policies?.self_move) return [];
      return [this.#do(`Move to seat ${seat.seat}`, "move", () => room.move(state.me.seat, seat.seat, "abort"))];
    }
    const word = state.settings.seat_mode === "free" ? `Take seat ${seat.seat}` : `Ask for seat ${seat.seat}`;
    return [{ word, icon: "hand", run: () => this.#live.apply(seat.seat) }];
  }

  // ---- for hosts

  #empty(seat) {
    const { state, room } = this.#live;
    const number = seat.seat;
    if (seat.locked) return [this.#do(`Unlock seat ${number}`, "unlock", () => room.unlockSeat(number), `Seat ${number} is open again.`)];
    const invitable = this.#live.audience();
    const movable = state.seats.filter((one) => one.seat > 0 && one.user);
    const items = [];
    if (state.me.seat === null) {
      items.push(this.#do("Sit down here", "hand", () => this.#live.takeSeat(number)));
    }
    if (invitable.length) {
      const people = invitable.map((one) =>
        this.#do(name(one), "invite", () => room.invite(one.user, { seat: number }), `${name(one)} is invited to seat ${number}.`),
      );
      items.push({ word: "Invite somebody here", icon: "invite", items: people });
    }
    if (movable.length) {
      const people = movable.map((one) =>
        this.#do(`${name(one.user)}, seat ${one.seat}`, "move", () => room.move(one.seat, number, "abort")),
      );
      items.push({ word: "Move somebody here", icon: "move", items: people });
    }
    items.push(this.#do(`Lock seat ${number}`, "lock", () => room.lockSeat(number), `Seat ${number} is locked.`));
    return items;
  }

  #occupied(seat) {
    const { state, room } = this.#live;
    const number = seat.seat;
    const who = name(seat.user);
    // Not of the host, and not of other admins unless one is the host.
    const over = number > 0 && (state.me.role === "host" || !this.#live.isAdmin(seat.user.user));
    return [
      seat.audio_muted
        ? this.#do("Let the microphone be heard", "mic", () => room.unmute(number))
        : this.#do("Mute the microphone", "mic-off", () => room.mute(number), `${who} is muted and can unmute.`),
      seat.audio_locked
        ? this.#do("Unlock the microphone", "unlock", () => room.unlockMicrophone(number))
        : this.#do("Lock the microphone", "lock", () => room.lockMicrophone(number), `${who} can't be heard until you unlock it.`),
      seat.video_muted
        ? this.#do("Let the camera be seen", "camera", () => room.unmuteCamera(number))
        : this.#do("Stop the camera", "camera-off", () => room.muteCamera(number), `${who} can't be seen and can start it again.`),
      seat.video_locked
        ? this.#do("Unlock the camera", "unlock", () => room.unlockCamera(number))
        : this.#do("Lock the camera", "lock", () => room.lockCamera(number), `${who} can't be seen until you unlock it.`),
      this.#do("Ask to switch on", "bell", () => room.ask(number, { audio: true, video: true }), `${who} is asked to switch on.`),
      ...(over ? ["-", ...this.#moves(seat), ...this.#rank(seat.user), "-", ...this.#away(seat)] : []),
    ];
  }

  #moves(seat) {
    const { state, room } = this.#live;
    const from = seat.seat;
    const others = state.seats.filter((one) => one.seat > 0 && one.seat !== from && !one.locked);
    const items = others.map((to) =>
      to.user
        ? this.#do(`Swap with ${name(to.user)}, seat ${to.seat}`, "swap", () => room.swap(from, to.seat))
        : this.#do(`Move to seat ${to.seat}`, "move", () => room.move(from, to.seat, "abort")),
    );
    return items.length ? [{ word: "Move or swap", icon: "swap", items }] : [];
  }

  /** What only the host may do with a person's rights. */
  #rank(person) {
    const { state, room } = this.#live;
    if (state.me.role !== "host") return [];
    const who = name(person);
    return this.#live.isAdmin(person.user)
      ? [this.#do("Withdraw co-host", "shield", () => room.withdrawAdmin(person.user), `${who} is no longer a co-host.`)]
      : [this.#do("Make co-host", "shield", () => room.grantAdmin(person.user), `${who} is a co-host now.`)];
  }

  #away(seat) {
    const { room } = this.#live;
    const { seat: number, user: person } = seat;
    const who = name(person);
    // Named by user: by the time of the click somebody else may sit there.
    const kick = (reason) => room.kick(number, { user: person.user, reason });
    return [
      { word: "Take off the seat", icon: "hangup", tone: "bad", run: () => this.#withReason(`Take ${who} off seat ${number}?`, `${who} stays in the audience and can ask again after a while.`, "Take off", kick) },
      this.#do("Take off and lock the seat", "lock", () => room.lockSeat(number), `${who} is off, and seat ${number} is locked.`, "bad"),
      ...this.removal(person),
    ];
  }

  /** Removing a person from the room, for a menu here or in the list of people. */
  removal(person) {
    const { room } = this.#live;
    const who = name(person);
    return [
      {
        word: "Remove from the room",
        icon: "leave",
        tone: "bad",
        run: () => this.#withReason(`Remove ${who}?`, `${who} leaves the room and may come back.`, "Remove", (reason) => room.removeMember(person.user, { reason })),
      },
      { word: "Ban from the room", icon: "ban", tone: "bad", run: () => this.#ban(person) },
    ];
  }

  /** The same for the list of people. */
  rank(person) {
    return this.#rank(person);
  }

  async #ban(person) {
    const select = h("select", {}, BANS.map(([word, ms]) => h("option", { value: String(ms) }, word)));
    const field = h("label", { class: "field" }, "For how long", select);
    if (!(await confirm(`Ban ${name(person)}?`, "They leave the room and can't come back for that time.", "Ban", "danger", [field]))) return;
    this.#live.run(() => this.#live.room.ban(person.user, { banMs: Number(select.value) }), `${name(person)} is banned.`);
  }

  async #withReason(title, words, word, act) {
    const input = h("input", { maxLength: 120, placeholder: "They see it, if you write one" });
    const field = h("label", { class: "field" }, "Reason", input);
    const buttons = [
      { word, value: "yes", kind: "danger" },
      { word: "Cancel", value: "", cancel: true },
    ];
    if ((await ask({ title, text: words, fields: [field], buttons })) !== "yes") return;
    this.#live.run(() => act(input.value.trim() || undefined));
  }

  #do(word, picture, act, done, tone) {
    return { word, icon: picture, tone, run: () => this.#live.run(act, done) };
  }

  // ---- the strip

  render() {
    const { seats, me, speaking } = this.#live.state;
    const guests = seats.filter((seat) => seat.seat > 0);
    const create = ({ seat: first }) => {
      let number = first.seat;
      const picture = face(first.user);
      const lock = icon("lock");
      const plain = h("span", { "aria-hidden": "true" });
      const badge = h("span", { class: "number", "aria-hidden": "true" });
      const button = h("button", { type: "button", class: "seat", "aria-haspopup": "menu", "aria-expanded": "false" }, picture, lock, plain, badge);
      button.addEventListener("click", () => this.menu(number, button));
      return {
        element: h("li", {}, button),
        update: ({ seat, own, speaking }) => {
          number = seat.seat;
          picture.toggleAttribute("hidden", !seat.user);
          lock.toggleAttribute("hidden", !seat.locked);
          set(plain, "hidden", Boolean(seat.user) || seat.locked);
          text(plain, String(seat.seat));
          set(badge, "hidden", !seat.user && !seat.locked);
          text(badge, String(seat.seat));
          if (seat.user) reface(picture, seat.user);
          update(button, {
            "aria-label": seatWords(seat, own),
            title: seatWords(seat, own),
            disabled: !this.can(seat),
            data: { state: seat.state, locked: seat.locked, own, speaking },
          });
        },
      };
    };
    set($("strip-scroll"), "hidden", guests.length === 0 || this.#live.ui.view === "program");
    // An entry outlives the render that made it: what may change comes with each update.
    const items = guests.map((seat) => ({
      seat,
      own: me.seat === seat.seat,
      speaking: Boolean(seat.user) && speaking.some((one) => one.seat === seat.seat),
    }));
    keyed($("strip"), items, ({ seat }) => String(seat.seat), create);
  }
}

/** A seat in one phrase. */
export function seatWords(seat, own) {
  const which = seat.seat === 0 ? "Host's seat" : `Seat ${seat.seat}`;
  if (seat.locked) return `${which}, locked`;
  if (!seat.user) return `${which}, free`;
  const how = { reserved: ", connecting", held: ", reconnecting" }[seat.state] ?? "";
  return `${which}, ${name(seat.user)}${own ? " (you)" : ""}${how}`;
}
