// The gateway's side of WebSockets that are none: what the library opens and sends, and what
// it is told.

import assert from "node:assert/strict";
import { Connection } from "../../build/myxi.mjs";
import { Clock, settled } from "./clock.js";

export class FakeSocket {
  readyState = 0;
  bufferedAmount = 0;
  /** What the library sent and the test has not looked at. */
  sent = [];
  closedWith = undefined;

  constructor(url) {
    this.url = url;
  }

  send(text) {
    assert.equal(this.readyState, 1, "sent on a socket that is not open");
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    if (this.readyState < 2) {
      this.readyState = 2;
      this.closedWith = code;
    }
  }

  async open(interval) {
    this.readyState = 1;
    this.onopen({});
    const payload = { id: "5edab4db47677f46", ping_interval_ms: interval ?? 25_000 };
    await this.say({ event: "Welcome", payload });
  }

  async say(message) {
    await this.frame(JSON.stringify(message));
  }

  async frame(data) {
    this.onmessage({ data });
    await settled();
  }

  async end(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose({ code, reason });
    await settled();
  }

  /** The next message, which must be this action. */
  takes(action) {
    const message = this.sent.shift();
    assert.equal(message?.action, action);
    return message;
  }

  /** Takes a `Subscribe` and allows every key; `more` is what a gateway with a log says, too. */
  async allows(more) {
    const { tag, payload } = this.takes("Subscribe");
    for (const routing_key of payload.routing_keys) {
      await this.say({ event: "Subscribed", tag, payload: { exchange: payload.exchange, routing_key, ...more } });
    }
    return payload;
  }

  /** Takes a `Subscribe` whose missed events are to follow; `ends(id)` is their end. */
  async replays(id) {
    const { tag } = this.sent[0];
    const payload = await this.allows({ id, recovered: true });
    const { exchange } = payload;
    const ends = (id) => this.say({ event: "Replayed", tag, payload: { exchange, id, count: 1 } });
    return { payload, ends };
  }

  async refuses(error, more = {}) {
    const { tag, payload } = this.takes("Subscribe");
    const { exchange } = payload;
    for (const routing_key of payload.routing_keys) {
      await this.say({ event: "Error", tag, payload: { error, retryable: false, exchange, routing_key, ...more } });
    }
  }

  async push(exchange, routing_key, event, payload, id) {
    await this.say({ event, payload, mq: { e: exchange, rk: routing_key, id } });
  }
}

/** A connection whose sockets and whose time are the test's. */
export function connect(t, options = {}, url = "ws://gateway.test/pushwss") {
  const clock = Clock.install(t);
  const sockets = [];
  class WebSocket extends FakeSocket {
    constructor(url) {
      super(url);
      sockets.push(this);
    }
  }
  t.mock.method(Math, "random", () => 0.999);
  const socket = new Connection(url, { WebSocket, ...options });
  const states = [];
  socket.on("state", (state) => states.push(state));
  return { clock, sockets, socket, states };
}

/** The same, open. */
export async function connectOpen(t, options, url) {
  const connected = connect(t, options, url);
  // A function is asked for the URL, and not at once.
  if (!connected.sockets.length) await settled();
  await connected.sockets[0].open();
  return { ...connected, gateway: connected.sockets[0] };
}

/** What `console[method]` is given during the test. */
export function complaints(t, method) {
  const { mock } = t.mock.method(console, method, () => {});
  return {
    get count() { return mock.callCount(); },
    get texts() { return mock.calls.map((call) => call.arguments.join(" ")); },
    first: () => mock.calls[0].arguments,
  };
}

/** How a promise stands now, without waiting for it. */
export async function outcome(promise) {
  const pending = settled().then(() => "pending");
  return Promise.race([promise.then((value) => ({ value }), (error) => ({ error })), pending]);
}

/** A promise that is looked at later, and may be rejected before. */
export function held(promise) {
  promise.catch(() => {});
  return promise;
}
