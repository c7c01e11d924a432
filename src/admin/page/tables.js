// The tables: those that the gateway pages (sessions, topics), and those that fit on a screen.

import { Poll } from "./api.js";
import { element, setText } from "./dom.js";
import * as format from "./format.js";

const PAGE = 15;
const EVERY_MS = 2_000;

/** Between the last key pressed in a search field and the question. */
const TYPING_MS = 200;

/**
 * What a cell shows of a row: text, or what it is drawn with.
 *
 * @typedef {((row: any) => string) | { draw: (cell: HTMLTableCellElement, row: any) => void }} Column
 */

/**
 * A table of which the gateway sends one page: searched, sorted and turned there.
 *
 * @param {object} options
 * @param {string} options.id of the section; the answer holds the rows under the same name.
 * @param {Column[]} options.columns
 * @param {() => boolean} options.answers whether the gateway does
 * @returns {Poll}
 */
export function pagedTable({ id, columns, answers }) {
  const root = document.getElementById(id);
  const part = (selector) => root.querySelector(selector);
  const search = part("input[type=search]");
  const sorts = [...root.querySelectorAll("[data-sort]")];
  let sort = sorts[0]?.dataset.sort;
  let offset = 0;
  let onScreen = false;

  const poll = new Poll({
    path: `/api/${id}`,
    every: () => EVERY_MS,
    query: () => ({ search: search.value.trim(), sort, limit: PAGE, offset }),
    wanted: () => onScreen && !document.hidden && answers(),
    show(answer) {
      const last = lastPage(answer.matching);
      if (offset > 0 && answer[id].length === 0) {
        // They have gone while this page was looked at; or those that there are too many of end.
        turnTo(Math.min(offset - PAGE, last));
        return;
      }
      setText(part(".error"), "");
      setText(part(".range"), range(answer, answer[id].length));
      part(".previous").disabled = offset === 0;
      part(".next").disabled = offset >= last;
      fill(part("tbody"), answer[id], columns, search.value.trim() ? "None matches." : "None.");
    },
    fail: (problem) => setText(part(".error"), `Not up to date: ${problem.message}.`),
  });

  function turnTo(place) {
    offset = place;
    poll.now();
  }

  function range({ total, matching, sampled }, rows) {
    if (total === 0) return "";
    if (rows === 0) return `none of ${format.count(total)}`;
    const shown = `${format.count(offset + 1)}–${format.count(offset + rows)}`;
    if (sampled) return `${shown} of a sample of ${format.count(total)}`;
    if (matching === total) return `${shown} of ${format.count(total)}`;
    return `${shown} of ${format.count(matching)} found in ${format.count(total)}`;
  }

  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => turnTo(0), TYPING_MS);
  });
  part(".previous").addEventListener("click", () => turnTo(Math.max(0, offset - PAGE)));
  part(".next").addEventListener("click", () => turnTo(offset + PAGE));
  for (const button of sorts) {
    button.addEventListener("click", () => {
      sort = button.dataset.sort;
      for (const other of sorts) other.closest("th").removeAttribute("aria-sort");
      button.closest("th").setAttribute("aria-sort", "descending");
      turnTo(0);
    });
  }
  new IntersectionObserver(([{ isIntersecting }]) => {
    onScreen = isIntersecting;
    poll.wake();
  }).observe(root);
  return poll;
}

const lastPage = (rows) => Math.max(0, Math.ceil(rows / PAGE) - 1) * PAGE;

/** Draws a button that does something with the row, whichever stands there when it is pressed. */
export const button = (text, describe, press) => ({
  draw(cell, row) {
    cell.row = row;
    let made = cell.firstElementChild;
    if (!made) {
      made = element("button", "small", text);
      made.type = "button";
      made.addEventListener("click", () => press(cell.row));
      cell.append(made);
    }
    const label = describe(row);
    if (made.getAttribute("aria-label") !== label) made.setAttribute("aria-label", label);
  },
});

/** The name, and below it why it failed last. */
const nameAndError = {
  draw(cell, { action, last_error: error }) {
    if (!cell.firstElementChild) cell.append(element("span"), element("p", "why muted"));
    const [name, why] = cell.children;
    show(name, action);
    show(why, error ? `${format.clock(error.at_ms)} ${error.text}` : "");
  },
};

/** How many, with a mark while some of them have not received yet what they missed. */
const subscriptions = {
  draw(cell, { subscriptions: all, catching_up: late }) {
    if (!cell.firstElementChild) cell.append(element("span", "late"), element("span"));
    const [first, last] = cell.children;
    setText(first, late > 0 ? "↻\u00a0" : "");
    setText(last, format.count(all));
    const title = late > 0 ? `${format.count(late)} of them still receive what they missed` : "";
    if (cell.title !== title) cell.title = title;
  },
};

export const SESSION_COLUMNS = [
  (session) => session.id,
  (session) => session.identity ?? format.NONE,
  (session) => session.remote,
  (session) => format.duration(session.age_ms),
  subscriptions,
  (session) => format.bytes(session.outbox_bytes),
];

export const TOPIC_COLUMNS = [
  (topic) => topic.exchange,
  (topic) => topic.routing_key || "(empty)",
  (topic) => format.count(topic.subscribers),
];

/** Reasons that say who closed, which is not plain from the word alone. */
const WHO_CLOSED = { client: "by the client", application: "by the application", drain: "gateway ending" };

/** The tables that come whole with the overview. */
export function showCounts({ actions, errors, closed }, lately) {
  fill(document.querySelector("#actions tbody"), actions, [
    nameAndError,
    (row) => format.count(row.count),
    (row) => format.count(row.errors),
    (row) => format.millis(row.p50_ms),
    (row) => format.millis(row.p99_ms),
  ]);
  fill(document.querySelector("#errors tbody"), errors, [
    (row) => (row.code === "application" ? "the application's own" : row.code),
    (row) => format.count(lately.errors.of(row.code)),
    (row) => format.count(row.count),
  ]);
  fill(document.querySelector("#closes tbody"), closed, [
    (row) => WHO_CLOSED[row.reason] ?? row.reason.replaceAll("_", " "),
    (row) => format.count(lately.closed.of(row.reason)),
    (row) => format.count(row.count),
  ]);
}

/** Of a cell, in characters: more would push the other rows off the screen. */
const CELL_MAX = 100;

function show(cell, text) {
  const cut = text.length > CELL_MAX;
  setText(cell, format.foreign(text, CELL_MAX));
  if (cell.title !== (cut ? text : "")) cell.title = cut ? text : "";
}

/** Keeps the rows that are there, and changes only what reads differently. */
export function fill(body, rows, columns, nothing = "None since the start.") {
  if (rows.length === 0) {
    const only = body.firstElementChild;
    if (only?.className === "nothing" && only.textContent === nothing) return;
    const row = document.createElement("tr");
    row.className = "nothing";
    const cell = row.insertCell();
    cell.colSpan = columns.length;
    cell.textContent = nothing;
    body.replaceChildren(row);
    return;
  }
  if (body.firstElementChild?.className === "nothing") body.replaceChildren();
  while (body.rows.length > rows.length) body.lastElementChild.remove();
  while (body.rows.length < rows.length) {
    const row = body.insertRow();
    for (const _ of columns) row.insertCell();
  }
  rows.forEach((item, index) => {
    columns.forEach((column, place) => {
      const cell = body.rows[index].cells[place];
      if (typeof column === "function") show(cell, column(item));
      else column.draw(cell, item);
    });
  });
}
