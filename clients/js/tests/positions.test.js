// Whatever happens in whatever order, each key hears every event of the log once and in order,
// from where it stood first: but for what it was told that it may have missed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../build/myxi.mjs";
import { Clock } from "./support/clock.js";
import { FakeSocket } from "./support/gateway.js";
import { Log, LogSession } from "./support/log.js";

const SEEDS = Number(process.env.MYXI_POSITIONS ?? 150);
const STEPS = 250;
const KEYS = ["a", "b", "c", "d", "e"];

/** The same for the same seed. */
function generator(seed) {
  let state = seed * 2_654_435_761;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What one subscription hears, held to the log. */
class Listener {
  /** The last that it heard, or where it began; unknown before it stands. */
  seen = undefined;
  /** It was told that events may be missing before the next. */
  loose = false;
  /** The latest events are on their way, which it may have heard. */
  latest = false;

  constructor(page, socket, key, options) {
    Object.assign(this, { page, key });
    this.subscription = socket.subscribe("widgets", key, options);
    this.subscription
      .on("Subscribed", (payload) => this.#subscribed(payload))
      .on("Changed", (index) => this.#changed(index))
      .on("Gap", ({ reconnected }) => this.#gap(reconnected))
      .on("Recovered", () => this.#recovered())
      .on("NotRecovered", () => this.#begins());
  }

  #subscribed({ recovered, latest }) {
    this.latest = latest === true;
    if (this.seen === undefined && !recovered) this.#begins();
  }

  /** What was before it does not get. */
  #begins() {
    this.latest = this.loose = false;
    this.seen = this.page.log.indexOf(this.page.subscribed);
  }

  #changed(index) {
    // Of a former subscription, or one of the latest.
    if (this.seen === undefined || this.latest) return;
    assert.ok(index > this.seen, `${this.key} hears ${index} after ${this.seen}`);
    if (!this.loose) this.whole(index - 1);
    this.loose = false;
    this.seen = index;
  }

  #gap(reconnected) {
    // What follows is from where it stands now, or it is that of a former subscription.
    if (reconnected || (this.seen === undefined && !this.latest)) return;
    this.loose = true;
    this.latest = false;
    this.seen ??= 0;
  }

  #recovered() {
    this.page.recovered++;
    const until = this.page.log.indexOf(this.page.replayed);
    if (!this.latest && !this.loose) this.whole(until);
    this.latest = this.loose = false;
    this.seen = Math.max(this.seen ?? 0, until);
  }

  /** It has heard all up to there. */
  whole(until) {
    const missed = this.page.log.between(this.key, this.seen, until);
    assert.deepEqual(missed, [], `${this.key} heard ${this.seen} last`);
  }
}

async function play(clock, seed) {
  const random = generator(seed);
  const chance = (share) => random() < share;
  const choose = (list) => list[Math.floor(random() * list.length)];
  const log = new Log();
  const page = { log, recovered: 0, subscribed: undefined, replayed: undefined };
  const sockets = [];
  class WebSocket extends FakeSocket {
    constructor(url) {
      super(url);
      sockets.push(this);
    }
  }
  const socket = new Connection("ws://gateway.test/", { WebSocket, pongTimeout: 1e9 });
  socket.addMessageHandler(({ event, payload }) => {
    if (event === "Subscribed") page.subscribed = payload.id;
    if (event === "Replayed") page.replayed = payload.id;
  });
  let session;
  const open = async () => {
    while (sockets.at(-1).readyState !== 0) await clock.advance(100);
    await sockets.at(-1).open();
    session = new LogSession(log, sockets.at(-1), chance);
  };
  await open();

  const listeners = new Map();
  const deliver = async () => {
    const message = session.outbox.shift();
    if (message) await session.socket.say(message);
  };
  const push = (delivered = true) => {
    log.keys.push(choose(KEYS));
    if (delivered) session.pushed();
  };
  const steps = [
    [6, () => push()],
    [3, () => session.act()],
    [5, () => session.replay(choose)],
    [8, deliver],
    [1, () => session.pong()],
    [1, () => clock.advance(1_000)],
    [0.3, () => { push(false); session.gap(); }],
    [1.5, () => {
      const key = choose(KEYS);
      if (listeners.has(key)) return;
      listeners.set(key, new Listener(page, socket, key, chance(0.2) ? { last: 1 + Math.floor(random() * 3) } : {}));
    }],
    [0.4, () => {
      const key = choose(KEYS);
      listeners.get(key)?.subscription.unsubscribe();
      listeners.delete(key);
    }],
    [0.6, async () => {
      await session.socket.end();
      // It is away for a while.
      for (let count = Math.floor(random() * 4); count > 0; count--) log.keys.push(choose(KEYS));
      await open();
    }],
  ];
  const total = steps.reduce((sum, [weight]) => sum + weight, 0);
  for (let n = 0; n < STEPS; n++) {
    let drawn = random() * total;
    await steps.find(([weight]) => (drawn -= weight) < 0)[1]();
  }
  // Then nothing more happens, and everything arrives.
  for (let quiet = 0; quiet < 60; quiet = session.idle ? quiet + 1 : 0) {
    session.act();
    session.replay(choose);
    await deliver();
    if (session.idle) await clock.advance(1_000);
  }
  for (const listener of listeners.values()) {
    assert.ok(listener.seen !== undefined && !listener.latest, `${listener.key} stands`);
    if (!listener.loose) listener.whole(log.head);
  }
  socket.disconnect();
  return page;
}

test(`${SEEDS} courses of events`, async (t) => {
  const clock = Clock.install(t);
  t.mock.method(Math, "random", () => 0.999);
  // A handler that throws is reported, and is to fail the test.
  const failures = [];
  t.mock.method(console, "error", (error) => failures.push(error));
  let recovered = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    recovered += (await play(clock, seed)).recovered;
    if (failures.length) assert.fail(`seed ${seed}: ${failures[0].stack}`);
  }
  t.diagnostic(`${recovered} times a key was recovered`);
  assert.ok(recovered > SEEDS);
});
