// What a client that comes back asks for, and what a page hears of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { settled } from "./support/clock.js";
import { asBrowser } from "./support/browser.js";
import { complaints, connectOpen } from "./support/gateway.js";

/** Whose unhandled rejections fail the test. */
process.on("unhandledRejection", (error) => assert.fail(`nobody handled ${error}`));

const OWN = ["Recovered", "NotRecovered", "Gap"];

/**
 * Subscribed to these keys of `widgets`, where the log is at `start`. `heard` is what the page
 * hears; `comesBack` loses the connection, and gives the gateway's side of the next.
 */
async function start(t, keys, answer = { id: "start" }) {
  const connected = await connectOpen(t);
  const { clock, sockets, socket, gateway } = connected;
  const heard = [];
  const subscriptions = keys.map((key) => follow(heard, socket.subscribe("widgets", key)));
  await settled();
  while (gateway.sent.length) await gateway.allows(answer);
  const comesBack = async () => {
    const before = sockets.length;
    await sockets.at(-1).end();
    while (sockets.length === before) await clock.advance(100);
    await sockets.at(-1).open();
    return sockets.at(-1);
  };
  return { ...connected, heard, subscriptions, comesBack };
}

/** Notes what this subscription hears. */
function follow(heard, subscription) {
  const key = subscription.routingKey;
  subscription.on("Changed", (payload) => heard.push([key, payload]));
  for (const name of OWN) subscription.on(name, (payload) => heard.push([key, name, payload.reason ?? payload.reconnected]));
  return subscription;
}

const ofConnection = (socket) => {
  const heard = [];
  for (const name of OWN) socket.on(name, (payload) => heard.push([name, payload]));
  return heard;
};

test("what was missed is asked for, and comes before what is new", async (t) => {
  const { socket, gateway, heard, comesBack } = await start(t, [1, 2]);
  const onConnection = ofConnection(socket);
  await gateway.push("widgets", "1", "Changed", "heard", "a");
  const next = await comesBack();
  const { payload, ends } = await next.replays("c");
  assert.deepEqual(payload, { exchange: "widgets", routing_keys: ["1", "2"], after: "a" });
  await next.push("widgets", "2", "Changed", "missed", "b");
  await next.push("widgets", "1", "Changed", "missed", "c");
  assert.deepEqual(onConnection, [], "not before all of it has come");
  await ends("c");
  await next.push("widgets", "1", "Changed", "live", "d");
  assert.deepEqual(heard, [["1", "heard"], ["2", "missed"], ["1", "missed"], ["1", "Recovered", undefined],
    ["2", "Recovered", undefined], ["1", "live"]]);
  const topic = (routing_key) => ["Recovered", { exchange: "widgets", routing_key }];
  assert.deepEqual(onConnection, [topic("1"), topic("2")]);
  assert.equal((await (await comesBack()).allows()).after, "d");
});

const gap = (id) => ({ event: "Gap", payload: { exchange: "widgets", routing_key: "1", id } });
const pong = (positions) => ({ event: "Pong", tag: "myxi:ping", payload: { time: 1, positions } });

const MOVES = {
  "an event": ({ gateway }) => gateway.push("widgets", "1", "Changed", 7, "next"),
  "Pong": ({ gateway }) => gateway.say(pong({ gadgets: "elsewhere", widgets: "next" })),
  "the last Gap of several": async ({ gateway }) => {
    for (const id of [undefined, "next"]) await gateway.say(gap(id));
  },
  "Subscribed, of another key": async ({ socket, gateway }) => {
    socket.subscribe("widgets", 2);
    await settled();
    await gateway.allows({ id: "next" });
  },
  "Replayed, of another key": async ({ socket, gateway }) => {
    socket.subscribe("widgets", 2, { last: 1 });
    await settled();
    await (await gateway.replays("start")).ends("next");
  },
};
for (const [what, says] of Object.entries(MOVES)) {
  test(`${what} moves the position`, async (t) => {
    const started = await start(t, [1]);
    await says(started);
    const next = await started.comesBack();
    assert.deepEqual(next.sent.map(({ payload }) => payload.after), ["next"]);
  });
}

const STAYS = {
  "a Gap whose burst goes on": ({ gateway }) => gateway.say(gap()),
  "a Pong of another exchange": ({ gateway }) => gateway.say(pong({ gadgets: "next" })),
  "an event of a key that nobody has": ({ gateway }) => gateway.push("widgets", "2", "Changed", 7, "next"),
  "an event of another exchange": ({ gateway }) => gateway.push("gadgets", "1", "Changed", 7, "next"),
  "what is no position": async ({ gateway }) => {
    for (const id of [7, null, {}, [], undefined]) {
      await gateway.push("widgets", "1", "Changed", 7, id);
      await gateway.say(pong({ widgets: id }));
      await gateway.say(pong(id));
    }
  },
};
for (const [what, says] of Object.entries(STAYS)) {
  test(`${what} moves no position`, async (t) => {
    const started = await start(t, [1]);
    await says(started);
    const next = await started.comesBack();
    assert.deepEqual(next.sent.map(({ payload }) => payload.after), ["start"]);
  });
}

