// The console: asks the gateway how it is, again and again, and hands the answers to the parts
// of the page.

import { Poll } from "./api.js";
import { client, suggestAddress } from "./client.js";
import { askToClose, closing } from "./close.js";
import { setText } from "./dom.js";
import * as format from "./format.js";
import { Plots } from "./plots.js";
import { offerExchanges, push } from "./push.js";
import { Recent, SPAN_MS } from "./recent.js";
import { resumeName, showResumes } from "./resumes.js";
import { StatusStrip } from "./status.js";
import { SESSION_COLUMNS, TOPIC_COLUMNS, button, pagedTable, showCounts } from "./tables.js";
import { tail } from "./tail.js";
import { judge, unreachable } from "./verdict.js";

const OVERVIEW_MS = 1_000;
/** In a tab in the background, whose title and icon still tell. */
const BACKGROUND_MS = 5_000;
const HISTORY_MS = 5_000;

const strip = new StatusStrip();
const plots = new Plots();
const away = document.getElementById("away");
const figuresError = document.getElementById("figures-error");

/** What the last minute brought; `connections`: the most that there were, from the history. */
const lately = { errors: new Recent(), closed: new Recent(), actions: new Recent(), resumes: new Recent(), connections: 0 };

/** Whether the gateway answered when it was last asked. */
let answers = false;
/** It wants a token, which somebody has to give. */
let refused = false;
/** The gateway's time of its last answer, and of its start. */
let lastAnswer = null;
let startedMs = null;

const counts = (rows, name) => new Map(rows.map((row) => [row[name], row.count]));

function overviewCame(overview) {
  if (overview.started_ms !== startedMs) startedAnew(overview.started_ms);
  lately.errors.add(overview.now_ms, counts(overview.errors, "code"));
  lately.closed.add(overview.now_ms, counts(overview.closed, "reason"));
  lately.actions.add(overview.now_ms, counts(overview.actions, "action"));
  lately.resumes.add(overview.now_ms, new Map(overview.resumes.results.map((row) => [resumeName(row), row.count])));

  const verdicts = judge(overview, lately);
  strip.show(verdicts);
  plots.now(overview);
  plots.mark(verdicts);
  showCounts(overview, lately);
  showResumes(overview.resumes, lately.resumes);
  suggestAddress(overview.clients);
  offerExchanges(overview.bus.exchanges.map(({ name }) => name));
  lastAnswer = overview.now_ms;
  setText(document.getElementById("updated"), `as of ${format.clock(lastAnswer)}`);
  if (!answers) cameBack();
}

/** Its counters and its events begin again. */
function startedAnew(started) {
  startedMs = started;
  for (const recent of [lately.errors, lately.closed, lately.actions, lately.resumes]) recent.clear();
  lately.connections = 0;
  events.restart();
}

function cameBack() {
  answers = true;
  away.hidden = true;
  document.body.classList.remove("stale");
  for (const poll of others) poll.now();
}

function overviewFailed(problem) {
  answers = false;
  document.body.classList.add("stale");
  // The browser asks for the token by itself, in a window of its own: not every second.
  refused = problem.status === 401;
  const how = problem.status === 0 ? "away" : "answers with an error";
  const verdicts = unreachable(`${how}: ${problem.message}`);
  strip.show(verdicts);
  plots.mark(verdicts);
  const since = lastAnswer === null ? "" : ` The figures are those of ${format.clock(lastAnswer)}.`;
  const again = refused ? "" : " It is asked again every few seconds.";
  setText(away.querySelector("p"), `Gateway ${how}: ${problem.message}.${since}${again}`);
  setText(document.getElementById("retry"), refused ? "Give the token" : "Try now");
  away.hidden = false;
}

function historyCame(history) {
  setText(figuresError, "");
  plots.history(history);
  const points = Math.ceil(SPAN_MS / history.interval_ms);
  lately.connections = Math.max(0, ...history.series.connections.slice(-points));
}

const overview = new Poll({
  path: "/api/overview",
  every: () => (document.hidden ? BACKGROUND_MS : OVERVIEW_MS),
  wanted: () => !refused,
  show: overviewCame,
  fail: overviewFailed,
});

const history = new Poll({
  path: "/api/history",
  every: () => HISTORY_MS,
  wanted: () => answers && !document.hidden,
  show: historyCame,
  fail: ({ message }) => setText(figuresError, `Not up to date: ${message}.`),
});

const events = tail(() => answers);
const close = button("Close", ({ id }) => `Close session ${id}`, askToClose);
const sessions = pagedTable({ id: "sessions", columns: [...SESSION_COLUMNS, close], answers: () => answers });
const others = [
  history,
  events.poll,
  sessions,
  pagedTable({ id: "topics", columns: TOPIC_COLUMNS, answers: () => answers }),
];

client();
push();
closing(() => sessions.now());
document.getElementById("retry").addEventListener("click", () => {
  if (refused) location.reload();
  else overview.now();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  overview.now();
  for (const poll of others) poll.wake();
});
overview.wake();
