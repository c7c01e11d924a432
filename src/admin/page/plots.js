// The figures with their plots of the last 15 minutes. One moment is pointed at in all plots
// together, so that what went wrong at the same time is seen at once.

import { paint, setText } from "./dom.js";
import * as format from "./format.js";

const SPAN_MS = 15 * 60_000;

/** The coordinates of a plot, as its viewBox says. */
const WIDTH = 900;
const HEIGHT = 100;

/** How far an arrow key goes, in points, and how far a page key. */
const STEP = 1;
const LEAP = 12;

/**
 * `series`: the name in /api/history. `live`: the figure of now, from /api/overview; where there
 * is none, the newest point stands for it. `binary`: the axis ends at a power of two.
 */
const FIGURES = [
  { series: "connections", label: "Connections", text: format.count, live: (o) => o.now.connections },
  { series: "sessions", label: "Sessions", text: format.count, live: (o) => o.now.sessions },
  { series: "outbox_bytes", label: "In outboxes", text: format.bytes, live: (o) => o.now.outbox_bytes, binary: true },
  { series: "bytes_out", label: "Bytes out", text: format.byteRate, live: (o) => o.per_second.bytes_out, binary: true },
  { series: "events", label: "Events", text: format.rate, live: (o) => o.per_second.events },
  { series: "deliveries", label: "Deliveries", text: format.rate, live: (o) => o.per_second.deliveries },
  { series: "bus_lag_ms", label: "Bus lag", text: format.millis, live: (o) => o.bus.lag_ms },
  { series: "in_flight", label: "Calls in flight", text: format.count, live: (o) => o.application.in_flight },
  { series: "actions", label: "Actions", text: format.rate, live: (o) => o.per_second.actions },
  { series: "errors", label: "Errors", text: format.rate, live: (o) => o.per_second.errors },
  { series: "action_p99_ms", label: "Action p99", text: format.millis },
  { series: "application_p99_ms", label: "Application p99", text: format.millis, live: (o) => o.application.p99_ms },
];

export class Plots {
  #figures = FIGURES.map((definition) => new Figure(definition));
  #interval = 5_000;
  #end = 0;
  /** The moment pointed at, in ms; null for now. */
  #moment = null;

