// What is for the tests of pages: does it say what a gateway would, when the test says so?

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import Ajv from "ajv/dist/2020.js";
import { MyxiError } from "../build/myxi.mjs";
import { Connection } from "../build/testing.mjs";
import { settled } from "./support/clock.js";
import { complaints } from "./support/gateway.js";

const schema = JSON.parse(readFileSync(new URL("../../../docs/wire.schema.json", import.meta.url)));
const wire = new Ajv({ strict: false, allErrors: true }).addSchema(schema, "wire");
const isOfGateway = wire.getSchema("wire#/$defs/GatewayMessage");

/** A connection whose gateway must say all by the schema of the wire, and what was heard of topics. */
function connect(t, options) {
  const socket = new Connection("ws://gateway.test/pushwss", options);
  const broken = [];
  socket.addMessageHandler((message) => isOfGateway(message) || broken.push([message, wire.errorsText(isOfGateway.errors)]));
  t.after(() => {
    socket.disconnect();
    assert.deepEqual(broken, []);
  });
  return { socket, gateway: socket.gateway };
}

function follow(socket, exchange, key, options) {
  const heard = [];
  const subscription = socket.subscribe(exchange, key, options);
  for (const event of ["Changed", "Gap", "Recovered", "NotRecovered", "Unsubscribed", "Error"]) {
    subscription.on(event, ({ n, reason, error }) => heard.push([event, n ?? reason ?? error].filter(Boolean).join(" ")));
  }
  return { subscription, heard };
}

const outcomeOf = (promise) => promise.then(({ event }) => event, ({ code }) => code);

/** Of `promise`. */
const errorOf = (promise) => promise.then(() => assert.fail("it did not fail"), (error) => error);

test("an event is delivered at once, to its own topic", (t) => {
  const { socket, gateway } = connect(t);
  const [one, other] = [follow(socket, "widgets", 1), follow(socket, "widgets", "2")];
  const payload = { n: 1 };
  gateway.deliver("widgets", 1, "Changed", payload);
  gateway.deliver("gadgets", 1, "Changed", { n: 2 });
  gateway.deliver("widgets", 2n, "Changed", { n: 3 });
  assert.deepEqual([one.heard, other.heard], [["Changed 1"], ["Changed 3"]]);
});

test("what is missed while the connection is lost comes when it is back, in order and once", (t) => {
  const { socket, gateway } = connect(t);
  const { heard } = follow(socket, "widgets", 1);
  const states = [];
  gateway.deliver("widgets", 1, "Changed", { n: 1 });
  socket.on("state", (state) => states.push(state));
  gateway.drop();
  assert.equal(socket.state, "waiting");
  for (const n of [2, 3]) gateway.deliver("widgets", 1, "Changed", { n });
  assert.deepEqual(heard, ["Changed 1"]);
  gateway.resume();
  gateway.deliver("widgets", 1, "Changed", { n: 4 });
  assert.deepEqual(heard, ["Changed 1", "Changed 2", "Changed 3", "Recovered", "Changed 4"]);
  assert.deepEqual(states, ["waiting", "connecting", "open"]);
});

test("what is forgotten meanwhile is a Gap", (t) => {
  const { socket, gateway } = connect(t);
  const { heard } = follow(socket, "widgets", 1);
  gateway.deliver("widgets", 1, "Changed", { n: 1 });
  gateway.drop();
  gateway.deliver("widgets", 1, "Changed", { n: 2 });
  gateway.forget();
  gateway.resume();
  assert.deepEqual(heard, ["Changed 1", "NotRecovered expired", "Gap"]);
});

test("a connection that is dropped again before it is back hears everything", (t) => {
  const { socket, gateway } = connect(t);
  const { heard } = follow(socket, "widgets", 1);
  for (const n of [1, 2, 3]) {
    gateway.drop(1012);
    gateway.elapse(60_000);
    gateway.deliver("widgets", 1, "Changed", { n });
    gateway.resume();
  }
  assert.deepEqual(heard.filter((event) => event !== "Recovered"), ["Changed 1", "Changed 2", "Changed 3"]);
});

test("the latest events come first where they are asked for", (t) => {
  const { socket, gateway } = connect(t);
  for (const n of [1, 2, 3]) gateway.deliver("widgets", 1, "Changed", { n });
  const { heard } = follow(socket, "widgets", 1, { last: 2 });
  gateway.deliver("widgets", 1, "Changed", { n: 4 });
  assert.deepEqual(heard, ["Changed 2", "Changed 3", "Recovered", "Changed 4"]);
});

