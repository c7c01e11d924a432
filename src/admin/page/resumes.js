// Clients that come back: what became of their wishes for what they missed, and what there is
// for them in memory.

import { setText } from "./dom.js";
import * as format from "./format.js";
import { fill } from "./tables.js";

/** What the word alone does not say. */
const RESULTS = {
  expired: "expired: no longer in the log",
  unknown: "unknown: no place in this log",
  too_many: "too many events, or clients",
  no_log: "the exchange has no log",
  unavailable: "to be asked again",
  gap: "broke off with a gap",
  unsubscribed: "no longer wanted",
  cut_off: "left on the way",
};

const facts = (section, ...texts) => setText(document.querySelector(`#${section} .facts`), texts.filter(Boolean).join(" · "));

/** One name for what was asked and what came of it. */
export const resumeName = ({ asked, result }) => `${asked} ${result}`;

/** @param {import("./recent.js").Recent} lately by their names */
export function showResumes({ under_way, results, replayed, buffer, log }, lately) {
  fill(document.querySelector("#resumes tbody"), results, [
    (row) => RESULTS[row.result] ?? row.result,
    (row) => row.asked,
    (row) => format.count(lately.of(resumeName(row))),
    (row) => format.count(row.count),
  ]);
  facts(
    "resumes",
    `${format.count(under_way)} under way`,
    `${format.countOf(replayed.buffer, "event")} from memory, ${format.count(replayed.log)} from the log`,
  );
  fill(document.querySelector("#buffer tbody"), buffer.exchanges, [
    (row) => row.name,
    (row) => format.count(row.entries),
    (row) => format.bytes(row.bytes),
    (row) => format.duration(row.age_ms),
  ]);
  facts(
    "buffer",
    `${format.bytes(buffer.bytes)} of ${format.bytes(buffer.max_bytes)}`,
    (log.readings > 0 || log.waiting > 0) && `log read ${format.count(log.readings)}×, ${format.count(log.waiting)} waiting`,
    log.refused > 0 && `${format.count(log.refused)} waited in vain`,
  );
}
