// One source on the stage: picture, sound, and what there is to know of it.

import { face, h, icon, name, reface, reicon, set, text, update } from "./dom.js";
import { seconds } from "../words.js";

const QUALITY = { good: "Connection good", weak: "Connection weak", lost: "Connection lost" };

/** `{element, update(item)}` for one item of `items()` in stage.js; `onMenu(item, button)` opens what can be done. */
export function tile(first, { onMenu, onBlocked }) {
  let item = first;
  const video = h("video", { autoplay: true, muted: true, playsInline: true, "aria-hidden": "true" });
  // Apart from the picture: a video element plays no sound before its first frame, and a guest with a microphone only
  // never sends one.
  const sound = h("audio", { autoplay: true, "aria-hidden": "true" });
  const picture = face(first.person);
  const bars = h("span", { class: "bars", role: "img", hidden: true }, h("i"), h("i"), h("i"));
  const button = h("button", { type: "button", class: "tile-menu", "aria-haspopup": "menu", "aria-expanded": "false" }, icon("more"));
  button.addEventListener("click", () => onMenu(item, button));
  const state = h("p", { class: "tile-state" });
  const role = h("span", { class: "tag" });
  const label = h("span", { class: "tile-name" });
  const microphone = mark("mic-off");
  const camera = mark("camera-off");
  const words = h("span", { class: "unseen" });
  const foot = h("div", { class: "tile-foot" }, role, label, words, microphone.element, camera.element);
  const element = h("li", { class: "tile" }, video, sound, picture, state, foot, h("div", { class: "tile-head" }, bars, button));

  return {
    element,
    video,
    update(next) {
      item = next;
      const { seat, source, person, own } = item;
      const screen = source === "screen";
      attach(video, item.stream)?.catch(() => {}); // without a picture the face is shown
      listen(sound, item, onBlocked);
      reface(picture, person);
      element.style.setProperty("--hue", picture.style.getPropertyValue("--hue"));
      set(element, "data", {
        seat: seat.seat,
        source,
        own,
        dark: !item.picture,
        frozen: seat.state === "held",
        mirror: own && !screen && item.mirror,
        speaking: item.speaking && !screen,
      });
      const who = own ? "You" : name(person);
      text(label, screen ? (own ? "Your screen" : `Screen of ${who}`) : who);
      text(role, item.host ? "Host" : `${seat.seat}`);
      set(role, "data", { role: item.host ? "host" : "guest" });
      set(role, "title", item.host ? "" : `Seat ${seat.seat}`);
      text(state, stateWords(item));
      const [audio, picture_] = [deviceWords(item, "audio"), deviceWords(item, "video")];
      microphone.update(!screen && audio.icon, audio.words);
      camera.update(!screen && picture_.icon, picture_.words);
      const said = [item.host ? "" : `seat ${seat.seat}`, item.speaking && "speaking", audio.words, picture_.words, stateWords(item)];
      text(words, screen ? "" : `, ${said.filter(Boolean).join(", ")}`);
      const quality = seat.state === "held" ? "lost" : item.quality;
      update(bars, { hidden: !quality, "aria-label": QUALITY[quality] ?? "", title: QUALITY[quality] ?? "", data: { quality } });
      update(button, { hidden: !item.menu || screen, "aria-label": `What you can do with ${own ? "your seat" : who}, ${item.host ? "host" : `seat ${seat.seat}`}` });
    },
    remove() {
      video.srcObject = sound.srcObject = null;
    },
  };
}

function mark(first) {
  const picture = icon(first);
  const element = h("span", { class: "mark", hidden: true }, picture);
  return {
    element,
    update(name, title) {
      set(element, "hidden", !name);
      set(element, "title", title);
      if (name) reicon(picture, name);
    },
  };
}

/** The stream into an element that plays it. */
function attach(element, stream) {
  if (element.srcObject !== stream) element.srcObject = stream;
  return stream && element.paused ? element.play() : null;
}

/** The sound as wanted; never one's own. */
function listen(audio, { stream, own, sound, sink }, onBlocked) {
  audio.muted = !sound;
  if (sink !== undefined && audio.sinkId !== undefined && audio.sinkId !== sink) audio.setSinkId(sink).catch(() => {});
  attach(audio, own ? null : stream)?.catch((error) => {
    if (error.name === "NotAllowedError" && sound) onBlocked();
  });
}

function stateWords({ seat }) {
  const ms = (seat.until_ms ?? 0) - Date.now();
  const left = ms > 0 ? ` ${seconds(ms)}` : "";
  if (seat.state === "reserved") return seat.seat === 0 ? "Not live yet" : `Connecting…${left}`;
  if (seat.state === "held") return seat.seat === 0 ? `Host is away${left && ", back within"}${left}` : `Reconnecting…${left}`;
  return "";
}

/** How a microphone or camera is, with the picture for it; nothing to show when it is simply on. */
export function deviceWords({ seat, on }, kind) {
  const [name, off, what] = kind === "audio" ? ["mic", "mic-off", "microphone"] : ["camera", "camera-off", "camera"];
  if (seat[`${kind}_locked`]) return { icon: "lock", words: `${what} locked`, tone: "locked" };
  if (seat[`${kind}_muted`]) return { icon: off, words: `${what} muted`, tone: "muted" };
  if (!on[kind]) return { icon: off, words: `${what} off`, tone: "off" };
  return { icon: "", words: "", tone: "on", on: name };
}
