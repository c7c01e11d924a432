// `for await` over a subscription.

import assert from "node:assert/strict";
import { test } from "node:test";
import { settled } from "./support/clock.js";
import { connectOpen } from "./support/gateway.js";

async function start(t, options) {
  const { socket, gateway, ...rest } = await connectOpen(t);
  const subscription = socket.subscribe("widgets", 1, options);
  await settled();
  await gateway.allows();
  const push = (quantity) => gateway.push("widgets", "1", "Changed", quantity);
  return { ...rest, socket, gateway, subscription, push };
}

/** Reads to the end: what came, and how it ended. */
async function read(iterable) {
  const events = [];
  try {
    for await (const { event, payload } of iterable) events.push([event, payload]);
  } catch (error) {
    return { events, code: error.code, error };
  }
  return { events };
}

test("gives what is pushed from then on, whether or not somebody waits for it", async (t) => {
  const { subscription, push } = await start(t);
  await push(0);
  const iteration = subscription[Symbol.asyncIterator]();
  const waiting = iteration.next();
  await push(1);
  await push(2);
  assert.deepEqual(await waiting, { done: false, value: { event: "Changed", payload: 1, mq: { e: "widgets", rk: "1" } } });
  assert.equal((await iteration.next()).value.payload, 2);
});

test("each loop has its own events, and leaving one leaves the subscription", async (t) => {
  const { subscription, push, gateway } = await start(t);
  const other = read(subscription);
  const left = (async () => {
    for await (const { payload } of subscription) return payload;
  })();
  await push(1);
  assert.equal(await left, 1);
  await push(2);
  subscription.unsubscribe();
  assert.deepEqual(await other, { events: [["Changed", 1], ["Changed", 2]] });
  assert.deepEqual(gateway.sent.map(({ action }) => action), ["Unsubscribe"]);
});

test("one that is too far behind gets what it has, and the reason", async (t) => {
  const { subscription, push } = await start(t, { maxBuffer: 2 });
  const slow = subscription[Symbol.asyncIterator]();
  for (const quantity of [1, 2, 3, 4]) await push(quantity);
  const { events, code, error } = await read(slow);
  assert.deepEqual(events, [["Changed", 1], ["Changed", 2]]);
  assert.equal(code, "BufferOverflow");
  assert.match(error.message, /2 events of widgets 1/);
  assert.deepEqual(await slow.next(), { done: true, value: undefined });
  // Others go on.
  const next = subscription[Symbol.asyncIterator]().next();
  await push(5);
  assert.equal((await next).value.payload, 5);
});

test("a Gap is among the events", async (t) => {
  const { subscription, gateway, clock, sockets } = await start(t);
  const reading = read(subscription);
  await gateway.say({ event: "Gap", payload: { exchange: "widgets", routing_key: "1" } });
  await gateway.end();
  await clock.advance(500);
  await sockets[1].open();
  await sockets[1].allows();
  subscription.unsubscribe();
  const { events } = await reading;
  assert.deepEqual(events.map(([event, { reconnected }]) => [event, reconnected]), [["Gap", undefined], ["Gap", true]]);
});

test("how it ends says who ended it", async (t) => {
  const ends = [
    [undefined, ({ subscription }) => subscription.unsubscribe()],
    [undefined, ({ socket }) => socket.disconnect()],
    ["ConnectionLost", ({ gateway }) => gateway.end(4500)],
    ["Unsubscribed", ({ gateway }) => gateway.say({ event: "Unsubscribed", payload: { exchange: "widgets", routing_key: "1", auto: true } })],
  ];
  for (const [code, end] of ends) {
    await t.test(`${code}`, async (t) => {
      const started = await start(t);
      const reading = read(started.subscription);
      await end(started);
      assert.equal((await reading).code, code);
      assert.equal((await read(started.subscription)).code, code, "also for who begins after the end");
    });
  }
});