  constructor() {
    const root = document.querySelector("#figures .figures");
    root.append(...this.#figures.map(({ element }) => element));
    this.#figures[0].plot.tabIndex = 0;
    this.#figures.forEach((figure, index) => this.#listen(figure, index));
  }

  /** @param {any} overview the answer of /api/overview */
  now(overview) {
    for (const figure of this.#figures) figure.setLatest(overview);
    if (this.#moment === null) this.#point(null);
  }

  /** @param {any} history the answer of /api/history */
  history({ interval_ms, end_ms, series }) {
    this.#interval = interval_ms;
    this.#end = end_ms;
    for (const figure of this.#figures) figure.draw(series[figure.series] ?? [], interval_ms);
    this.#point(this.#moment);
  }

  /** @param {import("./verdict.js").Verdicts} verdicts whose figures show why */
  mark(verdicts) {
    const all = Object.values(verdicts);
    for (const figure of this.#figures) {
      figure.mark(all.find(({ figures }) => figures.includes(figure.series))?.state);
    }
  }

  #listen(figure, index) {
    const { plot } = figure;
    const pointer = ({ clientX }) => {
      const { left, width } = plot.getBoundingClientRect();
      this.#point(this.#end - SPAN_MS * (1 - (clientX - left) / width));
    };
    plot.addEventListener("pointermove", pointer);
    plot.addEventListener("pointerdown", pointer);
    plot.addEventListener("pointerleave", () => this.#point(null));
    plot.addEventListener("focus", () => {
      for (const { plot: other } of this.#figures) other.tabIndex = other === plot ? 0 : -1;
      if (plot.matches(":focus-visible")) this.#point(this.#moment ?? this.#end);
    });
    plot.addEventListener("blur", () => this.#point(null));
    plot.addEventListener("keydown", (event) => {
      if (this.#key(event.key, index)) event.preventDefault();
    });
  }

  /** Left and right go through time, up and down from plot to plot. Whether it is a key of ours. */
  #key(key, index) {
    const moment = this.#moment ?? this.#end;
    const last = this.#figures.length - 1;
    const time = {
      ArrowLeft: moment - STEP * this.#interval,
      ArrowRight: moment + STEP * this.#interval,
      PageUp: moment - LEAP * this.#interval,
      PageDown: moment + LEAP * this.#interval,
      Home: this.#end - SPAN_MS,
      End: this.#end,
      Escape: null,
    };
    const plot = { ArrowUp: Math.max(0, index - 1), ArrowDown: Math.min(last, index + 1) };
    if (key in time) this.#point(time[key]);
    else if (key in plot) this.#figures[plot[key]].plot.focus();
    else return false;
    return true;
  }

  #point(moment) {
    const points = Math.max(0, ...this.#figures.map(({ points }) => points.length));
    if (moment === null || points === 0) this.#moment = null;
    else {
      const back = Math.round((this.#end - moment) / this.#interval);
      this.#moment = this.#end - Math.min(Math.max(0, back), points - 1) * this.#interval;
    }
    for (const figure of this.#figures) figure.point(this.#moment, this.#end);
  }
}

class Figure {
  points = [];
  #interval = 5_000;
  #top = 1;
  #latest;

  constructor(definition) {
    Object.assign(this, definition);
    this.element = document.getElementById("figure").content.firstElementChild.cloneNode(true);
    this.element.id = `figure-${this.series}`;
    this.plot = this.element.querySelector(".plot");
    this.plot.setAttribute("aria-label", this.label);
    this.part(".label").textContent = this.label;
  }

  part(selector) {
    return this.element.querySelector(selector);
  }

  setLatest(overview) {
    this.#latest = this.live?.(overview);
  }

  mark(state) {
    this.part(".icon").toggleAttribute("hidden", !state);
    if (state) paint(this.element, state);
    else delete this.element.dataset.state;
  }

  draw(points, interval) {
    this.points = points;
    this.#interval = interval;
    this.#top = niceTop(Math.max(0, ...points), this.binary);
    setText(this.part(".top"), points.some(Number.isFinite) ? this.text(this.#top) : "");
    const runs = this.#runs();
    const through = (run) => run.map(([x, y]) => `${x} ${y}`).join("L");
    // A point alone is drawn as a line of no length, which has round ends.
    const line = runs.map((run) => `M${through(run)}${run.length === 1 ? "h0" : ""}`);
    const area = runs.map((run) => `M${run[0][0]} ${HEIGHT}L${through(run)}V${HEIGHT}Z`);
    this.part(".line").setAttribute("d", line.join(""));
    this.part(".area").setAttribute("d", area.join(""));
    this.plot.setAttribute("aria-valuemax", String(Math.max(0, points.length - 1)));
  }

  /** What lies between gaps, as coordinates. */
  #runs() {
    const runs = [];
    let run = null;
    this.points.forEach((value, index) => {
      if (value === null) {
        run = null;
        return;
      }
      if (!run) runs.push((run = []));
      run.push([round(this.#x(index)), round(this.#y(value))]);
    });
    return runs;
  }

  #x(index) {
    const age = (this.points.length - 1 - index) * this.#interval;
    return WIDTH * (1 - age / SPAN_MS);
  }

  #y(value) {
    return HEIGHT * (1 - value / this.#top);
  }

  /** Shows the value of one moment; null: of now. */
  point(moment, end) {
    const last = this.points.length - 1;
    if (moment === null) {
      const latest = this.live ? this.#latest : this.points[last];
      this.#tell(latest, last, "");
      this.#cross("", "");
      return;
    }
    const index = last - Math.round((end - moment) / this.#interval);
    const value = this.points[index];
    const x = round(this.#x(index));
    this.#tell(value, index, format.clock(moment));
    this.#cross(`M${x} 0V${HEIGHT}`, Number.isFinite(value) ? `M${x} ${round(this.#y(value))}h0` : "");
  }

  #tell(value, index, when) {
    setText(this.part(".value"), this.text(value));
    setText(this.part(".when"), when);
    this.element.classList.toggle("past", when !== "");
    const spoken = Number.isFinite(value) ? this.text(value) : "no value";
    this.plot.setAttribute("aria-valuenow", String(Math.max(0, index)));
    this.plot.setAttribute("aria-valuetext", when ? `${spoken} at ${when}` : `${spoken} now`);
  }

  #cross(cursor, dot) {
    this.part(".cursor").setAttribute("d", cursor);
    this.part(".dot").setAttribute("d", dot);
  }
}

/** The end of an axis: the next 1, 2 or 5 of a power of ten, or the next power of two. */
function niceTop(max, binary) {
  if (max <= 1) return 1;
  if (binary) return 2 ** Math.ceil(Math.log2(max));
  const power = 10 ** Math.floor(Math.log10(max));
  return [1, 2, 5, 10].find((step) => step * power >= max) * power;
}

const round = (value) => Math.round(value * 10) / 10;
