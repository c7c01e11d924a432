// Subscriptions: one on the wire per topic, asked for on every connection, ended with the last.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MyxiError } from "../build/myxi.mjs";
import { settled } from "./support/clock.js";
import { connect, connectOpen, outcome } from "./support/gateway.js";

/** Whose unhandled rejections fail the test. */
process.on("unhandledRejection", (error) => assert.fail(`nobody handled ${error}`));

test("what is asked for before the connection stands is one message per exchange", async (t) => {
  const { sockets, socket } = connect(t);
  const subscriptions = [socket.subscribe("widgets", 1), socket.subscribe("gadgets", "a"), socket.subscribe("widgets")];
  const [gateway] = sockets;
  await gateway.open();
  assert.deepEqual(await gateway.allows(), { exchange: "widgets", routing_keys: ["1", ""] });
  assert.deepEqual(await gateway.allows(), { exchange: "gadgets", routing_keys: ["a"] });
  assert.deepEqual(gateway.sent, []);
  for (const { ready } of subscriptions) await ready;
  assert.deepEqual(Object.keys(socket.subscriptions), ["widgets::1", "gadgets::a", "widgets::"]);
});

for (const filler of ["€", "\u0001", '"', "\ud800"]) {
  test(`very many keys are several messages, none of them too large: ${JSON.stringify(filler)}`, async (t) => {
    const { sockets, socket } = connect(t);
    for (let key = 0; key < 900; key++) socket.subscribe("widgets", `${key}`.padStart(150, filler));
    await sockets[0].open();
    const sizes = sockets[0].sent.map((message) => Buffer.byteLength(JSON.stringify(message)));
    assert.ok(sizes.length > 1 && Math.max(...sizes) < 64 * 1024, `${sizes}`);
    assert.equal(sockets[0].sent.flatMap(({ payload }) => payload.routing_keys).length, 900);
  });
}

/** Answers every `Subscribe` as a gateway with this `--max-subscriptions`; tells how many keys each named. */
async function holdsAtMost(max, gateway) {
  const counts = [];
  let held = 0;
  while (gateway.sent.length) {
    const { tag, payload: { exchange, routing_keys } } = gateway.takes("Subscribe");
    counts.push(routing_keys.length);
    const error = { error: "TooManySubscriptions", retryable: false };
    if (routing_keys.length > max) await gateway.say({ event: "Error", tag, payload: error });
    else for (const routing_key of routing_keys) {
      const payload = { exchange, routing_key };
      if (held++ < max) await gateway.say({ event: "Subscribed", tag, payload });
      else await gateway.say({ event: "Error", tag, payload: { ...error, ...payload } });
    }
  }
  return counts;
}

test("one subscription more than a session may hold costs no other", async (t) => {
  const { clock, sockets, socket } = connect(t);
  const subscriptions = Array.from({ length: 1000 }, (_, key) => socket.subscribe("widgets", key));
  await sockets[0].open();
  assert.deepEqual(await holdsAtMost(1000, sockets[0]), [500, 500]);
  await sockets[0].end();
  const tooMany = socket.subscribe("widgets", 1000);
  await clock.advance(500);
  await sockets[1].open();
  assert.deepEqual(await holdsAtMost(1000, sockets[1]), [500, 500, 1]);
  for (const { ready } of subscriptions) await ready;
  await assert.rejects(tooMany.ready, { code: "TooManySubscriptions" });
});

test("a message that the gateway refuses for its many keys is asked again in halves", async (t) => {
  const { clock, sockets, socket } = connect(t);
  const subscriptions = Array.from({ length: 700 }, (_, key) => socket.subscribe("widgets", key));
  await sockets[0].open();
  // Two that nobody wants any more when the answer comes.
  for (const { unsubscribe } of subscriptions.splice(0, 2)) unsubscribe();
  sockets[0].sent = sockets[0].sent.filter(({ action }) => action === "Subscribe");
  // The second message was on its way when the first was refused.
  const counts = await holdsAtMost(60, sockets[0]);
  assert.deepEqual(counts.slice(0, 6), [500, 200, 250, 248, 100, 100]);
  assert.deepEqual(counts.slice(6).filter((count) => count > 100), []);
  const outcomes = await Promise.all(subscriptions.map(({ ready }) => outcome(ready)));
  const ended = outcomes.flatMap(({ error }) => error?.code ?? []);
  assert.deepEqual(ended, Array(638).fill("TooManySubscriptions"));
  // Another connection may be to a gateway that allows more.
  for (let key = 0; key < 500; key++) socket.subscribe("gadgets", key);
  await settled();
  await sockets[0].end();
  await clock.advance(500);
  await sockets[1].open();
  assert.deepEqual(await holdsAtMost(1000, sockets[1]), [60, 500]);
});

