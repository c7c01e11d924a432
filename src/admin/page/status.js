// Which part is unwell, and why, in words. Judged from what the gateway says of itself; the
// thresholds are here and nowhere else.

import * as format from "/format.js";

/** A call or an event that takes this long is felt by a person. */
const SLOW_MS = 1_000;

/** This far behind, clients see the past. */
const FAR_BEHIND_MS = 10_000;

/** From here on a burst of actions has to wait for its turn. */
const NEARLY_FULL = 0.8;

/** Of the actions of a minute; fewer failures than this are an accident. */
const FAILING = 0.01;

/** Fewer connections than this come and go without meaning anything. */
const CROWD = 10;

/** What goes wrong between the gateway and the application, never by a client's fault. */
const FAILURES = ["ActionTimeout", "ApplicationUnavailable", "Busy", "InternalError"];

const PARTS = [
  { id: "gateway", title: "Gateway", name: "the gateway" },
  { id: "bus", title: "Bus", name: "the bus" },
  { id: "application", title: "Application", name: "the application" },
  { id: "clients", title: "Clients", name: "the clients" },
];

const RANK = { well: 0, unknown: 1, strained: 2, unwell: 3 };

/** Of the favicon, which knows no style sheet and may stand on any background. */
const COLOURS = { well: "#12936d", unknown: "#808884", strained: "#c98500", unwell: "#d3362b" };

/**
 * @typedef {{ state: "well" | "strained" | "unwell" | "unknown", reason: string, facts?: string,
 *   figures?: string[] }} Verdict  `figures`: the series that show it.
 */

/**
 * @param {any} overview the answer of /api/overview
 * @param {{ errors: Recent, closed: Recent, actions: Recent, connections: number }} lately what
 *   the last minute brought; `connections`: the most there were.
 * @returns {Record<string, Verdict>} by part
 */
export function judge(overview, lately) {
  const others = { bus: bus(overview), application: application(overview, lately), clients: clients(overview, lately) };
  return { gateway: gateway(overview, others), ...others };
}

/** While the gateway does not answer, nobody knows about the rest. */
export function unreachable(reason) {
  const unknown = { state: "unknown", reason: "Not known while the gateway does not answer" };
  return { gateway: { state: "unwell", reason }, bus: unknown, application: unknown, clients: unknown };
}

function gateway({ status, version, replica, started_ms, now_ms }, others) {
  const facts = list([`up ${format.duration(now_ms - started_ms)}`, `replica ${replica}`, version]);
  switch (status) {
    case "ready":
      return { state: "well", reason: "Ready", facts };
    case "degraded":
      return { state: "well", reason: sentence(`serves its clients, degraded by ${and(names(others, "unwell")) || "another part"}`), facts };
    case "draining":
      return { state: "strained", reason: "Draining: it sends its clients away and takes no new ones", facts };
    case "starting":
      return { state: "unwell", reason: "Starting: not ready before it was once attached to the bus", facts };
    default:
      return { state: "unwell", reason: `Not ready (${status}): it gets no new clients`, facts };
  }
}

/** Begins every reason that is not the bus's own. */
const OF_THE_APPLICATION = "the application: ";

function bus({ bus, reasons }) {
  const lag = bus.lag_ms !== null && `lag ${format.millis(bus.lag_ms)}`;
  const facts = list([bus.kind === "memory" ? "in memory, this replica alone" : bus.kind, lag]);
  const lost = bus.exchanges.filter((exchange) => !exchange.attached).map((exchange) => exchange.name);
  const problems = reasons.filter((reason) => !reason.startsWith(OF_THE_APPLICATION));
  if (problems.length === 0) {
    if (!bus.connected) problems.push("not connected");
    if (bus.blocked) problems.push("the broker holds publishers back");
    if (lost.length > 0) problems.push(`not attached to ${lost.join(", ")}`);
  }
  if (problems.length > 0) return { state: "unwell", reason: problems.map(sentence).join("\n"), facts, figures: ["bus_lag_ms"] };
  if (bus.lag_ms >= SLOW_MS) {
    const state = bus.lag_ms >= FAR_BEHIND_MS ? "unwell" : "strained";
    return { state, reason: `${format.millis(bus.lag_ms)} behind: events reach clients late`, facts, figures: ["bus_lag_ms"] };
  }
  const names = bus.exchanges.map((exchange) => exchange.name);
  return { state: "well", reason: `Attached to ${names.length <= 3 ? names.join(", ") : `${names.length} exchanges`}`, facts };
}

function application({ application: app }, { errors, actions }) {
  const latency = app.p99_ms === null ? "no calls lately" : `p50 ${format.millis(app.p50_ms)}, p99 ${format.millis(app.p99_ms)}`;
  const facts = list([latency, `${format.count(app.in_flight)} of ${format.count(app.max_in_flight)} calls in flight`]);
  if (!app.reachable) return { state: "unwell", reason: sentence(app.problem ?? "it cannot be reached"), facts, figures: ["errors"] };
  if (app.in_flight >= app.max_in_flight) {
    const reason = "Every call that is allowed is in flight: actions wait, then fail with Busy";
    return { state: "unwell", reason, facts, figures: ["in_flight"] };
  }
  const failed = FAILURES.map((code) => ({ code, count: errors.of(code) })).filter(({ count }) => count > 0);
  const sum = failed.reduce((sum, { count }) => sum + count, 0);
  if (sum > 0 && sum >= actions.total() * FAILING) {
    const kinds = failed.map(({ code, count }) => `${format.count(count)} ${code}`);
    return { state: "strained", reason: `In the last minute ${kinds.join(", ")}`, facts, figures: ["errors"] };
  }
  if (app.in_flight >= app.max_in_flight * NEARLY_FULL) {
    return { state: "strained", reason: "Nearly every call that is allowed is in flight", facts, figures: ["in_flight"] };
  }
  if (app.p99_ms >= SLOW_MS) {
    return { state: "strained", reason: `Slow: one call in a hundred takes ${format.millis(app.p99_ms)} or more`, facts, figures: ["application_p99_ms"] };
  }
  if (app.problem) return { state: "strained", reason: sentence(app.problem), facts };
  return { state: "well", reason: "Reachable", facts };
}

