// A dead connection is noticed, and a live one is not taken for dead.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "./support/gateway.js";

async function start(t) {
  const connected = connect(t, { pongTimeout: 5_000 });
  const [gateway] = connected.sockets;
  await gateway.open(10_000);
  const pong = () => gateway.say({ event: "Pong", tag: gateway.takes("Ping").tag, payload: { time: 1 } });
  return { ...connected, gateway, pong };
}

test("Ping at the interval that Welcome names, when nothing was received meanwhile", async (t) => {
  const { clock, gateway, socket, pong } = await start(t);
  await clock.advance(9_999);
  assert.deepEqual(gateway.sent, []);
  await clock.advance(1);
  await pong();
  // An event is a sign of life as good as an answer.
  await clock.advance(9_000);
  await gateway.push("widgets", "1", "WidgetQtyChanged", {});
  await clock.advance(9_999);
  assert.deepEqual(gateway.sent, []);
  await clock.advance(1);
  await pong();
  assert.equal(socket.state, "open");
});

test("where much is received, Ping is sent now and then, for what the answer says of the logs", async (t) => {
  const { clock, gateway, socket } = await start(t);
  for (const [least, most] of Array(2).fill([99, 110])) {
    let seconds = 0;
    for (; !gateway.sent.length && seconds <= most; seconds++) {
      await clock.advance(1_000);
      await gateway.push("widgets", "1", "WidgetQtyChanged", {});
    }
    gateway.takes("Ping");
    assert.ok(seconds >= least, `after ${seconds} s`);
  }
  assert.equal(socket.state, "open", "what is received answers it");
});

test("an answer is nobody's business but the library's", async (t) => {
  const { clock, socket, pong } = await start(t);
  const told = [];
  socket.on("Pong", () => told.push("Pong"));
  await clock.advance(10_000);
  await pong();
  assert.deepEqual(told, []);
});

test("without an answer the connection is dead, and made again", async (t) => {
  const { clock, sockets, gateway, socket } = await start(t);
  await clock.advance(14_999);
  assert.equal(socket.state, "open");
  await clock.advance(1);
  assert.equal(socket.state, "waiting");
  assert.equal(gateway.closedWith, 1000);
  await clock.advance(500);
  assert.equal(sockets.length, 2);
});

test("whatever is received after the Ping is an answer", async (t) => {
  const { clock, gateway, socket } = await start(t);
  await clock.advance(12_000);
  await gateway.push("widgets", "1", "WidgetQtyChanged", {});
  await clock.advance(3_000);
  assert.equal(socket.state, "open");
});

test("a deadline that comes late asks again, once", async (t) => {
  const { clock, gateway, socket } = await start(t);
  await clock.advance(10_000);
  gateway.takes("Ping");
  clock.freeze(3_600_000);
  await clock.advance(0);
  assert.equal(socket.state, "open", "an hour asleep is not five seconds without an answer");
  gateway.takes("Ping");
  clock.freeze(60_000);
  await clock.advance(0);
  assert.equal(socket.state, "waiting", "two deadlines in a row");
});

test("in a tab whose timers run once a minute an answer that came in time counts", async (t) => {
  const { clock, gateway, socket, pong } = await start(t);
  for (let minute = 0; minute < 5; minute++) {
    clock.freeze(60_000);
    await clock.advance(0);
    await pong();
    clock.freeze(60_000);
    await clock.advance(0);
    assert.equal(socket.state, "open");
    gateway.sent.splice(0);
  }
});

test("an interval that is none changes nothing", async (t) => {
  const { clock, gateway, socket } = await start(t);
  await gateway.say({ event: "Welcome", payload: { id: 7, ping_interval_ms: "soon" } });
  await gateway.say({ event: "Welcome", payload: { ping_interval_ms: -1 } });
  await clock.advance(999);
  assert.deepEqual(gateway.sent, []);
  assert.equal(socket.id, "5edab4db47677f46");
});