test("a refusal for too many keys ends one that was alone", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const { ready } = socket.subscribe("widgets", 1);
  await settled();
  assert.deepEqual(await holdsAtMost(0, gateway), [1]);
  await assert.rejects(ready, { code: "TooManySubscriptions" });
});

test("events go to the subscription of their topic, and to the connection", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const heard = [];
  const one = socket.subscribe("widgets", 1);
  one.on("Changed", (payload, tag, mq) => heard.push(["one", payload, tag, mq]));
  socket.subscribe("widgets", 2).on("Changed", () => heard.push("two"));
  socket.on("Changed", (payload, tag, mq) => heard.push(["connection", payload, tag, mq]));
  await settled();
  await gateway.allows();
  await gateway.push("widgets", "1", "Changed", { quantity: 7 });
  const given = [{ quantity: 7 }, undefined, { e: "widgets", rk: "1" }];
  assert.deepEqual(heard, [["one", ...given], ["connection", ...given]]);
});

test("several components share a topic, and the last one ends it", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const heard = [];
  const [one, two] = [socket.subscribe("widgets", 1), socket.subscribe("widgets", "1")];
  one.on("Changed", () => heard.push("one"));
  two.on("Changed", () => heard.push("two"));
  await settled();
  assert.deepEqual(await gateway.allows(), { exchange: "widgets", routing_keys: ["1"] });
  await Promise.all([one.ready, two.ready]);
  // One that comes later stands at once.
  const three = socket.subscribe("widgets", 1n);
  await three.ready;
  assert.equal(socket.subscriptions["widgets::1"], one);
  await gateway.push("widgets", "1", "Changed");
  one.unsubscribe();
  one.unsubscribe();
  assert.equal(socket.subscriptions["widgets::1"], two);
  await gateway.push("widgets", "1", "Changed");
  assert.deepEqual(heard, ["one", "two", "two"]);
  three.unsubscribe();
  assert.deepEqual(gateway.sent, []);
  two.unsubscribe();
  assert.deepEqual(gateway.takes("Unsubscribe").payload, { exchange: "widgets", routing_key: "1" });
  assert.equal(socket.subscriptions["widgets::1"], undefined);
  assert.equal(await two.ready, false);
});

test("topics whose names run together are not the same", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const heard = [];
  socket.subscribe("a::b", "c").on("X", () => heard.push("a::b c"));
  socket.subscribe("a", "b::c").on("X", () => heard.push("a b::c"));
  socket.subscribe("a", "__proto__").on("X", () => heard.push("proto"));
  await settled();
  gateway.sent.splice(0);
  await gateway.push("a", "b::c", "X");
  await gateway.push("a::b", "c", "X");
  await gateway.push("a", "__proto__", "X");
  assert.deepEqual(heard, ["a b::c", "a::b c", "proto"]);
});

test("a key that is none is thrown at who asks", async (t) => {
  const { socket } = connect(t);
  for (const key of [1.5, NaN, 2 ** 53, true, {}]) assert.throws(() => socket.subscribe("widgets", key), TypeError);
  for (const exchange of ["", undefined, 7]) assert.throws(() => socket.subscribe(exchange, 1), TypeError);
  // The gateway would close the connection for its size, again and again.
  assert.throws(() => socket.subscribe("widgets", "k".repeat(256)), TypeError);
  assert.throws(() => socket.subscribe("widgets", 10n ** 255n), TypeError);
  assert.throws(() => socket.subscribe("w".repeat(128), 1), TypeError);
  assert.deepEqual(Object.keys(socket.subscriptions), []);
  socket.subscribe("w".repeat(127), "k".repeat(255));
});

