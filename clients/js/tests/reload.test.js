// A page that is loaded again goes on where it was: `resume: "session"`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { asBrowser, become } from "./support/browser.js";
import { settled } from "./support/clock.js";
import { connectOpen } from "./support/gateway.js";

/** What a tab has: kept while its pages come and go, and copied when somebody duplicates it. */
class Storage {
  items = new Map();

  getItem(name) {
    return this.items.get(name) ?? null;
  }

  setItem(name, value) {
    this.items.set(name, String(value));
  }

  duplicate() {
    return Object.assign(new Storage(), { items: new Map(this.items) });
  }
}

/** As a browser has it: reading it may throw already. */
function withStorage(t, get) {
  Object.defineProperty(globalThis, "sessionStorage", { configurable: true, get });
  t.after(() => delete globalThis.sessionStorage);
}

/** A page of the tab that has this storage; `leave` is the end of it. */
async function load(t, storage, { url, ...options } = {}) {
  const browser = asBrowser(t);
  withStorage(t, typeof storage === "function" ? storage : () => storage);
  const connected = await connectOpen(t, { resume: "session", ...options }, url);
  const { gateway, socket } = connected;
  const subscribe = async (...topics) => {
    const subscriptions = topics.map((topic) => socket.subscribe("widgets", ...[topic].flat()));
    await settled();
    return subscriptions;
  };
  /** What it asks for: keys, and after which position. */
  const asks = async (...topics) => {
    await subscribe(...topics);
    return gateway.sent.map(({ payload: { routing_keys, after } }) => [routing_keys.join(), after]);
  };
  const leave = () => browser.window.dispatchEvent(new Event("pagehide"));
  return { ...connected, ...browser, subscribe, asks, leave };
}

/** A tab whose page was left with keys 1 and 2 at `a`, and 3 in the middle of a replay, at `b`. */
async function leftTab(t, options) {
  const storage = new Storage();
  const { clock, sockets, gateway, subscribe, leave } = await load(t, storage, options);
  await subscribe(3);
  await gateway.allows({ id: "start" });
  await gateway.end();
  await clock.advance(500);
  await sockets[1].open();
  await sockets[1].replays("start");
  await sockets[1].push("widgets", "3", "Changed", 7, "b");
  await subscribe(1, 2);
  await sockets[1].allows({ id: "now" });
  await sockets[1].push("widgets", "1", "Changed", 7, "a");
  leave();
  return storage;
}

test("each key goes on from its own position, once; others are new", async (t) => {
  const { gateway, subscribe, asks, socket } = await load(t, await leftTab(t));
  const heard = [];
  for (const name of ["Recovered", "NotRecovered", "Gap"]) socket.on(name, ({ routing_key }) => heard.push([name, routing_key]));
  const [one] = await subscribe(1, 3, 4);
  const { payload, ends } = await gateway.replays("z");
  assert.deepEqual(payload, { exchange: "widgets", routing_keys: ["1"], after: "a" });
  assert.equal((await (await gateway.replays("z")).payload).after, "b");
  assert.deepEqual(await gateway.allows({ id: "z" }), { exchange: "widgets", routing_keys: ["4"] });
  await gateway.push("widgets", "1", "Changed", 7, "c");
  await ends("z");
  await gateway.push("widgets", "1", "Changed", 7, "zz");
  assert.deepEqual(heard, [["Recovered", "1"]]);
  // The rest is as it was when the page was loaded, whatever has come since.
  one.unsubscribe();
  gateway.takes("Unsubscribe");
  assert.deepEqual(await asks(1, 2), [["1", undefined], ["2", "a"]]);
});

test("what cannot be recovered is told, and Gap", async (t) => {
  const { gateway, subscribe, socket } = await load(t, await leftTab(t));
  const heard = [];
  for (const name of ["NotRecovered", "Gap"]) socket.on(name, (payload) => heard.push([name, payload.reason ?? payload.reconnected]));
  await subscribe(1);
  await gateway.allows({ id: "z", recovered: false, reason: "expired" });
  assert.deepEqual(heard, [["NotRecovered", "expired"], ["Gap", true]]);
});

test("mounted, gone and mounted again: it goes on all the same", async (t) => {
  const { socket, asks } = await load(t, await leftTab(t));
  socket.subscribe("widgets", 1).unsubscribe();
  assert.deepEqual(await asks(1), [["1", "a"]]);
});

test("loaded again before it has asked, and once more after it has", async (t) => {
  const storage = await leftTab(t);
  (await load(t, storage)).leave();
  const second = await load(t, storage);
  assert.deepEqual(await second.asks(1), [["1", "a"]]);
  second.leave();
  const third = await load(t, storage);
  assert.deepEqual(await third.asks(1, 2), [["1,2", "a"]]);
  await (await third.gateway.replays("c")).ends("c");
  await third.gateway.push("widgets", "1", "Changed", 7, "d");
  third.leave();
  assert.deepEqual(await (await load(t, storage)).asks(1, 2, 3), [["1,2", "d"], ["3", "b"]]);
});