function clients({ now }, { closed, connections }) {
  const facts = list([
    `${format.count(now.subscriptions)} subscriptions`,
    `${format.count(now.topics)} topics`,
    `${format.bytes(now.outbox_bytes)} in outboxes`,
  ]);
  const here = now.connections === 1 ? "1 connection" : `${format.count(now.connections)} connections`;
  if (connections >= CROWD && now.connections < connections / 2) {
    const reason = `${here}; within the last minute there were ${format.count(connections)}`;
    return { state: "unwell", reason, facts, figures: ["connections", "sessions"] };
  }
  const slow = closed.of("slow_consumer");
  if (slow > 0) {
    const reason = `${here}; ${format.count(slow)} cut off in the last minute, as they did not read`;
    return { state: "strained", reason, facts, figures: ["outbox_bytes"] };
  }
  return { state: "well", reason: now.connections === 0 ? "Nobody is connected" : here, facts };
}

/** What counters that only grow have gained within the last minute, as far as was watched. */
export class Recent {
  static SPAN_MS = 60_000;

  #samples = [];

  /** @param {Map<string, number>} counts since the gateway's start */
  add(now, counts) {
    const newest = this.#samples.at(-1);
    // Two answers at once would let the samples grow beyond one a second.
    if (newest && now - newest.now < 500) newest.counts = counts;
    else this.#samples.push({ now, counts });
    while (now - this.#samples[0].now > Recent.SPAN_MS) this.#samples.shift();
  }

  of(name) {
    const last = this.#samples.at(-1)?.counts.get(name) ?? 0;
    return Math.max(0, last - (this.#samples[0]?.counts.get(name) ?? 0));
  }

  total() {
    return [...(this.#samples.at(-1)?.counts.keys() ?? [])].reduce((sum, name) => sum + this.of(name), 0);
  }

  /** The gateway started again: it counts from 0. */
  clear() {
    this.#samples = [];
  }
}

/** The strip with one card a part, the verdict above, the tab's title and its icon. */
export class StatusStrip {
  #parts = new Map();
  #verdict = document.getElementById("verdict");

  constructor() {
    const template = document.getElementById("part");
    for (const { id, title } of PARTS) {
      const part = template.content.firstElementChild.cloneNode(true);
      part.id = `part-${id}`;
      part.querySelector("h3").textContent = title;
      document.querySelector("#status .parts").append(part);
      this.#parts.set(id, part);
    }
  }

  /** @param {Record<string, Verdict>} verdicts by part */
  show(verdicts) {
    for (const [id, part] of this.#parts) {
      const { state, reason, facts = "" } = verdicts[id];
      paint(part, state);
      setText(part.querySelector(".state"), state);
      setText(part.querySelector(".reason"), reason);
      setText(part.querySelector(".facts"), facts);
    }
    const worst = Object.values(verdicts).reduce((worst, { state }) => (RANK[state] > RANK[worst] ? state : worst), "well");
    const ill = names(verdicts, worst);
    const are = ill.length > 1 || ill[0] === "the clients" ? "are" : "is";
    const words = worst === "well" ? "All is well" : sentence(`${and(ill)} ${are} ${worst}`);
    paint(this.#verdict, worst);
    // Only a change is announced by a screen reader.
    setText(this.#verdict.querySelector(".words"), words);
    setText(document.querySelector("title"), worst === "well" ? "myxi" : `${words} – myxi`);
    favicon(worst);
  }
}

/** Gives an element with an icon the colour and the shape of a state. */
export function paint(element, state) {
  if (element.dataset.state === state) return;
  element.dataset.state = state;
  element.querySelector("use").setAttribute("href", `#icon-${state}`);
}

function favicon(state) {
  const link = document.getElementById("favicon");
  const shape = state === "well" ? '<circle cx="8" cy="8" r="7"/>' : '<path d="M8 0 16 15H0z"/>';
  const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="${COLOURS[state]}">${shape}</svg>`;
  const href = `data:image/svg+xml,${encodeURIComponent(icon)}`;
  if (link.href !== href) link.href = href;
}

/** Leaves what stands there already alone: a reader's selection, a screen reader's place. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Breaks between facts only. */
const list = (facts) => facts.filter(Boolean).map((fact) => fact.replaceAll(" ", "\u00a0")).join("\u00a0· ");

/** Of the parts that are in one state. */
const names = (verdicts, state) => PARTS.filter(({ id }) => verdicts[id]?.state === state).map(({ name }) => name);

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const and = (names) => (names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0]);