test("a denial ends the subscription, and only that one", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const [allowed, denied] = [socket.subscribe("widgets", 1), socket.subscribe("widgets", 13)];
  const errors = [];
  denied.on("Error", ({ error }) => errors.push(error));
  await settled();
  const { tag, payload: { exchange } } = gateway.takes("Subscribe");
  await gateway.say({ event: "Subscribed", tag, payload: { exchange, routing_key: "1" } });
  const payload = { error: "SubscriptionDenied", retryable: false, exchange, routing_key: "13" };
  await gateway.say({ event: "Error", tag, payload });
  await allowed.ready;
  await assert.rejects(denied.ready, (error) => error instanceof MyxiError && error.code === "SubscriptionDenied");
  assert.deepEqual(errors, ["SubscriptionDenied"]);
  assert.deepEqual(Object.keys(socket.subscriptions), ["widgets::1"]);
  denied.unsubscribe();
  assert.deepEqual(gateway.sent, []);
  // To ask again is to ask anew.
  socket.subscribe("widgets", 13);
  await settled();
  await gateway.allows();
});

test("one error for all keys ends what is not answered yet", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const subscriptions = [socket.subscribe("nothing", 1), socket.subscribe("nothing", 2)];
  await settled();
  const { tag } = gateway.takes("Subscribe");
  const payload = { error: "InvalidExchangeName", retryable: false, exchange: "nothing" };
  await gateway.say({ event: "Error", tag, payload });
  for (const { ready } of subscriptions) await assert.rejects(ready, { code: "InvalidExchangeName" });
});

test("what the application had subscribed before stands", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const { ready } = socket.subscribe("widgets", 1);
  await settled();
  await gateway.refuses("AlreadySubscribed");
  await ready;
});

test("unsubscribed while the question is open: the answer changes nothing", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const first = socket.subscribe("widgets", 1);
  await settled();
  const { tag } = gateway.takes("Subscribe");
  first.unsubscribe();
  assert.equal(await first.ready, false);
  gateway.takes("Unsubscribe");
  const second = socket.subscribe("widgets", 1);
  await settled();
  const payload = { exchange: "widgets", routing_key: "1" };
  await gateway.say({ event: "Error", tag, payload: { error: "SubscriptionDenied", retryable: false, ...payload } });
  await gateway.say({ event: "Unsubscribed", payload: { ...payload, auto: true } });
  await gateway.say({ event: "Unsubscribed", payload: { ...payload, auto: false } });
  assert.equal(await outcome(second.ready), "pending");
  await gateway.allows();
  await second.ready;
});

test("what nobody wants any more is not asked for again", async (t) => {
  const { clock, socket, gateway } = await connectOpen(t);
  const subscription = socket.subscribe("widgets", 1);
  await settled();
  const { tag } = gateway.takes("Subscribe");
  subscription.unsubscribe();
  gateway.takes("Unsubscribe");
  const payload = { error: "Busy", retryable: true, exchange: "widgets", routing_key: "1" };
  await gateway.say({ event: "Error", tag, payload });
  await clock.advance(20_000);
  assert.deepEqual(gateway.sent, []);
});

test("a handler may end the subscription of another component", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const heard = [];
  const [one, two] = [socket.subscribe("widgets", 1), socket.subscribe("widgets", 1)];
  one.on("Changed", () => two.unsubscribe());
  two.on("Changed", () => heard.push("two"));
  await settled();
  await gateway.allows();
  await gateway.push("widgets", "1", "Changed");
  assert.deepEqual(heard, []);
});

test("a signal that lives on does not hold what has ended", async (t) => {
  const { socket } = connect(t);
  const { signal } = new AbortController();
  const listeners = new Set();
  signal.addEventListener = (_, listener) => listeners.add(listener);
  signal.removeEventListener = (_, listener) => listeners.delete(listener);
  const subscription = socket.subscribe("widgets", 1, { signal });
  assert.equal(listeners.size, 1);
  subscription.unsubscribe();
  assert.equal(listeners.size, 0);
});

test("unsubscribed before anything was sent: nothing is", async (t) => {
  const { sockets, socket } = connect(t);
  const controller = new AbortController();
  socket.subscribe("widgets", 1).unsubscribe();
  socket.subscribe("widgets", 2, { signal: AbortSignal.abort() });
  const three = socket.subscribe("widgets", 3, controller);
  controller.abort();
  assert.equal(await three.ready, false);
  await sockets[0].open();
  assert.deepEqual(sockets[0].sent, []);
});

