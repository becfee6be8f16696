// Who comes, as what, into which room: the form before the room, tokens, and opening a room that is not there yet.

import { call } from "/costage/http.js";
import { parameters, roomUrl } from "../room.js";
import { inWords } from "../words.js";
import { $, name as nameOf, text } from "./dom.js";

const LOOK_AGAIN_MS = 2_500; // how often a guest looks for a room that is not open yet
const TYPING_MS = 350; // after the last key, before the room is looked up
const NAME_KEY = "costage-name";
const ROLE_KEY = "costage-role";

const JSON_TYPE = { "Content-Type": "application/json" };

/** The form; `onEnter({room, user, name, getToken, host})` once a room is there to enter. */
export class Join {
  #onEnter;
  #waiting = null;
  #typing = null;
  #lookup = 0;

  constructor(onEnter) {
    this.#onEnter = onEnter;
    const given = parameters();
    $("join-room").value = given.room;
    $("join-user").value = given.user;
    $("join-token").value = given.token ?? "";
    $("join-name").value = remembered(NAME_KEY) ?? "";
    const role = new URLSearchParams(location.search).get("role") ?? remembered(ROLE_KEY);
    if (role === "host") $("join-form").elements.role.value = "host";
    this.#readToken();
    $("join-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.enter();
    });
    $("join-form").addEventListener("input", (event) => {
      text($("join-error"), "");
      this.#stopWaiting();
      if (event.target.id === "join-token") this.#readToken();
      if (event.target.id === "join-name") return;
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#hint(), TYPING_MS);
    });
    this.#hint();
  }

  /** Puts the form back on the screen. */
  show() {
    $("join").hidden = false;
    this.#busy(false);
    this.#hint();
  }

  #wish() {
    const pasted = $("join-token").value.trim();
    return {
      room: $("join-room").value.trim(),
      user: $("join-user").value.trim(),
      name: $("join-name").value.trim(),
      role: $("join-form").elements.role.value,
      pasted,
    };
  }

  /** What a pasted token says of its owner, so that the form shows it; the server alone judges it. */
  #readToken() {
    const claims = claimsOf($("join-token").value.trim());
    $("join-user").disabled = Boolean(claims);
    for (const radio of $("join-form").elements.role) radio.disabled = Boolean(claims);
    if (!claims) return;
    $("join-more").open = true;
    $("join-user").value = claims.sub ?? "";
    if (claims.name) $("join-name").value = claims.name;
    if (claims.room && claims.room !== "*") $("join-room").value = claims.room;
    $("join-form").elements.role.value = claims.role === "member" ? "member" : "host";
  }

  async enter() {
    if (this.#waiting) return this.#stopWaiting();
    const wish = this.#wish();
    const missing = ["join-name", "join-room", "join-user"].map($).find((input) => !input.checkValidity());
    if (missing) {
      $("join-more").open ||= missing.id !== "join-name";
      text($("join-error"), missing.id === "join-name" ? "Please enter your name." : missing.validationMessage);
      missing.focus();
      return;
    }
    remember(NAME_KEY, wish.name);
    remember(ROLE_KEY, wish.role);
    this.#busy(true);
    text($("join-error"), "");
    try {
      const room = await this.#room(wish);
      if (room) {
        $("join").hidden = true;
        this.#onEnter({ ...wish, getToken: tokens(wish), host: room.host });
      } else {
        this.#wait();
      }
    } catch (error) {
      this.#busy(false);
      text($("join-error"), inWords(error));
      if (error.status === 401 || error.status === 403) {
        $("join-more").open = true;
        $("join-token").focus();
      }
    }
  }

  /** The room, opened if need be and allowed; `null`: not there yet. */
  async #room(wish) {
    const token = await tokens(wish)();
    const found = await look(wish.room, token);
    if (found || wish.role !== "host") return found;
    const body = JSON.stringify({ room: wish.room, host: { user: wish.user, name: wish.name } });
    const made = await call("/v1/rooms", { method: "POST", token, headers: JSON_TYPE, body });
    return made.json();
  }

  #wait() {
    const again = async () => {
      try {
        const room = await this.#room(this.#wish());
        if (!this.#waiting || !room) return;
        this.#stopWaiting();
        this.enter();
      } catch (error) {
        text($("join-hint"), `${inWords(error)} Looking again.`);
      }
    };
    this.#waiting = setInterval(again, LOOK_AGAIN_MS);
    $("join-enter").disabled = false;
    text($("join-enter"), "Stop waiting");
    text($("join-hint"), `Room ${this.#wish().room} is not open yet. You get in as soon as the host opens it.`);
  }

  #stopWaiting() {
    if (!this.#waiting) return;
    clearInterval(this.#waiting);
    this.#waiting = null;
    this.#busy(false);
    text($("join-hint"), "");
  }

  #busy(busy) {
    $("join-enter").disabled = busy;
    text($("join-enter"), busy ? "Entering…" : "Enter the room");
  }

  /** Says what entering would mean. */
  async #hint() {
    const wish = this.#wish();
    const turn = (this.#lookup += 1);
    let sentence = "";
    try {
      if (wish.room && wish.user) sentence = hint(wish, await look(wish.room, await tokens(wish)()));
    } catch {
      // Without a token nothing is known; entering says why.
    }
    if (turn === this.#lookup && !this.#waiting) text($("join-hint"), sentence);
  }
}

function hint({ room, user, role }, found) {
  if (!found) {
    return role === "host"
      ? `Room ${room} is not open yet: you open it and are its host.`
      : `Room ${room} is not open yet: you wait here for its host.`;
  }
  const host = nameOf(found.host);
  if (found.host.user === user) return `Room ${room} is yours: you come back as its host.`;
  if (role === "host") {
    return `Room ${room} is open and its host is ${host}. You come in as a co-host: you run seats, requests and people as the host does, but can't end the live.`;
  }
  return found.phase === "live" ? `Room ${room} is live with ${host}.` : `Room ${room} is open; ${host} is not live at the moment.`;
}

/** The room, or `null` if there is none (any more). */
async function look(room, token) {
  try {
    const found = await (await call(roomUrl(room), { token })).json();
    return found.phase === "ended" ? null : found;
  } catch (error) {
    if (error.status === 404 || error.status === 410) return null;
    throw error;
  }
}

/** A pasted token as long as it lasts, else fresh ones from the server, which gives them out under `--dev`. */
function tokens({ room, user, name, role, pasted }) {
  if (pasted) return async () => pasted;
  return async () => {
    const body = JSON.stringify({ room, user, role, name: name || user });
    const response = await call("/v1/tokens", { method: "POST", headers: JSON_TYPE, body });
    return (await response.json()).token;
  };
}

function claimsOf(token) {
  const [, payload] = token.split(".");
  if (!payload) return null;
  try {
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null; // Not a token; the server will say so.
  }
}

function remembered(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null; // Storage may be switched off.
  }
}

function remember(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
    // Then it lasts as long as the page.
  }
}
