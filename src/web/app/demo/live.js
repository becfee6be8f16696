// One's stay in a room: the room's state and events on one side, the views on the other, and what a person does between.

import { inWords, seconds } from "../words.js";
import { Cards } from "./cards.js";
import { Controls } from "./controls.js";
import { open, whatToBring } from "./devices.js";
import { ask, confirm, toast } from "./dialog.js";
import { $, name, set, text } from "./dom.js";
import { News } from "./news.js";
import { Panel } from "./panel.js";
import { People } from "./people.js";
import { Requests } from "./requests.js";
import { Seats } from "./seats.js";
import { Settings } from "./settings.js";
import { StageView } from "./stage.js";

const PHASES = { idle: "NOT LIVE", live: "LIVE", host_away: "HOST AWAY", ended: "ENDED" };

export class Live {
  /** What this page alone knows. */
  ui = { view: "stage", sound: true, speaker: undefined, mirror: true, panel: Panel.wide };
  /** Who has muted one's own microphone or camera, by name. */
  mutedBy = { audio: null, video: null };
  soundIsBlocked = false;
  /** What one means to bring to the next seat. */
  wish = null;

  #views;
  #panel;
  #news;
  #stops = [];
  #frame = 0;
  #onOver;
  #dialogOf = null;

  /** `onOver({reason, error})` once this page is out of the room for good. */
  constructor(room, { onOver }) {
    this.room = room;
    this.#onOver = onOver;
    this.stage = new StageView(this);
    this.seats = new Seats(this);
    this.#panel = new Panel(this);
    this.#news = new News(this);
    const views = [new Controls(this), new Cards(this), new Requests(this), new People(this), new Settings(this)];
    this.#views = [this.stage, this.seats, this.#panel, ...views];
    const ticking = setInterval(() => this.render(), 1_000);
    this.#stops.push(
      room.subscribe(() => this.render()),
      room.devices.subscribe(() => this.render()),
      room.on("publication", () => this.render()),
      room.on("closed", ({ reason, error }) => this.#over(reason, error)),
      this.#news.listen(),
      () => clearInterval(ticking),
    );
    $("exit").onclick = () => this.exit();
    $("live").hidden = false;
    this.#panel.toggle(this.ui.panel, this.runs ? "requests" : "people");
    this.show(this.ui.view);
  }

  get state() {
    return this.room.state;
  }

  /** Whether one runs the room: its host or a co-host. */
  get runs() {
    return this.state.me.role !== "member";
  }

  isAdmin(user) {
    const role = this.state.members.find((one) => one.user === user)?.role;
    return role === "admin" || role === "host";
  }

  /** Who could be invited. */
  audience() {
    const { members, seats, invitations, me } = this.state;
    const busy = new Set([me.user, ...seats.map((seat) => seat.user?.user), ...invitations.map((one) => one.guest.user)]);
    return members.filter((one) => one.presence === "online" && !busy.has(one.user));
  }