// What is chained to it is nobody's to catch: a component that goes has done nothing wrong.
for (const [way, end] of [["unsubscribe()", ({ one }) => one.unsubscribe()], ["its signal", ({ controller }) => controller.abort()],
  ["disconnect()", ({ socket }) => socket.disconnect()]]) {
  test(`ready that ends by the page's own ${way} is no error`, async (t) => {
    const warn = t.mock.method(console, "warn", () => {});
    const { clock, socket } = await connectOpen(t);
    const controller = new AbortController();
    const one = socket.subscribe("widgets", 1, controller);
    const before = one.ready.then((stands) => ["before", stands]);
    end({ one, controller, socket });
    assert.deepEqual(await before, ["before", false]);
    assert.equal(await one.ready, false);
    await clock.advance(1);
    assert.equal(warn.mock.callCount(), 0);
  });
}

test("mounted, gone and mounted again in one go: one question, and no word of it", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const mount = () => {
    const subscription = socket.subscribe("widgets", 1);
    return { stands: subscription.ready.then((stands) => stands), ...subscription };
  };
  const first = mount();
  first.unsubscribe();
  const second = mount();
  assert.equal(await first.stands, false);
  await gateway.allows();
  assert.equal(await second.stands, true);
  assert.deepEqual(gateway.sent, []);
});

test("ended by the application or a re-check", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const subscription = socket.subscribe("widgets", 1);
  await settled();
  await gateway.allows();
  const heard = [];
  subscription.on("Unsubscribed", ({ auto }) => heard.push(auto));
  await gateway.say({ event: "Unsubscribed", payload: { exchange: "widgets", routing_key: 1, auto: true } });
  assert.deepEqual(heard, [true]);
  await assert.rejects(subscription.ready, { code: "Unsubscribed" });
  assert.deepEqual(Object.keys(socket.subscriptions), []);
  await gateway.push("widgets", "1", "Changed");
});

test("after a reconnection everything is asked for again, and Gap tells what may be missed", async (t) => {
  const { clock, sockets, socket, gateway } = await connectOpen(t);
  const [one, two] = [socket.subscribe("widgets", 1), socket.subscribe("widgets", 2)];
  await settled();
  await gateway.allows();
  const gaps = [];
  one.on("Gap", (payload) => gaps.push(["one", payload]));
  socket.on("Gap", (payload) => gaps.push(["connection", payload]));
  await gateway.end();
  const three = socket.subscribe("widgets", 3);
  two.unsubscribe();
  assert.equal(await outcome(one.ready), "pending");
  await clock.advance(500);
  await sockets[1].open();
  assert.deepEqual(await sockets[1].allows(), { exchange: "widgets", routing_keys: ["1", "3"] });
  await Promise.all([one.ready, three.ready]);
  const payload = { exchange: "widgets", routing_key: "1", reconnected: true };
  assert.deepEqual(gaps, [["one", payload], ["connection", payload]]);
});

test("a Gap of the gateway goes to the subscription and to the connection", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const heard = [];
  socket.subscribe("widgets", 1).on("Gap", ({ reconnected }) => heard.push(["subscription", reconnected]));
  socket.on("Gap", ({ reconnected }) => heard.push(["connection", reconnected]));
  await gateway.say({ event: "Gap", payload: { exchange: "widgets", routing_key: 1 } });
  assert.deepEqual(heard, [["subscription", undefined], ["connection", undefined]]);
});

test("a denial after a reconnection ends what had stood", async (t) => {
  const { clock, sockets, socket, gateway } = await connectOpen(t);
  const subscription = socket.subscribe("widgets", 1);
  await settled();
  await gateway.allows();
  await gateway.end();
  await clock.advance(500);
  await sockets[1].open();
  await sockets[1].refuses("SubscriptionDenied");
  await assert.rejects(subscription.ready, { code: "SubscriptionDenied" });
  await sockets[1].end();
  await clock.advance(500);
  await sockets[2].open();
  assert.deepEqual(sockets[2].sent, []);
});