test("an action is answered, or fails, when the test says so", async (t) => {
  const { socket, gateway } = connect(t);
  const said = [socket.action("Say", { text: "hi" }), socket.action("Say", { text: "ho" }), socket.action("Go")];
  gateway.answer("Say", "Sent", { number: 1 });
  gateway.fail("Say", "Flooded", { retryable: true, retry_after_ms: 50 });
  gateway.answer("Go");
  assert.deepEqual(gateway.actions[0], { action: "Say", payload: { text: "hi" } });
  assert.deepEqual(await said[0].then(({ event, payload }) => [event, payload]), ["Sent", { number: 1 }]);
  const error = await errorOf(said[1]);
  assert.ok(error instanceof MyxiError);
  assert.deepEqual([error.code, error.retryable, error.retryAfterMs], ["Flooded", true, 50]);
  assert.equal((await said[2]).event, "Done");
});

test("what answers an action answers those that wait, too, and may fail or take its time", async (t) => {
  const { socket, gateway } = connect(t);
  const first = socket.action("Roll", { dice: 1 });
  gateway.handle("Roll", ({ dice }) => {
    if (dice > 6) throw new MyxiError("TooMany", { details: { most: 6 } });
    return dice ? { event: "Rolled", payload: { dice } } : undefined;
  });
  assert.deepEqual((await first).payload, { dice: 1 });
  assert.equal((await socket.action("Roll", { dice: 0 })).event, "Done");
  assert.deepEqual((await errorOf(socket.action("Roll", { dice: 7 }))).details, { most: 6 });
  gateway.handle("Roll", async () => ({ event: "Rolled" }));
  assert.deepEqual((await socket.action("Roll")).payload, {});
});

test("an action that nobody answers times out when its time has passed, and is lost with the connection", async (t) => {
  const { socket, gateway } = connect(t);
  const late = socket.action("Say");
  gateway.elapse(14_999);
  let over = false;
  late.catch(() => (over = true));
  await settled();
  assert.ok(!over);
  gateway.elapse(1);
  assert.deepEqual(await errorOf(late).then(({ code, outcome }) => [code, outcome]), ["ActionTimeout", "unknown"]);
  const lost = socket.action("Say");
  gateway.drop();
  assert.deepEqual(await errorOf(lost).then(({ code, outcome }) => [code, outcome]), ["ConnectionLost", "unknown"]);
});

test("authentication is played as any action, again on each connection", async (t) => {
  const { socket, gateway } = connect(t);
  socket.authentication(() => {
    socket.on("Authenticated", () => socket.isAuthenticated());
    socket.sendAction("Authenticate", { token: "adam" });
  });
  const { heard, subscription } = follow(socket, "widgets", 1);
  gateway.deliver("widgets", 1, "Changed", { n: 1 });
  assert.deepEqual([socket.state, heard], ["open", []]);
  gateway.answer("Authenticate", "Authenticated");
  await subscription.ready;
  gateway.handle("Authenticate", () => ({ event: "Authenticated" }));
  gateway.drop();
  gateway.resume();
  assert.equal(socket.state, "authenticated");
  assert.deepEqual(gateway.actions.map(({ payload }) => payload), [{ token: "adam" }, { token: "adam" }]);
});

test("subscriptions are refused and ended, and gaps are told", async (t) => {
  const { socket, gateway } = connect(t);
  complaints(t, "warn");
  gateway.deny("widgets", 2);
  gateway.deny("staff");
  const topics = [["widgets", 1], ["widgets", 2], ["staff", 1]].map(([exchange, key]) => follow(socket, exchange, key));
  gateway.gap("widgets", 1);
  gateway.unsubscribe("widgets", 1);
  assert.deepEqual(topics.map(({ heard }) => heard), [
    ["Gap", "Unsubscribed"], ["Error SubscriptionDenied"], ["Error SubscriptionDenied"],
  ]);
  assert.throws(() => gateway.unsubscribe("widgets", 1), /no subscription to widgets 1/);
});

test("what the page ends itself is over", (t) => {
  const { socket, gateway } = connect(t);
  const { subscription, heard } = follow(socket, "widgets", 1);
  gateway.deliver("widgets", 1, "Changed", { n: 1 });
  subscription.unsubscribe();
  gateway.deliver("widgets", 1, "Changed", { n: 2 });
  assert.deepEqual(heard, ["Changed 1"]);
  assert.throws(() => gateway.gap("widgets", 1), /no subscription/);
});