test("lost in the middle of it: each key goes on from where it stands", async (t) => {
  const { socket, gateway, heard, comesBack } = await start(t, [1, 2, 3]);
  await gateway.push("widgets", "1", "Changed", "heard", "a");
  let next = await comesBack();
  // Two of three are answered, and one event has come.
  const [{ tag }] = next.sent.splice(0);
  const answer = (routing_key, more) => next.say({ event: "Subscribed", tag, payload: { exchange: "widgets", routing_key, id: "d", ...more } });
  await answer("1", { recovered: true });
  await answer("2", { recovered: true });
  await next.push("widgets", "2", "Changed", "missed", "b");
  // One that is new lives beside it.
  follow(heard, socket.subscribe("widgets", 4));
  await settled();
  await next.allows({ id: "e" });
  await next.push("widgets", "4", "Changed", "live", "f");
  next = await comesBack();
  assert.deepEqual(next.sent.map(({ payload }) => payload), [
    { exchange: "widgets", routing_keys: ["1", "2"], after: "b" },
    { exchange: "widgets", routing_keys: ["3"], after: "a" },
    { exchange: "widgets", routing_keys: ["4"], after: "f" },
  ]);
  // Three that share a connection.
  const replays = [await next.replays("g"), await next.replays("g"), await next.replays("g")];
  await next.push("widgets", "1", "Changed", "missed", "c");
  await replays[2].ends("g");
  await next.push("widgets", "4", "Changed", "live", "h");
  next = await comesBack();
  assert.deepEqual(next.sent.map(({ payload: { routing_keys, after } }) => [routing_keys, after]),
    [[["1", "2"], "c"], [["3"], "a"], [["4"], "h"]]);
  assert.equal(heard.filter(([, name]) => name === "Gap").length, 0);
});

for (const reason of ["expired", "unknown", "too_many", "no_log"]) {
  test(`not recovered (${reason}): that is told, and Gap`, async (t) => {
    const { socket, heard, comesBack } = await start(t, [1]);
    const onConnection = ofConnection(socket);
    let next = await comesBack();
    await next.allows({ id: "now", recovered: false, reason });
    assert.deepEqual(heard, [["1", "NotRecovered", reason], ["1", "Gap", true]]);
    const topic = { exchange: "widgets", routing_key: "1" };
    assert.deepEqual(onConnection, [["NotRecovered", { ...topic, reason }], ["Gap", { ...topic, reconnected: true }]]);
    next = await comesBack();
    assert.equal((await next.allows()).after, "now");
  });
}

test("what the application had subscribed first is not replayed", async (t) => {
  const { heard, comesBack } = await start(t, [1]);
  const next = await comesBack();
  await next.refuses("AlreadySubscribed");
  assert.deepEqual(heard, [["1", "NotRecovered", "AlreadySubscribed"], ["1", "Gap", true]]);
  await next.push("widgets", "1", "Changed", "live", "b");
  assert.equal((await (await comesBack()).allows()).after, "b");
});

test("what the application has the session hear before the answer is no position", async (t) => {
  const { comesBack } = await start(t, [1, 2]);
  await (await comesBack()).push("widgets", "1", "Changed", "live", "z");
  assert.deepEqual(await (await comesBack()).allows(), { exchange: "widgets", routing_keys: ["1", "2"], after: "start" });
});

test("a log that cannot be read now is asked again, for the same", async (t) => {
  const { clock, socket, gateway, heard, comesBack } = await start(t, [1, 2]);
  await gateway.push("widgets", "1", "Changed", "heard", "a");
  const next = await comesBack();
  socket.subscribe("widgets", 3);
  await settled();
  await next.refuses("ExchangeUnavailable", { retryable: true });
  await next.allows({ id: "c" });
  await next.push("widgets", "3", "Changed", "live", "d");
  await clock.advance(1_000);
  const { payload } = await next.replays("d");
  assert.deepEqual(payload, { exchange: "widgets", routing_keys: ["1", "2"], after: "a" });
  assert.equal(heard.length, 1);
});

