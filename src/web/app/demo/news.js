// What the room tells: toasts for what passes, cards for what concerns oneself and waits to be read.

import { seconds, sentence } from "../words.js";
import { toast } from "./dialog.js";
import { name } from "./dom.js";

const ASKED_MS = 30_000; // a host's wish that nobody answers is not shown for ever

const LEFT = {
  left: "has left",
  kicked: "was taken off",
  locked: "was taken off",
  replaced: "was replaced",
  assigned: "was taken off",
  media_timeout: "did not connect in time",
  disconnected: "lost the connection",
  removed: "was removed",
};

export class News {
  #live;
  #cards = new Map();
  #coolUntil = 0;
  #said = null;

  constructor(live) {
    this.#live = live;
  }

  /** Starts listening; gives how to stop. */
  listen() {
    const { room } = this.#live;
    const stops = Object.entries(this.#listeners()).map(([type, listener]) => room.on(type, listener));
    return () => stops.forEach((stop) => stop());
  }

  /** The cards of the moment. */
  cards() {
    for (const [id, card] of this.#cards) if (card.until && card.until <= Date.now()) this.#cards.delete(id);
    return [...this.#cards.values()];
  }

  /** How long one has to wait before asking again. */
  get cooldownMs() {
    return Math.max(0, this.#coolUntil - Date.now());
  }

  /** What was said at the end. */
  get farewell() {
    return this.#said;
  }

  cool(ms) {
    if (ms > 0) this.#coolUntil = Math.max(this.#coolUntil, Date.now() + ms);
  }

  /** Old news about one's seat, once a new one is asked for. */
  forget() {
    for (const id of ["declined", "unanswered", "off"]) this.#cards.delete(id);
    this.#live.render();
  }

  #card(id, card) {
    const close = () => {
      this.#cards.delete(id);
      this.#live.render();
    };
    const actions = (card.actions ?? []).map((one) => ({ ...one, run: () => (close(), one.run()) }));
    this.#cards.set(id, { ...card, id: `${id}-${Date.now()}`, actions: [...actions, { word: card.dismiss ?? "OK", run: close }] });
    this.#live.render();
  }

  get #policies() {
    return this.#live.state.settings.policies ?? {};
  }

  #own(person) {
    return person?.user === this.#live.state.me.user;
  }

  #listeners() {
    return {
      "seats.changed": (data, event) => this.#seats(data, event),
      "seat.granted": (data) => {
        this.forget();
        toast(data.seat > 0 ? `You have seat ${data.seat}.` : "The host's seat is yours.", "good");
        this.#live.seated();
      },
      "seat.kicked": (data, event) => this.#off(data, event),
      "seat.updated": (data, event) => this.#updated(data, event),
      "seat.asked": (data, event) => this.#asked(data, event),
      "application.received": (data) => this.#live.ui.panel || toast(`${name(guest(data))} asks for a seat.`),
      "application.cancelled": (data) => toast(`${name(guest(data))} has withdrawn the request.`),
      "application.processed": (data, event) => {
        toast(`${name(event.actor)} has ${data.accepted ? "accepted" : "declined"} the request of ${name(guest(data))}.`);
      },
      "application.responded": (data, event) => data.accepted || this.#declined(data, event),
      "application.no_response": (data) => {
        if (data.reason && data.reason !== "timeout") return;
        const again = { word: "Ask again", kind: "primary", run: () => this.#live.apply() };
        this.#card("unanswered", { icon: "clock", tone: "warn", title: "Nobody has answered your request", text: "The host may be busy.", actions: [again] });
      },
      "invitation.cancelled": () => toast("The invitation was taken back."),
      "invitation.closed": (data) => toast(data.reason === "timeout" ? "The invitation is over." : "The invitation is settled."),
      "invitation.responded": (data) => {
        toast(`${name(guest(data))} has ${data.accepted ? "accepted" : "declined"} the invitation.`, data.accepted ? "good" : "idle");
      },
      "invitation.no_response": (data) => {
        const why = { already_seated: "has a seat already", left: "has left the room" }[data.reason] ?? "did not answer the invitation";
        toast(`${name(guest(data))} ${why}.`);
      },
      "host.away": () => toast("The host is away."),
      "host.back": () => toast("The host is back.", "good"),
      "host.changed": (data) => toast(this.#own(data.host) ? "You are the host now." : `${name(data.host)} is the host now.`),
      "seat.suspended": (data) => {
        if (!this.#own(data.user) && data.seat > 0) toast(`${name(data.user)} is reconnecting.`);
      },
      "room.ended": (data) => (this.#said = { reason: data.reason }),
    };
  }

  #seats({ joined = [], left = [], moved = [] }, event) {
    for (const { seat, user } of joined) {
      if (!this.#own(user) && seat > 0) toast(`${name(user)} comes on the stage.`);
    }
    for (const { user, reason } of left) {
      if (this.#own(user) || reason === "room_ended") continue;
      toast(`${name(user)} ${LEFT[reason] ?? "has left"}${reason === "left" ? " the stage" : ""}.`);
    }
    for (const { user, to } of moved) {
      if (this.#own(user)) toast(`You are on seat ${to} now.`, "good");
      else if (this.#own(event?.actor)) toast(`${name(user)} is on seat ${to} now.`);
    }
  }

  /** Off one's seat, not by oneself. */
  #off(data, event) {
    this.#live.wish = null;
    const by = name(data.by ?? event?.actor ?? this.#live.state.host);
    const why = {
      kicked: `${by} has taken you off the seat`,
      locked: `${by} has locked your seat`,
      replaced: `${by} has given your seat to somebody else`,
      assigned: "Your seat was given to somebody else",
      media_timeout: "No connection came about in time, so your seat is free again",
      disconnected: "You were disconnected for too long, so your seat is free again",
      removed: `${by} has removed you from the room`,
    }[data.reason] ?? "You are off the stage";
    const { note } = data;
    if (data.reason === "removed") {
      this.#said = { reason: "removed", by, note };
      return;
    }
    if (["kicked", "locked", "replaced"].includes(data.reason)) this.cool(this.#policies.kick_cooldown_ms);
    this.#card("off", { icon: "hangup", tone: "bad", title: `${why}.`, text: () => `${note ? `“${note}” ` : ""}${this.#again()}` });
  }

  #declined(data, event) {
    this.#live.wish = null;
    this.cool(this.#policies.reject_cooldown_ms);
    const by = name(data.by ?? event?.actor);
    const reason = data.reason ? `“${sentence(data.reason)}” ` : "";
    this.#card("declined", { icon: "hand", tone: "bad", title: `${by} has declined your request.`, text: () => `${reason}${this.#again()}` });
  }

  #again() {
    return this.cooldownMs ? `You can ask again in ${seconds(this.cooldownMs)}.` : "You can ask again.";
  }

  #asked(data, event) {
    const what = [data.audio && "microphone", data.video && "camera"].filter(Boolean);
    const turnOn = async () => {
      for (const device of what) await this.#live.device(device, true);
    };
    this.#card("asked", {
      icon: "bell",
      title: `${name(event?.actor ?? this.#live.state.host)} asks you to switch on ${what.join(" and ")}`,
      text: "It is your choice.",
      until: Date.now() + ASKED_MS,
      actions: [{ word: "Switch on", kind: "primary", run: turnOn }],
      dismiss: "Not now",
    });
  }

  /** Remembers who muted one's own seat. */
  #updated(data, event) {
    const { state, mutedBy } = this.#live;
    if (data.seat !== state.me.seat) return;
    const by = this.#own(event?.actor) ? null : name(event?.actor ?? state.host);
    for (const kind of ["audio", "video"]) {
      const muted = data[`${kind}_muted`];
      if (!muted) mutedBy[kind] = null;
      else if (this.#muted[kind] !== true) mutedBy[kind] = by;
      this.#muted[kind] = muted;
    }
  }

  #muted = { audio: false, video: false };
}

const guest = (data) => data.request?.guest;
