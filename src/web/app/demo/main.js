// `/demo`: join, be in the room, and what is shown once it is over.

import { Room } from "/costage.js";
import { inWords } from "../words.js";
import { $, icon, text } from "./dom.js";
import { Join } from "./join.js";
import { Live } from "./live.js";

const join = new Join(enter);

async function enter(session) {
  $("ended").hidden = true;
  let room;
  try {
    room = await Room.connect({ room: session.room, getToken: session.getToken });
  } catch (error) {
    over(session, { reason: error.code ?? "failed", error });
    return;
  }
  // One room at a time; the object is of use in the console as well.
  window.room = room;
  const live = new Live(room, { onOver: (end) => over(session, end) });
  live.render();
}

const ENDS = {
  left: { icon: "leave", title: "You have left the room", again: "Enter again" },
  closed: { icon: "leave", title: "You have left the room", again: "Enter again" },
  replaced: { icon: "people", title: "Opened somewhere else", text: "You have entered this room in another tab or on another device. Your seat is kept there.", again: "Use it here", direct: true },
  room_ended: { icon: "program", title: "The live has ended", again: "Back to the start" },
  removed: { icon: "ban", title: "You were removed from the room", again: "Back to the start" },
  banned: { icon: "ban", title: "You may not enter this room", text: "A host has removed you, for a while.", again: "Back to the start" },
  token_expired: { icon: "clock", title: "Your token has expired", text: "Get a new one to come back.", again: "Back to the start" },
  slow: { icon: "offline", title: "The line was too slow", text: "This page could not keep up with the room.", again: "Enter again", direct: true },
};

const ENDED = {
  ended: "The host has ended it. Thank you for being here.",
  host_away: "The host did not come back.",
  empty: "Nobody was here any more.",
};

/** The last screen, with the way back. */
function over(session, { reason, error, said }) {
  const end = ENDS[reason] ?? { icon: "offline", title: "You are out of the room", again: "Try again", direct: true };
  const words = {
    room_ended: ENDED[said?.reason] ?? ENDED.ended,
    removed: [said?.by && `${said.by} has removed you.`, said?.note && `“${said.note}”`].filter(Boolean).join(" "),
  }[reason];
  document.title = "Live · costage";
  $("ended-icon").replaceChildren(icon(end.icon));
  text($("ended-title"), end.title);
  text($("ended-text"), words || end.text || (error ? inWords(error) : ""));
  text($("ended-again"), end.again);
  $("ended").hidden = false;
  $("ended-title").focus();
  $("ended-again").onclick = () => {
    $("ended").hidden = true;
    if (end.direct) enter(session);
    else join.show();
  };
}