test("a replay that becomes impossible is a Gap, and not recovered", async (t) => {
  const { heard, comesBack } = await start(t, [1, 2]);
  let next = await comesBack();
  let { ends } = await next.replays("c");
  await next.push("widgets", "1", "Changed", "missed", "b");
  for (const routing_key of ["1", "2"]) await next.say({ event: "Gap", payload: { exchange: "widgets", routing_key } });
  await ends("d");
  assert.deepEqual(heard, [["1", "missed"], ["1", "Gap", undefined], ["2", "Gap", undefined]]);
  // The next time is another.
  next = await comesBack();
  const again = await next.replays("e");
  assert.equal(again.payload.after, "d");
  await again.ends("e");
  assert.deepEqual(heard.slice(3), [["1", "Recovered", undefined], ["2", "Recovered", undefined]]);
});

test("a gateway that says no positions is asked for none", async (t) => {
  const { gateway, heard, comesBack } = await start(t, [1], {});
  await gateway.push("widgets", "1", "Changed", "heard");
  const next = await comesBack();
  assert.deepEqual(await next.allows(), { exchange: "widgets", routing_keys: ["1"] });
  assert.deepEqual(heard, [["1", "heard"], ["1", "Gap", true]]);
});

test("beside a log, an exchange without one is asked for no position", async (t) => {
  const { socket, gateway, heard, comesBack } = await start(t, [1]);
  follow(heard, socket.subscribe("legacy", 2));
  await settled();
  await gateway.allows({});
  await gateway.push("legacy", "2", "Changed", "heard");
  const next = await comesBack();
  assert.deepEqual(next.sent.map(({ payload: { exchange, after } }) => [exchange, after]), [["widgets", "start"], ["legacy", undefined]]);
  const { ends } = await next.replays("start");
  await next.allows({});
  await ends("start");
  await next.push("legacy", "2", "Changed", "live");
  assert.deepEqual(heard, [["2", "heard"], ["2", "Gap", true], ["1", "Recovered", undefined], ["2", "live"]]);
});

test("a gateway that does not know what was asked has not recovered it", async (t) => {
  const { heard, comesBack } = await start(t, [1]);
  let next = await comesBack();
  assert.equal((await next.allows()).after, "start");
  assert.deepEqual(heard, [["1", "NotRecovered", "no_log"], ["1", "Gap", true]]);
  next = await comesBack();
  assert.equal((await next.allows()).after, undefined);
});

test("a handler that throws has heard it", async (t) => {
  const reported = complaints(t, "error");
  const { subscriptions, gateway, comesBack } = await start(t, [1]);
  subscriptions[0].on("Changed", () => { throw new Error("no"); });
  await gateway.push("widgets", "1", "Changed", "heard", "a");
  assert.equal(reported.count, 1);
  assert.equal((await (await comesBack()).allows()).after, "a");
});

test("very many keys are several messages, each after the same", async (t) => {
  const { comesBack } = await start(t, Array.from({ length: 1_001 }, (_, key) => key));
  const { sent } = await comesBack();
  const counts = sent.map(({ payload: { routing_keys, after } }) => [routing_keys.length, after]);
  assert.deepEqual(counts, [[500, "start"], [500, "start"], [1, "start"]]);
});

test("who is asked in halves asks for the same", async (t) => {
  const { comesBack } = await start(t, [1, 2]);
  const next = await comesBack();
  const { tag } = next.takes("Subscribe");
  await next.say({ event: "Error", tag, payload: { error: "TooManySubscriptions", retryable: false } });
  assert.deepEqual(next.sent.map(({ payload: { routing_keys, after } }) => [routing_keys, after]), [[["1"], "start"], [["2"], "start"]]);
});

test("unsubscribed while it is replayed: that is all, and who comes later is new", async (t) => {
  const { socket, heard, subscriptions, comesBack } = await start(t, [1, 2]);
  let next = await comesBack();
  const { ends } = await next.replays("c");
  subscriptions[0].unsubscribe();
  next.takes("Unsubscribe");
  socket.subscribe("widgets", 1);
  await settled();
  // What was on its way: not the new one's, and no position of it.
  await next.push("widgets", "1", "Changed", "old", "a");
  assert.deepEqual(await next.allows({ id: "d" }), { exchange: "widgets", routing_keys: ["1"] });
  await next.push("widgets", "1", "Changed", "new", "e");
  await next.push("widgets", "2", "Changed", "missed", "b");
  await ends("e");
  assert.deepEqual(heard, [["2", "missed"], ["2", "Recovered", undefined]]);
  next = await comesBack();
  assert.deepEqual((await next.allows()).after, "e");
});

