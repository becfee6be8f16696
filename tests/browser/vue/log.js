// What a panel tells its reader: events as they come, and calls that were refused.

import { onMounted, onUnmounted, ref } from "vue";

/** `hear` maps events to what is written of them; heard while the panel is shown. */
export function useLog({ subscribeEvent, unsubscribeEvent }, hear) {
  const log = ref([]);
  const failure = ref("");
  const listeners = Object.entries(hear).map(([name, tell]) => [name, (info) => log.value.push(`${name} ${tell(info) ?? ""}`.trim())]);
  onMounted(() => listeners.forEach(([name, listener]) => subscribeEvent(name, listener)));
  onUnmounted(() => listeners.forEach(([name, listener]) => unsubscribeEvent(name, listener)));

  /** A button's handler that shows why it could not. */
  const trying = (call) => async (...args) => {
    failure.value = "";
    try {
      await call(...args);
    } catch (error) {
      failure.value = error instanceof Error ? `${error.name} ${error.code}` : "not an Error";
    }
  };
  return { log, failure, trying };
}
