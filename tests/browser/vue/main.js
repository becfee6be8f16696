// The application: one room, and the panel of whoever opened it. `?room=…&user=…&role=host|admin|member`.

import { computed, createApp, h, ref, shallowRef } from "vue";
import { Room, useVue } from "costage";
import { AudiencePanel } from "./audience.js";
import { HostPanel } from "./host.js";

const { room, user, role } = Object.fromEntries(new URLSearchParams(location.search));

async function getToken() {
  const body = JSON.stringify({ room, user, role, name: user.toUpperCase() });
  const response = await fetch(new URL("/v1/tokens", import.meta.resolve("costage")), { method: "POST", headers: { "Content-Type": "application/json" }, body });
  return (await response.json()).token;
}

useVue({ shallowRef, computed });
window.room = await Room.connect({ room, getToken });

const shown = ref(true);
const panel = role === "member" ? AudiencePanel : HostPanel;
createApp(() => [
  h("button", { name: "toggle", onClick: () => (shown.value = !shown.value) }, shown.value ? "Hide" : "Show"),
  shown.value ? h(panel, { user }) : h("p", "Hidden"),
]).mount("#app");
