// Actions and their replies: by tag, in time, or with an error that says what is known.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MyxiError } from "../build/myxi.mjs";
import { connect, connectOpen, held, outcome } from "./support/gateway.js";

test("resolves with the first reply; further ones are for who listens", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const heard = [];
  socket.on("Hello", (payload) => heard.push(payload));
  const reply = held(socket.action("SayHello", { name: "Adam" }));
  const { tag, payload } = gateway.takes("SayHello");
  assert.deepEqual(payload, { name: "Adam" });
  await gateway.say({ event: "Hello", tag, payload: 1 });
  await gateway.say({ event: "Hello", tag, payload: 2 });
  assert.deepEqual(await reply, { event: "Hello", tag, payload: 1 });
  assert.deepEqual(heard, [2]);
});

test("resolves with Done; each reply goes to its own action", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const [one, two] = [socket.action("One"), socket.action("Two")];
  const tags = [gateway.takes("One").tag, gateway.takes("Two").tag];
  await gateway.say({ event: "Two", tag: tags[1], payload: 2 });
  await gateway.say({ event: "Done", tag: tags[0] });
  assert.equal((await one).event, "Done");
  assert.equal((await two).payload, 2);
});

test("rejects with the typed error", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const reply = held(socket.action("SayHello"));
  const { tag } = gateway.takes("SayHello");
  const payload = { error: "Busy", retryable: true, retry_after_ms: 1000, message: "many", owner: "me" };
  await gateway.say({ event: "Error", tag, payload });
  const { error } = await outcome(reply);
  assert.ok(error instanceof MyxiError && error instanceof Error);
  const { code, retryable, retryAfterMs, details, message } = error;
  assert.deepEqual({ code, retryable, outcome: error.outcome, retryAfterMs, details, message }, {
    code: "Busy", retryable: true, outcome: undefined, retryAfterMs: 1000,
    details: { retry_after_ms: 1000, message: "many", owner: "me" }, message: "Busy: many",
  });
});

for (const [name, payload] of [["none", undefined], ["null", null], ["a number", 5], ["odd", { error: 1, retryable: "yes", message: {} }]]) {
  test(`an error whose payload is ${name} is an error all the same`, async (t) => {
    const { socket, gateway } = await connectOpen(t);
    const reply = held(socket.action("SayHello"));
    await gateway.say({ event: "Error", tag: gateway.takes("SayHello").tag, payload });
    const { error } = await outcome(reply);
    assert.deepEqual([error.code, error.retryable], ["InternalError", false]);
  });
}

test("no reply in time: the outcome is unknown, and a late reply is for who listens", async (t) => {
  const { clock, socket, gateway } = await connectOpen(t, { actionTimeout: 2_000 });
  const reply = held(socket.action("SayHello"));
  await clock.advance(1_999);
  assert.equal(await outcome(reply), "pending");
  await clock.advance(1);
  const { error } = await outcome(reply);
  assert.deepEqual([error.code, error.outcome, error.retryable], ["ActionTimeout", "unknown", false]);
  const heard = new Promise((resolve) => socket.on("Hello", resolve));
  await gateway.say({ event: "Hello", tag: gateway.takes("SayHello").tag, payload: 1 });
  assert.equal(await heard, 1);
});

test("no connection in time: it did not happen, and will not", async (t) => {
  const { clock, sockets, socket } = connect(t);
  const reply = held(socket.action("SayHello", {}, { timeout: 1_000 }));
  await clock.advance(1_000);
  const { error } = await outcome(reply);
  assert.deepEqual([error.code, error.outcome, error.retryable], ["ActionTimeout", undefined, true]);
  await sockets[0].open();
  assert.deepEqual(sockets[0].sent, []);
});

test("a lost connection: unknown for what was sent, the rest is sent on the next one", async (t) => {
  const { clock, sockets, socket, gateway } = await connectOpen(t);
  const sent = held(socket.action("Sent"));
  gateway.readyState = 2;
  const waits = held(socket.action("Waits"));
  await gateway.end(1006, "gone");
  const { error } = await outcome(sent);
  assert.deepEqual([error.code, error.outcome, error.retryable], ["ConnectionLost", "unknown", false]);
  assert.deepEqual(error.details, { close_code: 1006, close_reason: "gone" });
  await clock.advance(500);
  await sockets[1].open();
  const { tag } = sockets[1].takes("Waits");
  assert.deepEqual(sockets[1].sent, [], "what was sent is not sent again");
  await sockets[1].say({ event: "Done", tag });
  assert.equal((await waits).event, "Done");
});

test("a connection closed for good: what was never sent certainly did not happen", async (t) => {
  const { socket } = connect(t);
  const waits = held(socket.action("Waits"));
  socket.disconnect();
  for (const reply of [waits, socket.action("TooLate")]) {
    const { error } = await outcome(reply);
    assert.deepEqual([error.code, error.outcome, error.retryable], ["ConnectionLost", undefined, true]);
  }
  assert.throws(() => socket.sendAction("TooLate"), { code: "ConnectionLost", retryable: true });
});

