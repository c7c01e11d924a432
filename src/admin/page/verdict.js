// Which part is unwell, and why, in words. Judged from what the gateway says of itself; the
// thresholds are here and nowhere else.

import * as format from "./format.js";

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

/** Things with the same trouble that are named, before the rest is counted. */
const NAMED_MAX = 4;

/** What goes wrong between the gateway and the application, never by a client's fault. */
const FAILURES = ["ActionTimeout", "ApplicationUnavailable", "Busy", "InternalError"];

/** Begins those of the gateway's reasons that are not the bus's. */
const OF_THE_APPLICATION = "the application: ";

export const PARTS = [
  { id: "gateway", title: "Gateway", name: "the gateway" },
  { id: "bus", title: "Bus", name: "the bus" },
  { id: "application", title: "Application", name: "the application" },
  { id: "clients", title: "Clients", name: "the clients" },
];

const RANK = { well: 0, unknown: 1, strained: 2, unwell: 3 };

/**
 * @typedef {"well" | "strained" | "unwell" | "unknown"} State
 * @typedef {{ state: State, reason: string, facts: string, figures: string[] }} Verdict
 *   `figures`: the series that show it.
 * @typedef {Record<string, Verdict>} Verdicts by part
 */

/**
 * @param {any} overview the answer of /api/overview
 * @param {Record<"errors" | "closed" | "actions", import("./recent.js").Recent>
 *   & { connections: number }} lately what the last minute brought; `connections`: the most
 *   that there were.
 * @returns {Verdicts}
 */
export function judge(overview, lately) {
  const others = {
    bus: bus(overview),
    application: application(overview.application, lately),
    clients: clients(overview.now, lately),
  };
  return { gateway: gateway(overview, others), ...others };
}

/** While the gateway does not answer, nobody knows about the rest. */
export function unreachable(reason) {
  const unknown = verdict("")("unknown", "not known while the gateway does not answer");
  const gateway = verdict("")("unwell", reason);
  return { gateway, bus: unknown, application: unknown, clients: unknown };
}

/** All parts in one sentence, and how the worst of them is. */
export function sum(verdicts) {
  const states = Object.values(verdicts).map(({ state }) => state);
  const worst = states.reduce((worst, state) => (RANK[state] > RANK[worst] ? state : worst));
  if (worst === "well") return { state: worst, words: "All is well" };
  const ill = names(verdicts, worst);
  const are = ill.length > 1 || ill[0] === "the clients" ? "are" : "is";
  return { state: worst, words: sentence(`${and(ill)} ${are} ${worst}`) };
}

function gateway({ status, version, replica, started_ms, now_ms }, others) {
  const up = format.duration(now_ms - started_ms);
  const judged = verdict(list([`up ${up}`, `replica ${replica}`, version]));
  const cause = and(names(others, "unwell"));
  switch (status) {
    case "ready":
      return judged("well", "ready");
    case "degraded":
      return judged("well", `serves its clients, degraded by ${cause || "another part"}`);
    case "draining":
      return judged("strained", "draining: it sends its clients away and takes no new ones");
    case "starting":
      return judged("strained", "starting: no clients before it was once attached to the bus");
    default:
      // Where another part is the cause, that is the one to look at.
      return cause
        ? judged("strained", `${status}: it gets no new clients because of ${cause}`)
        : judged("unwell", `${status}: it gets no new clients`);
  }
}

function bus({ bus, reasons }) {
  const lag = bus.lag_ms !== null && `lag ${format.millis(bus.lag_ms)}`;
  const kind = bus.kind === "memory" ? "in memory, this replica alone" : bus.kind;
  const gathered = bus.events_per_message;
  const shared = gathered !== null && `${format.average(gathered)} events per message`;
  const again = bus.duplicates > 0 && `${format.count(bus.duplicates)} pushed again`;
  const judged = verdict(list([kind, lag, shared, again]));
  const problems = reasons.filter((reason) => !reason.startsWith(OF_THE_APPLICATION));
  if (problems.length === 0) {
    const lost = bus.exchanges.filter(({ attached }) => !attached).map(({ name }) => name);
    if (!bus.connected) problems.push("not connected");
    if (bus.blocked) problems.push("the broker holds publishers back");
    if (lost.length > 0) problems.push(`not attached to ${lost.join(", ")}`);
  }
  if (problems.length > 0) {
    return judged("unwell", byCause(problems).map(sentence).join("\n"), "bus_lag_ms", "events");
  }
  if (bus.lag_ms >= SLOW_MS) {
    const state = bus.lag_ms >= FAR_BEHIND_MS ? "unwell" : "strained";
    const reason = `${format.millis(bus.lag_ms)} behind: events reach clients late`;
    return judged(state, reason, "bus_lag_ms");
  }
  const exchanges = bus.exchanges.map(({ name }) => name);
  const to = exchanges.length <= 3 ? exchanges.join(", ") : `${exchanges.length} exchanges`;
  return judged("well", `attached to ${to}`);
}

