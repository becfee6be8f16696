// One's own camera and microphone: what to bring is asked first, then opened, with plain words when it can't be.

import { inWords } from "../words.js";
import { ask } from "./dialog.js";
import { h, icon, text } from "./dom.js";

/**
 * Asks what to bring: `{media: "av"|"audio", seat}`, or `null`. A preview opens the camera only when asked for.
 * `seats`: free seats to choose from, if there is a choice.
 */
export async function whatToBring(devices, { title, words, confirm, seats = [], seat = -1, other }) {
  const preview = h("video", { autoplay: true, muted: true, playsInline: true, class: "preview-video", "aria-label": "Your camera" });
  const open = h("button", { type: "button", class: "small" }, icon("camera"), "See my camera");
  const trouble = h("p", { class: "error", role: "alert" });
  const box = h("div", { class: "preview" }, preview, open);
  const wasOpen = devices.state.camera.status === "open";
  const show = () => {
    const on = devices.state.camera.status === "open";
    preview.hidden = !on;
    open.hidden = on;
    if (on && preview.srcObject !== devices.stream) preview.srcObject = devices.stream;
    text(trouble, devices.state.camera.error ? deviceTrouble("camera", devices.state.camera.error) : "");
  };
  open.addEventListener("click", async () => {
    open.disabled = true;
    // Both at once is one question of the browser fewer.
    await devices.openCamera().catch(() => {});
    open.disabled = false;
    show();
  });
  const stop = devices.subscribe(show);
  show();
  const choice = (value, picture, strong, more, checked) =>
    h("label", { class: "role" }, h("input", { type: "radio", name: "media", value, checked }), icon(picture), h("span", {}, h("strong", {}, strong), h("span", {}, more)));
  const both = choice("av", "camera", "Camera and microphone", "Seen and heard", true);
  const voice = choice("audio", "mic", "Microphone only", "Heard, with your name in the picture", false);
  const select = h("select", {}, [h("option", { value: "-1" }, "Any free seat"), ...seats.map((one) => h("option", { value: String(one) }, `Seat ${one}`))]);
  select.value = String(seats.includes(seat) ? seat : -1);
  const fields = [
    h("fieldset", {}, h("legend", { class: "unseen" }, "What you bring"), both, voice),
    box,
    trouble,
    seats.length ? h("label", { class: "field" }, "Seat", select) : "",
  ];
  both.parentElement.addEventListener("change", () => (box.hidden = voice.querySelector("input").checked));
  const buttons = [{ word: confirm, value: "yes", kind: "primary" }, ...(other ? [other] : [{ word: "Cancel", value: "", cancel: true }])];
  const answer = await ask({ title, text: words, fields, buttons });
  stop();
  preview.srcObject = null;
  const media = voice.querySelector("input").checked ? "audio" : "av";
  if (answer !== "yes" || media === "audio") if (!wasOpen) devices.closeCamera();
  if (answer !== "yes") return answer ? { answer } : null;
  return { media, seat: Number(select.value) };
}

/** Opens what somebody means to bring. The seat does not depend on it: what fails is said, and can be tried again. */
export async function open(devices, media) {
  const wanted = media === "av" ? ["microphone", "camera"] : ["microphone"];
  for (const device of wanted) {
    if (devices.state[device].status !== "closed") continue;
    try {
      await (device === "camera" ? devices.openCamera() : devices.openMicrophone());
    } catch {
      // The device's own `error` stays, and a card says it.
    }
  }
}

/** Why a device (or two: `what` is their name) is not open; nothing if nothing is wrong. */
export function deviceTrouble(what, error) {
  if (!error || error.code === "cancelled") return "";
  const known = {
    device_denied: `The browser does not allow the ${what} here. Allow it beside the page's address, then try again.`,
    device_not_found: `This machine has no ${what}.`,
    device_in_use: `Another program is using the ${what}.`,
  }[error.code];
  return known ?? `The ${what} did not open. ${inWords(error)}`;
}