test("ended by the application while it is replayed: nothing is recovered", async (t) => {
  const { socket, subscriptions, comesBack } = await start(t, [1]);
  const onConnection = ofConnection(socket);
  const next = await comesBack();
  const { ends } = await next.replays("c");
  await next.say({ event: "Unsubscribed", payload: { exchange: "widgets", routing_key: "1", auto: true } });
  await ends("c");
  await assert.rejects(subscriptions[0].ready, { code: "Unsubscribed" });
  assert.deepEqual(onConnection, []);
});

test("an iteration is told in its place", async (t) => {
  const { subscriptions: [one], comesBack } = await start(t, [1]);
  const iterated = (async () => {
    const events = [];
    for await (const { event, payload } of one) events.push([event, payload.reason ?? payload.reconnected ?? payload.n]);
    return events;
  })();
  let next = await comesBack();
  const { ends } = await next.replays("b");
  await next.push("widgets", "1", "Changed", { n: 1 }, "b");
  await ends("b");
  next = await comesBack();
  await next.allows({ id: "c", recovered: false, reason: "expired" });
  one.unsubscribe();
  assert.deepEqual(await iterated, [["Changed", 1], ["Recovered", undefined], ["NotRecovered", "expired"], ["Gap", true]]);
});

test("after the machine slept the page asks for what came meanwhile", async (t) => {
  const { window } = asBrowser(t);
  const { clock, sockets, gateway, heard } = await start(t, [1]);
  await gateway.push("widgets", "1", "Changed", "heard", "a");
  clock.freeze(3_600_000);
  window.dispatchEvent(new Event("online"));
  gateway.takes("Ping");
  await clock.advance(15_000 + 500);
  await sockets[1].open();
  const { payload, ends } = await sockets[1].replays("b");
  assert.equal(payload.after, "a");
  await sockets[1].push("widgets", "1", "Changed", "missed", "b");
  await ends("b");
  assert.deepEqual(heard, [["1", "heard"], ["1", "missed"], ["1", "Recovered", undefined]]);
});

test("the latest events come first, and are no position", async (t) => {
  const { socket, gateway, heard, comesBack } = await start(t, []);
  const last = follow(heard, socket.subscribe("widgets", 1, { last: 2 }));
  const plain = follow(heard, socket.subscribe("widgets", 2));
  await settled();
  const first = await gateway.replays("d");
  assert.deepEqual(first.payload, { exchange: "widgets", routing_keys: ["1"], last: 2 });
  assert.deepEqual(await gateway.allows({ id: "d" }), { exchange: "widgets", routing_keys: ["2"] });
  assert.deepEqual([await last.ready, await plain.ready], [true, true]);
  await gateway.push("widgets", "1", "Changed", "one of two", "a");
  // Lost in between: they are asked for again.
  let next = await comesBack();
  const again = await next.replays("e");
  assert.deepEqual(again.payload, { exchange: "widgets", routing_keys: ["1"], last: 2 });
  assert.deepEqual((await next.replays("e")).payload, { exchange: "widgets", routing_keys: ["2"], after: "d" });
  for (const id of ["a", "c"]) await next.push("widgets", "1", "Changed", id, id);
  await again.ends("e");
  // More than those may have been pushed since it stood first.
  assert.deepEqual(heard, [["1", "one of two"], ["1", "Gap", true], ["1", "a"], ["1", "c"], ["1", "Recovered", undefined]]);
  // And once they have come, it is a subscription as any other.
  next = await comesBack();
  assert.deepEqual(next.sent.map(({ payload: { after, last } }) => [after, last]), [["e", undefined], ["d", undefined]]);
});

test("without a log there are no latest events", async (t) => {
  const { socket, gateway, heard } = await start(t, []);
  follow(heard, socket.subscribe("widgets", 1, { last: 2 }));
  await settled();
  await gateway.allows({ recovered: false, reason: "no_log" });
  assert.deepEqual(heard, [["1", "NotRecovered", "no_log"]]);
});

test("the latest events are for who asks first", async (t) => {
  const { socket, gateway, heard } = await start(t, []);
  socket.subscribe("widgets", 1);
  for (const last of [3, 5, 4]) socket.subscribe("widgets", 1, { last });
  await settled();
  const { payload, ends } = await gateway.replays("a");
  assert.equal(payload.last, 5);
  await ends("a");
  follow(heard, socket.subscribe("widgets", 1, { last: 1 }));
  await settled();
  assert.deepEqual(heard, [["1", "NotRecovered", "AlreadySubscribed"]]);
  assert.deepEqual(gateway.sent, []);
});

test("so many latest events as no gateway gives are thrown at who asks", async (t) => {
  const { socket } = await start(t, []);
  for (const last of [0, -1, 1.5, 101, NaN, "7", null]) assert.throws(() => socket.subscribe("widgets", 1, { last }), TypeError);
  socket.subscribe("widgets", 1, { last: 100 });
});