test("a signal ends the waiting, sent or not", async (t) => {
  const { sockets, socket } = connect(t);
  const signal = AbortSignal.abort(new Error("before"));
  await assert.rejects(socket.action("Never", {}, { signal }), { message: "before" });
  const controller = new AbortController();
  const [queued, kept] = [held(socket.action("Queued", {}, controller)), socket.action("Kept")];
  controller.abort();
  await assert.rejects(queued, { name: "AbortError" });
  await sockets[0].open();
  const { tag } = sockets[0].takes("Kept");
  assert.deepEqual(sockets[0].sent, [], "nobody waits for the other");
  await sockets[0].say({ event: "Done", tag });
  await kept;
  const late = new AbortController();
  const sent = held(socket.action("Sent", {}, late));
  late.abort("enough");
  assert.equal(await sent.catch((reason) => reason), "enough");
});

test("an action that is over leaves nothing behind", async (t) => {
  const { clock, socket, gateway } = await connectOpen(t);
  const { signal } = new AbortController();
  const listeners = new Set();
  signal.addEventListener = (_, listener) => listeners.add(listener);
  signal.removeEventListener = (_, listener) => listeners.delete(listener);
  const before = clock.pending;
  const reply = socket.action("SayHello", {}, { signal });
  assert.deepEqual([clock.pending, listeners.size], [before + 1, 1]);
  await gateway.say({ event: "Done", tag: gateway.takes("SayHello").tag });
  await reply;
  assert.deepEqual([clock.pending, listeners.size], [before, 0]);
});

test("what waits for the connection is bounded", async (t) => {
  const { sockets, socket } = connect(t, { maxQueue: 3 });
  socket.sendAction("One");
  socket.sendAction("Two", { a: 1 }, ["my tag"]);
  const three = socket.action("Three");
  assert.throws(() => socket.sendAction("Four"), { name: "MyxiError", code: "Busy", retryable: true });
  await assert.rejects(socket.action("Four"), { code: "Busy", retryable: true });
  await sockets[0].open();
  assert.deepEqual(sockets[0].sent.splice(0, 2), [{ action: "One" }, { action: "Two", tag: ["my tag"], payload: { a: 1 } }]);
  await sockets[0].say({ event: "Done", tag: sockets[0].takes("Three").tag });
  await three;
});

test("what has been sent waits no more", async (t) => {
  const { clock, sockets, socket } = connect(t);
  for (const round of [0, 1, 2]) {
    socket.sendAction("Large", "x".repeat(700_000));
    await sockets[round].open();
    sockets[round].takes("Large");
    await sockets[round].end();
    await clock.advance(1_000);
  }
});

test("what waited and was sent may have happened", async (t) => {
  const { sockets, socket } = connect(t);
  const reply = held(socket.action("Waited"));
  await sockets[0].open();
  sockets[0].takes("Waited");
  await sockets[0].end();
  const { error } = await outcome(reply);
  assert.deepEqual([error.code, error.outcome, error.retryable], ["ConnectionLost", "unknown", false]);
});

test("and so is its size, and what a slow network has not taken yet", async (t) => {
  const { sockets, socket } = connect(t);
  assert.throws(() => socket.sendAction("Huge", "x".repeat(1 << 20)), { code: "Busy" });
  await sockets[0].open();
  socket.sendAction("Huge", "x".repeat(1 << 20));
  sockets[0].bufferedAmount = (1 << 20) + 1;
  assert.throws(() => socket.sendAction("More"), { code: "Busy" });
});

test("actions that wait for their reply are bounded", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const replies = Array.from({ length: 1_000 }, () => socket.action("Slow"));
  await assert.rejects(socket.action("OneMore"), { code: "Busy" });
  await gateway.say({ event: "Done", tag: gateway.takes("Slow").tag });
  await replies[0];
  gateway.sent.splice(0);
  const more = socket.action("OneMore");
  await gateway.say({ event: "Done", tag: gateway.takes("OneMore").tag });
  await more;
  socket.disconnect();
  await Promise.allSettled(replies);
});

test("the library's tags are its own", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  assert.throws(() => socket.sendAction("SayHello", {}, "myxi:1"), TypeError);
  const reply = held(socket.action("SayHello"));
  // What looks like its tag, but is another JSON value, or nobody's.
  for (const tag of [1, "1", ["myxi:1"], "myxi:999", null]) await gateway.say({ event: "Hello", tag });
  assert.equal(await outcome(reply), "pending");
  socket.disconnect();
  await assert.rejects(reply);
});

test("what is no JSON is thrown at who wants to send it", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  assert.throws(() => socket.sendAction("SayHello", 1n), TypeError);
  await assert.rejects(socket.action("SayHello", 1n), TypeError);
  assert.deepEqual(gateway.sent, []);
});