function application({ address, reachable, problem, in_flight, max_in_flight, p50_ms, p99_ms }, { errors, actions }) {
  const quiet = p99_ms === null;
  const latency = quiet ? "no calls lately" : `p50 ${format.millis(p50_ms)}, p99 ${format.millis(p99_ms)}`;
  const calls = `${format.count(in_flight)} of ${format.count(max_in_flight)} calls in flight`;
  const judged = verdict(list([address, latency, calls]));
  if (!reachable) return judged("unwell", problem ?? "it cannot be reached", "errors");
  const full = in_flight >= max_in_flight;
  // Waiting for a turn is by design; not to get one is not.
  if (full && errors.of("Busy") > 0) {
    return judged("unwell", "as many calls in flight as are allowed: actions wait, then fail with Busy", "in_flight");
  }
  const failed = FAILURES.map((code) => ({ code, count: errors.of(code) })).filter(({ count }) => count > 0);
  const failures = failed.reduce((sum, { count }) => sum + count, 0);
  if (failures > 0 && failures >= actions.total() * FAILING) {
    const kinds = failed.map(({ code, count }) => `${format.count(count)} ${code}`);
    return judged("strained", `in the last minute ${kinds.join(", ")}`, "errors");
  }
  if (in_flight >= max_in_flight * NEARLY_FULL) {
    const allowed = "as many calls in flight as are allowed";
    return judged("strained", full ? `${allowed}: actions wait for their turn` : `nearly ${allowed}`, "in_flight");
  }
  if (p99_ms >= SLOW_MS) {
    const reason = `slow: one call in a hundred takes ${format.millis(p99_ms)} or more`;
    return judged("strained", reason, "application_p99_ms");
  }
  return judged("well", "reachable");
}

function clients(now, { closed, connections }) {
  const judged = verdict(
    list([
      format.countOf(now.subscriptions, "subscription"),
      format.countOf(now.topics, "topic"),
      `${format.bytes(now.outbox_bytes)} in outboxes`,
    ]),
  );
  const here = format.countOf(now.connections, "connection");
  if (connections >= CROWD && now.connections < connections / 2) {
    const reason = `${here}; within the last minute there were ${format.count(connections)}`;
    return judged("unwell", reason, "connections", "sessions");
  }
  const slow = closed.of("slow_consumer");
  if (slow > 0) {
    const reason = `${here}; ${format.count(slow)} cut off in the last minute, as they did not read`;
    return judged("strained", reason, "outbox_bytes");
  }
  return judged("well", now.connections === 0 ? "nobody is connected" : here);
}

/** What ails several things in the same way is told once: each reason is "who: why". */
function byCause(reasons) {
  const causes = new Map();
  for (const reason of reasons) {
    const [, who = "", why = reason] = /^(.*?): (.*)$/s.exec(reason) ?? [];
    causes.set(why, [...(causes.get(why) ?? []), { who, reason }]);
  }
  return [...causes].map(([why, all]) => {
    if (all.length === 1) return all[0].reason;
    const named = all.slice(0, NAMED_MAX).map(({ who }) => who);
    const more = all.length > NAMED_MAX ? [`${all.length - NAMED_MAX} more`] : [];
    return `${why} (${[...named, ...more].join("; ")})`;
  });
}

/** Of a part with these facts. */
const verdict =
  (facts) =>
  /** @returns {Verdict} */
  (state, reason, ...figures) => ({ state, reason: sentence(reason), facts, figures });

/** Breaks between facts only. */
function list(facts) {
  const whole = facts.filter(Boolean).map((fact) => fact.replaceAll(" ", "\u00a0"));
  return whole.join("\u00a0· ");
}

/** Of the parts that are in one state. */
function names(verdicts, state) {
  return PARTS.filter(({ id }) => verdicts[id]?.state === state).map(({ name }) => name);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const and = (names) => (names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : (names[0] ?? ""));