test("who wants the latest events gets those, and does not go on from before later", async (t) => {
  const { gateway, subscribe, asks } = await load(t, await leftTab(t));
  const [latest] = await subscribe([1, { last: 3 }]);
  assert.deepEqual(gateway.takes("Subscribe").payload, { exchange: "widgets", routing_keys: ["1"], last: 3 });
  latest.unsubscribe();
  gateway.takes("Unsubscribe");
  assert.deepEqual(await asks(1), [["1", undefined]]);
});

test("a page that is hidden may end without a word", async (t) => {
  const storage = new Storage();
  const { document, gateway, subscribe } = await load(t, storage);
  await subscribe(1);
  await gateway.allows({ id: "start" });
  become(document, "visible");
  assert.equal(storage.items.size, 0);
  become(document, "hidden");
  assert.deepEqual(await (await load(t, storage)).asks(1), [["1", "start"]]);
});

test("what a handler is at is not behind it", async (t) => {
  const storage = new Storage();
  const { socket, gateway, subscribe, leave } = await load(t, storage);
  const [one] = await subscribe(1);
  await gateway.allows({ id: "start" });
  one.on("Changed", leave);
  socket.on("Changed", leave);
  await gateway.push("widgets", "1", "Changed", 7, "a");
  assert.deepEqual(await (await load(t, storage)).asks(1), [["1", "start"]]);
});

test("tabs have nothing to do with each other, and a duplicate goes on from where the first was left", async (t) => {
  const storage = await leftTab(t);
  const duplicate = storage.duplicate();
  const [first, second, other] = [await load(t, storage), await load(t, duplicate), await load(t, new Storage())];
  assert.deepEqual(await first.asks(1), [["1", "a"]]);
  assert.deepEqual(await second.asks(1), [["1", "a"]]);
  assert.deepEqual(await other.asks(1), [["1", undefined]]);
});

test("what the page has ended, or the connection for good, is not gone on with", async (t) => {
  const storage = await leftTab(t);
  const { socket, gateway, subscribe, leave, listening } = await load(t, storage);
  const [one] = await subscribe(1);
  await gateway.allows({ id: "z" });
  one.unsubscribe();
  await subscribe(2);
  socket.disconnect();
  assert.equal(listening.count, 0);
  leave();
  assert.deepEqual(await (await load(t, storage)).asks(1, 2, 3), [["1,2", undefined], ["3", "b"]]);
});

const STORAGES = {
  "there is none": () => undefined,
  "none may be used": () => { throw new DOMException("denied", "SecurityError"); },
  "it is full": () => ({ getItem: () => null, setItem() { throw new DOMException("full", "QuotaExceededError"); } }),
};
for (const text of ["", "{", "7", "null", "[7]", "[null]", '{"a":1}', '[["7:widgets1",{}]]', '[["7:widgets1"]]', '"ab"']) {
  STORAGES[`it holds ${text}`] = () => ({ getItem: () => text, setItem() {} });
}
for (const [how, storage] of Object.entries(STORAGES)) {
  test(`where ${how}, a page that is loaded again is new`, async (t) => {
    const { gateway, asks, leave, socket } = await load(t, storage);
    assert.deepEqual(await asks(1), [["1", undefined]]);
    await gateway.allows({ id: "start" });
    leave();
    socket.disconnect();
  });
}

test("gateways are kept apart, and tokens are not kept", async (t) => {
  const storage = await leftTab(t, { url: "ws://gateway.test/pushwss?token=secret" });
  const asked = async (url) => (await (await load(t, storage, { url })).asks(1))[0][1];
  assert.equal(await asked("ws://gateway.test/pushwss?token=another"), "a");
  assert.equal(await asked("ws://another.test/pushwss"), undefined);
  assert.doesNotMatch(JSON.stringify([...storage.items]), /secret/);
  const source = async () => "ws://gateway.test/pushwss?token=secret";
  assert.equal(await asked(source), undefined);
});

test("more keys than are worth it are not kept", async (t) => {
  const storage = new Storage();
  const { gateway, subscribe, leave } = await load(t, storage);
  await subscribe(...Array.from({ length: 2_100 }, (_, key) => key));
  while (gateway.sent.length) await gateway.allows({ id: "start" });
  leave();
  const [asks] = [await (await load(t, storage)).asks(99, 100, 2_099)];
  assert.deepEqual(asks, [["99", undefined], ["100,2099", "start"]]);
});

test("nothing is kept where nobody asks for it", async (t) => {
  const storage = new Storage();
  const { gateway, subscribe, leave } = await load(t, storage, { resume: undefined });
  await subscribe(1);
  await gateway.allows({ id: "start" });
  leave();
  assert.equal(storage.items.size, 0);
});
