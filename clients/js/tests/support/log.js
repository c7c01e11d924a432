// A gateway with one exchange, whose log anybody may write to: what sessions are told of it, in
// an order and at a time that the test decides.

import assert from "node:assert/strict";

const EXCHANGE = "widgets";
/** Positions that nobody can compare, nor guess from another. */
const [FACTOR, PRIME] = [7_919, 10_007];
const positionOf = (index) => `p${(index * FACTOR) % PRIME}`;
const INDEXES = new Map(Array.from({ length: PRIME }, (_, index) => [positionOf(index), index]));

export class Log {
  /** The key of each event; the first has the index 1. */
  keys = [];

  get head() {
    return this.keys.length;
  }

  /** Behind how many events that position is. */
  indexOf(position) {
    const index = INDEXES.get(position);
    assert.ok(index <= this.head, `${position} is no position of this log`);
    return index;
  }

  /** Those of this key behind one index, up to another. */
  between(key, after, until) {
    const found = [];
    for (let index = after + 1; index <= until; index++) if (this.keys[index - 1] === key) found.push(index);
    return found;
  }
}

/** The gateway's side of one connection. What it says waits in `outbox`. */
export class LogSession {
  outbox = [];
  #live = new Set();
  #replays = [];

  constructor(log, socket, chance) {
    Object.assign(this, { log, socket, chance });
  }

  get idle() {
    return !this.outbox.length && !this.#replays.length && !this.socket.sent.length;
  }

  #say(event, payload, tag) {
    this.outbox.push({ event, tag, payload });
  }

  #event(index) {
    const mq = { e: EXCHANGE, rk: this.log.keys[index - 1], id: positionOf(index) };
    this.outbox.push({ event: "Changed", payload: index, mq });
  }

  /** What has just been written, unless the bus has lost it. */
  pushed() {
    if (this.#live.has(this.log.keys.at(-1))) this.#event(this.log.head);
  }

  /** Events may be missing, up to here. */
  gap() {
    const keys = [...this.#live];
    for (const [n, routing_key] of keys.entries()) {
      const id = n === keys.length - 1 ? positionOf(this.log.head) : undefined;
      this.#say("Gap", { exchange: EXCHANGE, routing_key, id });
    }
  }

  /** The next thing that the client asked for. */
  act() {
    const { action, tag, payload } = this.socket.sent.shift() ?? {};
    if (action === "Subscribe") this.#subscribe(tag, payload);
    if (action === "Unsubscribe") this.#unsubscribe(payload.routing_key);
    if (action === "Ping") this.pong();
  }

  pong() {
    const positions = this.#live.size ? { [EXCHANGE]: positionOf(this.log.head) } : {};
    this.#say("Pong", { time: 0, positions }, "myxi:ping");
  }

  #subscribe(tag, { exchange, routing_keys, after, last }) {
    const replay = { tag, keys: new Set(), at: this.log.head, skipped: 0, early: [] };
    const asked = after !== undefined || last !== undefined;
    if (after !== undefined) replay.at = this.log.indexOf(after);
    const id = positionOf(this.log.head);
    for (const routing_key of routing_keys) {
      const topic = { exchange, routing_key };
      const known = this.#live.has(routing_key) || this.#replays.some(({ keys }) => keys.has(routing_key));
      assert.ok(!known, `${routing_key} is asked for twice`);
      if (this.chance(0.1)) {
        this.#say("Error", { ...topic, error: "ExchangeUnavailable", retryable: true }, tag);
      } else if (asked && this.chance(0.8)) {
        replay.keys.add(routing_key);
        if (last) replay.early.push(...this.log.between(routing_key, 0, this.log.head).slice(-last));
        this.#say("Subscribed", { ...topic, id, recovered: true, latest: !!last }, tag);
      } else {
        this.#live.add(routing_key);
        const refused = asked ? { recovered: false, reason: "expired" } : {};
        this.#say("Subscribed", { ...topic, id, ...refused }, tag);
      }
    }
    replay.early.sort((one, other) => one - other);
    if (replay.keys.size) this.#replays.push(replay);
  }

  #unsubscribe(routing_key) {
    this.#live.delete(routing_key);
    for (const { keys } of this.#replays) keys.delete(routing_key);
    this.#say("Unsubscribed", { exchange: EXCHANGE, routing_key, auto: false });
  }

  /** One of the replays that are under way comes one event further, or to its end. */
  replay(choose) {
    if (!this.#replays.length) return;
    const replay = choose(this.#replays);
    const { keys, early } = replay;
    let index;
    while (early.length && !keys.has(this.log.keys[early[0] - 1])) early.shift();
    if (early.length) index = early.shift();
    while (!index && replay.at < this.log.head) if (keys.has(this.log.keys[replay.at++])) index = replay.at;
    const impossible = this.chance(0.02);
    if (index && !impossible) return this.#event(index);
    if (impossible) for (const routing_key of keys) this.#say("Gap", { exchange: EXCHANGE, routing_key });
    for (const key of keys) this.#live.add(key);
    this.#replays.splice(this.#replays.indexOf(replay), 1);
    this.#say("Replayed", { exchange: EXCHANGE, id: positionOf(this.log.head), count: 0 }, replay.tag);
  }
}