for (const [error, more] of [["ExchangeUnavailable", { retryable: true }], ["Busy", { retryable: true, retry_after_ms: 1000 }],
  ["ApplicationUnavailable", { outcome: "unknown" }], ["ActionTimeout", { outcome: "unknown" }]]) {
  test(`${error}: asked again, ever later, and together`, async (t) => {
    const { clock, socket, gateway } = await connectOpen(t);
    const subscriptions = [socket.subscribe("widgets", 1), socket.subscribe("widgets", 2)];
    await settled();
    const waits = [];
    for (let tries = 0; tries < 8; tries++) {
      await gateway.refuses(error, more);
      const since = clock.now;
      while (!gateway.sent.some(({ action }) => action === "Subscribe")) await clock.advance(500);
      gateway.sent = gateway.sent.filter(({ action }) => action !== "Ping");
      await gateway.say({ event: "Alive" });
      waits.push(clock.now - since);
    }
    assert.deepEqual(waits, [1_000, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    assert.deepEqual(await gateway.allows(), { exchange: "widgets", routing_keys: ["1", "2"] });
    for (const { ready } of subscriptions) await ready;
    // With an answer the waits begin anew.
    socket.subscribe("widgets", 3);
    await settled();
    await gateway.refuses(error, more);
    await clock.advance(1_000);
    await gateway.allows();
  });
}

test("an error of each key is about that key, and what may be asked again is asked together", async (t) => {
  const { clock, socket, gateway } = await connectOpen(t);
  const subscriptions = [1, 2, 3].map((key) => socket.subscribe("widgets", key));
  await settled();
  const [{ tag }] = gateway.sent.splice(0);
  const say = (event, key, more) => gateway.say({ event, tag, payload: { exchange: "widgets", routing_key: key, ...more } });
  await say("Error", "1", { error: "ApplicationUnavailable", retryable: true });
  await say("Error", "2", { error: "AlreadySubscribed", retryable: false });
  await say("Error", "3", { error: "ApplicationUnavailable", retryable: true });
  await subscriptions[1].ready;
  await clock.advance(1_000);
  assert.deepEqual(await gateway.allows(), { exchange: "widgets", routing_keys: ["1", "3"] });
  for (const { ready } of subscriptions) await ready;
});

test("the gateway's wait is kept where it is the longer one", async (t) => {
  const { clock, socket, gateway } = await connectOpen(t);
  socket.subscribe("widgets", 1);
  await settled();
  await gateway.refuses("Busy", { retryable: true, retry_after_ms: 7_000 });
  await clock.advance(6_999);
  assert.deepEqual(gateway.sent, []);
  await clock.advance(1);
  await gateway.allows();
});

test("an application that stumbles over a new subscription has refused it, over an old one not", async (t) => {
  const { clock, sockets, socket, gateway } = await connectOpen(t);
  const old = socket.subscribe("widgets", 1);
  await settled();
  await gateway.allows();
  const fresh = socket.subscribe("widgets", 2);
  await settled();
  await gateway.refuses("InternalError");
  await assert.rejects(fresh.ready, { code: "InternalError" });
  await gateway.end();
  await clock.advance(500);
  await sockets[1].open();
  await sockets[1].refuses("InternalError");
  await clock.advance(1_000);
  await sockets[1].allows();
  await old.ready;
});

test("a wait to ask again ends with the connection, and with the last who wants it", async (t) => {
  const { clock, socket, gateway } = await connectOpen(t);
  const subscription = socket.subscribe("widgets", 1);
  await settled();
  await gateway.refuses("Busy", { retryable: true });
  subscription.unsubscribe();
  await clock.advance(2_000);
  assert.deepEqual(gateway.sent, []);
  socket.subscribe("widgets", 2);
  await settled();
  await gateway.refuses("Busy", { retryable: true });
  socket.disconnect();
  assert.equal(clock.pending, 0);
});

test("an action does not overtake the subscription that was asked for before it", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  socket.subscribe("widgets", 1);
  socket.sendAction("Change");
  gateway.takes("Subscribe");
  gateway.takes("Change");
});

test("a connection closed for good ends every subscription", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const stood = socket.subscribe("widgets", 1);
  await settled();
  await gateway.allows();
  await gateway.end(4500, "banned");
  const details = { close_code: 4500, close_reason: "banned" };
  await assert.rejects(stood.ready, { code: "ConnectionLost", details });
  await assert.rejects(socket.subscribe("widgets", 2).ready, { code: "ConnectionLost" });
  assert.deepEqual(Object.keys(socket.subscriptions), []);
});