test("the application speaks to the client alone, and closes for good", (t) => {
  const { socket, gateway } = connect(t);
  const greetings = [];
  socket.on("Greeting", ({ text }) => greetings.push(text));
  gateway.send("Greeting", { text: "hi" });
  gateway.close(4500, "go away");
  assert.deepEqual([greetings, socket.state], [["hi"], "closed"]);
  assert.throws(() => gateway.resume(), /closed for good/);
  assert.throws(() => gateway.send("Greeting"), /no connection now, it is closed: make another/);
});

test("what the test takes for sent, and was not, is said", (t) => {
  const { socket, gateway } = connect(t);
  assert.throws(() => gateway.answer("Say"), /no action Say waits for an answer; there is none at all/);
  socket.sendAction("Shout");
  assert.throws(() => gateway.fail("Say", "Flooded"), /there is Shout/);
  assert.throws(() => gateway.gap("widgets", 1), /no subscription to widgets 1/);
  gateway.drop();
  assert.throws(() => gateway.drop(), /no connection now, it is waiting: resume/);
});

test("what was sent on a connection that is lost is answered on no other, and what has no tag not at all", async (t) => {
  const { socket, gateway } = connect(t);
  const heard = [];
  socket.addMessageHandler(({ event }) => heard.push(event));
  let answer;
  gateway.handle("Roll", () => new Promise((resolve) => (answer = resolve)));
  for (const action of ["Say", "Roll"]) socket.sendAction(action);
  gateway.drop();
  gateway.resume();
  answer({ event: "Rolled" });
  await settled();
  assert.throws(() => gateway.answer("Say"), /none at all/);
  socket.sendAction("Say");
  gateway.answer("Say");
  assert.deepEqual(heard, ["Welcome", "Welcome"]);
});

test("what the page did just before it left is known, and whether it was answered", async (t) => {
  const { socket, gateway } = connect(t);
  gateway.handle("Order", () => ({ event: "Ordered", payload: null }));
  assert.deepEqual(gateway.actions, []);
  socket.sendAction("Order", { id: 7 });
  assert.equal(gateway.actions.length, 1);
  assert.equal((await socket.action("Order")).payload, null);
  socket.sendAction("Leave");
  socket.disconnect();
  assert.equal(gateway.actions.at(-1).action, "Leave");
});

test("it comes back without a wait, whatever the page's policy, and nobody's time passes", async (t) => {
  const [one, other] = [connect(t, { reconnect: { fixed: 20_000 } }), connect(t)];
  const outcomes = [one, other].map(({ socket }) => outcomeOf(socket.action("Say", {}, { timeout: 300 })));
  one.gateway.drop(1013);
  const queued = one.socket.action("Say", {}, { timeout: 300 });
  one.gateway.resume();
  one.gateway.answer("Say", "Said");
  assert.equal((await queued).event, "Said");
  other.gateway.answer("Say", "Said");
  assert.deepEqual(await Promise.all(outcomes), ["ConnectionLost", "Said"]);
});

test("a connection that is dropped while it comes back stays lost until it is resumed", (t) => {
  const { socket, gateway } = connect(t);
  const { heard } = follow(socket, "widgets", 1);
  gateway.elapse(0);
  socket.once("SocketDisconnected", () => socket.once("SocketConnected", () => gateway.drop()));
  gateway.drop();
  gateway.resume();
  assert.equal(socket.state, "waiting");
  gateway.deliver("widgets", 1, "Changed", { n: 1 });
  gateway.resume();
  assert.deepEqual(heard, ["Changed 1", "Recovered"]);
});

