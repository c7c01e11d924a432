// The live tail: what the bus brings while somebody looks.

import { Poll } from "./api.js";
import { element, setText } from "./dom.js";
import * as format from "./format.js";
import { Lines } from "./lines.js";

const LINES_MAX = 300;

/** Of a payload, in characters, before its line is opened. */
const SUMMARY_MAX = 200;

const EVERY_MS = 1_000;
const TYPING_MS = 200;

const details = document.getElementById("events");
const filter = document.getElementById("events-filter");
const pause = document.getElementById("events-pause");
const state = document.getElementById("events-state");

/**
 * @param {() => boolean} answers whether the gateway does
 * @returns {{ poll: Poll, restart: () => void }} `restart`: the gateway counts anew.
 */
export function tail(answers) {
  const lines = new Lines(document.getElementById("events-list"), LINES_MAX);
  let after;
  let paused = false;
  let seen = 0;
  let skipped = 0;
  let lastAsked = null;

  const poll = new Poll({
    path: "/api/events",
    every: () => EVERY_MS,
    query: () => ({ after, filter: filter.value.trim() }),
    wanted: () => details.open && !paused && !document.hidden && answers(),
    show(answer) {
      const now = Date.now();
      if (lastAsked !== null && answer.unwatched) {
        const span = `${format.clock(lastAsked)} to ${format.clock(now)}`;
        const text = `Nobody watched from ${span}: events of that time may be missing here.`;
        lines.add(() => element("li", "muted", text));
      }
      lastAsked = now;
      after = answer.next;
      seen += answer.events.length;
      skipped += answer.skipped;
      for (const event of answer.events) lines.add(() => line(event));
      tell();
    },
    fail: (problem) => setText(state, `Not up to date: ${problem.message}.`),
  });

  function tell() {
    const words = [paused ? "Paused" : "Following"];
    if (seen > 0) words.push(`${format.count(seen)} seen`);
    if (skipped > 0) words.push(`${format.count(skipped)} skipped, as there were too many`);
    setText(state, words.join(" · "));
  }

  function clear() {
    lines.clear();
    seen = skipped = 0;
    tell();
  }

  let typing = 0;
  filter.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      // The gateway still has the last events: they are looked through anew.
      after = undefined;
      clear();
      poll.now();
    }, TYPING_MS);
  });
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    setText(pause, paused ? "Go on" : "Pause");
    tell();
    poll.wake();
  });
  document.getElementById("events-clear").addEventListener("click", clear);
  details.addEventListener("toggle", () => {
    tell();
    poll.wake();
  });
  const restart = () => (after = undefined);
  return { poll, restart };
}

/** Opened, it shows the whole payload; few ever are, so that is made only then. */
function line({ at_ms, exchange, routing_key, event, payload, bytes, subscribers }) {
  const to = format.countOf(subscribers, "subscriber");
  const summary = element(
    "summary", "",
    element("time", "muted", format.clockMillis(at_ms)), " ",
    element("span", "topic", `${exchange} / ${format.name(routing_key)}`), " ",
    element("b", "", format.name(event)), " ",
    element("span", "payload", format.foreign(payload, SUMMARY_MAX)), " ",
    element("span", "muted to", to),
  );
  const details = element("details", "", summary);
  const size = `${format.bytes(bytes)} to ${to}`;
  const open = () => details.append(element("pre", "", payload), element("p", "muted", size));
  details.addEventListener("toggle", open, { once: true });
  return element("li", "", details);
}