  #free() {
    return this.state.seats.filter((seat) => seat.seat > 0 && !seat.user && !seat.locked).map((seat) => seat.seat);
  }

  /** How many are here: oneself at least, whom a count of up to a second ago need not hold yet. */
  get present() {
    return Math.max(this.state.audience, 1);
  }

  full = () => this.#free().length === 0;
  cooldownMs = () => this.#news.cooldownMs;
  notices = () => this.#news.cards();

  // ---- showing

  /** Soon, and once however often it is asked for. */
  render() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#header();
      for (const view of this.#views) view.render();
      this.#staleDialog();
    });
  }

  #header() {
    const { id, phase, host, me, applications, connection } = this.state;
    const { present } = this;
    text($("room-name"), id);
    const own = { host: "You are the host", admin: "You are a co-host" }[me.role];
    const with_ = host && me.role !== "host" ? `with ${name(host)}` : "";
    text($("room-host"), [own, with_].filter(Boolean).join(" · "));
    const offline = connection !== "online";
    text($("phase"), offline ? "OFFLINE" : (PHASES[phase] ?? phase));
    set($("phase"), "data", { phase: offline ? "offline" : phase });
    text($("count"), String(present));
    set($("count"), "aria-label", present === 1 ? "1 person here" : `${present} people here`);
    const waiting = this.runs && applications.length ? `(${applications.length}) ` : "";
    if (document.title !== `${waiting}${id} · costage`) document.title = `${waiting}${id} · costage`;
  }

  /** A question whose matter is over closes by itself. */
  #staleDialog() {
    const { invitation } = this.state.me;
    if (!this.#dialogOf || invitation?.id === this.#dialogOf) return;
    this.#dialogOf = null;
    ask.open?.cancelled();
  }

  async show(view) {
    this.ui.view = view;
    this.render();
    try {
      await this.stage.open(view);
    } catch (error) {
      toast(inWords(error), "bad");
    }
  }

  togglePanel(tab) {
    this.#panel.toggle(!this.ui.panel, tab);
  }

  setSound(on) {
    this.ui.sound = on;
    this.render();
  }

  setSpeaker(id) {
    this.ui.speaker = id;
    this.render();
  }

  setMirror(on) {
    this.ui.mirror = on;
    this.render();
  }

  soundBlocked() {
    this.soundIsBlocked = true;
    this.render();
  }

  unblockSound() {
    this.soundIsBlocked = false;
    for (const element of document.querySelectorAll("#tiles audio, #program video")) element.play().catch(() => {});
    this.render();
  }

  // ---- doing

  /** Does something and says how it went. Gives whether it worked. */
  async run(act, done) {
    try {
      await act();
      if (done) toast(done, "good");
      return true;
    } catch (error) {
      if (error.code === "cancelled") return false;
      if (error.code === "cooldown") this.#news.cool(error.retryAfterMs);
      toast(inWords(error), "bad");
      return false;
    } finally {
      this.render();
    }
  }

  /** Asks for a seat; takes one where nobody needs to be asked. */
  async apply(seat = -1) {
    const { seat_mode: mode } = this.state.settings;
    const direct = mode === "free" || this.runs;
    const free = this.#free();
    if (direct && !free.length) {
      toast("All seats are taken.", "bad");
      return;
    }
    const brought = await whatToBring(this.room.devices, {
      title: direct ? "Take a seat" : "Ask to join",
      words: direct ? "You are on the stage at once." : "The host sees your request and accepts or declines it. Nothing of you is seen or heard before.",
      confirm: direct ? "Take the seat" : "Ask to join",
      seats: free,
      seat,
    });
    if (!brought) return;
    this.wish = brought.media;
    this.#news.forget();
    if (direct) {
      await this.run(() => this.room.takeSeat(brought.seat > 0 ? brought.seat : (this.#free()[0] ?? free[0])));
    } else {
      await this.run(() => this.room.apply({ seat: brought.seat, media: brought.media }));
    }
  }

  takeSeat(seat) {
    return this.apply(seat);
  }

  async acceptInvitation(invitation) {
    this.#dialogOf = invitation.id;
    const answer = await whatToBring(this.room.devices, {
      title: `Join ${name(invitation.by)} on the stage`,
      words: "You are seen and heard as soon as you join.",
      confirm: "Join now",
      other: { word: "Decline", value: "decline", cancel: true },
    });
    this.#dialogOf = null;
    if (!answer) return;
    const request = invitation.id;
    if (answer.answer) {
      await this.run(() => this.room.rejectInvitation({ request }));
      return;
    }
    this.wish = answer.media;
    this.#news.forget();
    await this.run(() => this.room.acceptInvitation({ request }));
  }

  /** The seat is given: what was meant to be brought is opened. Nobody else's wish opens a device. */
  async seated() {
    const media = this.wish;
    this.wish = null;
    if (media) await open(this.room.devices, media);
  }

  async goLive() {
    const brought = await whatToBring(this.room.devices, {
      title: "Go live",
      words: "Everybody in the room sees and hears you.",
      confirm: "Go live",
    });
    if (!brought) return;
    await open(this.room.devices, brought.media);
    await this.run(() => this.room.publish());
  }

  /** Opens or closes one's own camera or microphone, and takes back one's being muted. */
  async device(device, on) {
    const { devices, state } = this.room;
    const seat = state.seats[state.me.seat];
    if (!on) {
      if (device === "camera") devices.closeCamera();
      else devices.closeMicrophone();
      return;
    }
    await this.run(async () => {
      if (device === "camera") await devices.openCamera();
      else await devices.openMicrophone();
      if (device === "camera" && seat?.video_muted) await this.room.unmuteCamera();
      if (device === "microphone" && seat?.audio_muted) await this.room.unmute();
    });
  }

  async shareScreen(on) {
    if (on) await this.run(() => this.room.publishScreen(), "You share your screen.");
    else this.room.devices.stopScreenShare();
  }

  async leaveSeat() {
    await this.run(() => this.room.leaveSeat(), "You are in the audience again.");
  }

  async endLive() {
    if (!(await confirm("End the live?", "It ends for everybody. The room can be opened again later.", "End the live"))) return;
    await this.run(() => this.room.endRoom());
  }

  async exit() {
    const { me, phase, settings } = this.state;
    if (me.role === "host" && phase === "live") {
      const away = settings.policies?.host_away_ms;
      const words = `The live goes on without you${away ? ` for ${seconds(away)}` : ""} and then ends. To end it now, choose “End live”.`;
      if (!(await confirm("Leave the room?", words, "Leave"))) return;
    } else if (me.seat !== null && !(await confirm("Leave the room?", "You give up your seat.", "Leave"))) {
      return;
    }
    await this.run(() => this.room.leave());
    this.#over("left");
  }

  // ---- over

  #over(reason, error) {
    if (!this.#onOver) return;
    const onOver = this.#onOver;
    this.#onOver = null;
    for (const stop of this.#stops) stop();
    cancelAnimationFrame(this.#frame);
    // No frame is drawn any more, whatever still calls for one.
    this.#frame = -1;
    for (const dialog of document.querySelectorAll("dialog.dialog")) dialog.close("");
    this.#panel.close();
    this.stage.close();
    this.room.devices.close();
    $("live").hidden = true;
    onOver({ reason, error, room: this.room.id, said: this.#news.farewell });
  }
}