test("what answers an action badly fails the action, and the test", async (t) => {
  const { socket, gateway } = connect(t);
  gateway.handle("Say", () => assert.fail("not so"));
  gateway.handle("Roll", () => ({ dice: 1 }));
  gateway.handle("Go", () => null);
  for (const [action, why] of [["Say", /not so/], ["Roll", /Roll is answered with \{ event, payload \}/], ["Go", /or with nothing/]]) {
    const error = errorOf(socket.action(action));
    assert.throws(() => gateway.actions, why);
    assert.deepEqual(await error.then(({ code, outcome }) => [code, outcome]), ["InternalError", "unknown"]);
  }
  assert.throws(() => gateway.handle("Say", { event: "Sent" }), /a function of its payload/);
  assert.throws(() => gateway.deliver("widgets", "Changed", { n: 1 }), /an event has a name: deliver\(exchange, routingKey/);
  assert.throws(() => gateway.deliver("widgets", 1, "Changed", { n: 1n }), /BigInt/);
  assert.throws(() => gateway.elapse(), /how many ms/);
});

test("an error comes as it was thrown", async (t) => {
  const { socket, gateway } = connect(t);
  gateway.handle("Say", () => {
    throw new MyxiError("Flooded", { retryable: true, retryAfterMs: 50, message: "later", details: { most: 6 } });
  });
  const { code, retryable, retryAfterMs, message, details } = await errorOf(socket.action("Say"));
  assert.deepEqual([code, retryable, retryAfterMs, message], ["Flooded", true, 50, "Flooded: later"]);
  assert.equal(details.most, 6);
});

test("what is said while something is heard comes behind it, and nothing twice", (t) => {
  const { socket, gateway } = connect(t);
  const { heard, subscription } = follow(socket, "widgets", 1);
  subscription.on("Changed", ({ n }) => n < 3 && gateway.deliver("widgets", 1, "Changed", { n: n + 1 }));
  gateway.deliver("widgets", 1, "Changed", { n: 1 });
  gateway.drop();
  gateway.deliver("widgets", 1, "Changed", { n: 9 });
  gateway.resume();
  assert.deepEqual(heard, ["Changed 1", "Changed 2", "Changed 3", "Changed 9", "Recovered"]);
});

test("what is pushed is kept as it was, and a position is of its own log", (t) => {
  const [one, other] = [connect(t), connect(t)];
  const { heard } = follow(one.socket, "widgets", 1);
  one.gateway.elapse(0);
  one.gateway.drop();
  const payload = { n: 1 };
  one.gateway.deliver("widgets", 1, "Changed", payload);
  payload.n = 2;
  one.gateway.resume();
  assert.deepEqual(heard, ["Changed 1", "Recovered"]);
  const ids = [one, other].map(({ socket, gateway }) => {
    let id;
    socket.subscribe("gadgets", 1).on("Changed", (_, __, mq) => (id = mq.id));
    gateway.deliver("gadgets", 1, "Changed");
    return id;
  });
  assert.notEqual(...ids);
  assert.notEqual(one.socket.id, other.socket.id);
});

test("only a code that is for good closes for good", (t) => {
  const { socket, gateway } = connect(t);
  assert.throws(() => gateway.close(4001), /after 4001 a page comes back: that is drop/);
  assert.throws(() => gateway.drop(4500), /after 4500 a page does not come back: that is close/);
  gateway.close(1000);
  assert.equal(socket.state, "closed");
});

test("what a gateway answers by itself is no action of the application's", async (t) => {
  const { socket, gateway } = connect(t);
  for (const [exchange, key] of [["widgets", 1], ["widgets", 2], ["gadgets", 1]]) socket.subscribe(exchange, key);
  const { payload } = await socket.action("ListSubscriptions");
  assert.deepEqual(payload, { subscriptions: { widgets: ["1", "2"], gadgets: ["1"] } });
  const ended = [];
  socket.on("Unsubscribed", ({ exchange, routing_key }) => ended.push(`${exchange} ${routing_key}`));
  socket.sendAction("Unsubscribe", { exchange: "widgets" });
  socket.sendAction("Unsubscribe");
  assert.deepEqual(gateway.actions, []);
  assert.deepEqual(ended, ["widgets 1", "widgets 2", "gadgets 1"]);
});

test("keys are answered in the order asked", async (t) => {
  const { socket, gateway } = connect(t);
  gateway.deny("widgets", 2);
  const answers = [];
  socket.addMessageHandler(({ event, payload }) => payload?.routing_key && answers.push(`${event} ${payload.routing_key}`));
  for (const key of [1, 2, 3]) socket.subscribe("widgets", key).ready.catch(() => {});
  gateway.elapse(0);
  assert.deepEqual(answers, ["Subscribed 1", "Error 2", "Subscribed 3"]);
});

test("a connection that need not come back does not; one that asks for its URL does", async (t) => {
  const once = connect(t, { reconnect: false });
  once.gateway.drop();
  assert.equal(once.socket.state, "closed");
  const asks = new Connection(async () => "wss://gateway.test/");
  t.after(() => asks.disconnect());
  for (const wait of [undefined, asks.gateway]) {
    wait?.drop();
    wait?.resume();
    await settled();
    assert.equal(asks.state, "open");
  }
  assert.throws(() => new Connection("ftp://gateway.test/"), /no WebSocket's/);
});

test("a quiet connection stands for hours", (t) => {
  const { socket, gateway } = connect(t);
  const { heard } = follow(socket, "widgets", 1);
  gateway.elapse(3 * 3_600_000);
  gateway.deliver("widgets", 1, "Changed", { n: 1 });
  assert.deepEqual([socket.state, heard], ["open", ["Changed 1"]]);
  assert.equal(Connection.last, socket);
});
