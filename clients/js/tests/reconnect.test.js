// When the connection is made again, and when not.

import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeSocket, connect, connectOpen } from "./support/gateway.js";

test("the first try comes within half a second, further ones ever later, up to 30 s", async (t) => {
  const { clock, sockets } = await connectOpen(t);
  const waits = [];
  for (let tries = 1; tries <= 10; tries++) {
    await sockets.at(-1).end();
    const since = clock.now;
    while (sockets.length === tries) await clock.advance(100);
    waits.push(clock.now - since);
  }
  assert.deepEqual(waits, [500, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
});

test("the waits are spread: the first over all of it, others over its second half", async (t) => {
  const { clock, sockets } = await connectOpen(t);
  Math.random.mock.mockImplementation(() => 0);
  await sockets[0].end();
  await clock.advance(0);
  assert.equal(sockets.length, 2);
  await sockets[1].end();
  await clock.advance(249);
  assert.equal(sockets.length, 2);
  await clock.advance(1);
  assert.equal(sockets.length, 3);
});

test("the waits begin anew only when a connection has stood for 10 s", async (t) => {
  const { clock, sockets } = await connectOpen(t);
  const wait = async (stood) => {
    await clock.advance(stood);
    await sockets.at(-1).end();
    const [since, before] = [clock.now, sockets.length];
    while (sockets.length === before) await clock.advance(100);
    await sockets.at(-1).open();
    return clock.now - since;
  };
  assert.equal(await wait(0), 500);
  assert.equal(await wait(9_000), 500);
  assert.equal(await wait(9_000), 1000);
  assert.equal(await wait(10_000), 500);
});

test("a fixed wait is always the same", async (t) => {
  const { clock, sockets } = await connectOpen(t, { reconnect: { fixed: 5_000 } });
  for (let tries = 1; tries <= 3; tries++) {
    await sockets.at(-1).end();
    await clock.advance(4_999);
    assert.equal(sockets.length, tries);
    await clock.advance(1);
    assert.equal(sockets.length, tries + 1);
  }
});

test("the gateway's hint is obeyed, once", async (t) => {
  const { clock, sockets, gateway } = await connectOpen(t);
  await gateway.say({ event: "Reconnect", payload: { after_ms: 3_000 } });
  await gateway.end(1012);
  await clock.advance(2_999);
  assert.equal(sockets.length, 1);
  await clock.advance(1);
  assert.equal(sockets.length, 2);
  await sockets[1].end();
  await clock.advance(500);
  assert.equal(sockets.length, 3);
});

test("a hint to come back at once is no way around the waits", async (t) => {
  t.mock.method(Math, "random", () => 1);
  const { clock, sockets } = await connectOpen(t);
  const waits = [];
  for (let tries = 0; tries < 5; tries++) {
    const last = sockets.at(-1);
    if (tries) await last.open();
    await last.say({ event: "Reconnect", payload: { after_ms: -5 } });
    await last.end(1012);
    let waited = 0;
    while (sockets.at(-1) === last && waited < 60_000) {
      await clock.advance(100);
      waited += 100;
    }
    waits.push(waited);
  }
  assert.deepEqual(waits, [500, 500, 1_000, 2_000, 4_000]);
});

test("a hint never to come back is not obeyed", async (t) => {
  const { clock, sockets, gateway } = await connectOpen(t);
  await gateway.say({ event: "Reconnect", payload: { after_ms: 1e12 } });
  await gateway.end(1012);
  await clock.advance(29_999);
  assert.equal(sockets.length, 1);
  await clock.advance(1);
  assert.equal(sockets.length, 2);
});

test("1013 means later", async (t) => {
  const { clock, sockets, gateway } = await connectOpen(t);
  await gateway.end(1013);
  await clock.advance(1_999);
  assert.equal(sockets.length, 1);
  await clock.advance(2_001);
  assert.equal(sockets.length, 2);
});

for (const [code, state] of [[1000, "closed"], [1001, "waiting"], [1009, "waiting"], [3008, "waiting"],
  [4000, "waiting"], [4499, "waiting"], [4500, "closed"], [4999, "closed"]]) {
  test(`after ${code} the state is ${state}`, async (t) => {
    const { clock, sockets, socket, gateway } = await connectOpen(t);
    const heard = [];
    for (const name of ["SocketDisconnected", "SocketClosed"]) socket.on(name, (close) => heard.push([name, close]));
    await gateway.end(code, "why");
    assert.equal(socket.state, state);
    const close = { code, reason: "why" };
    const closed = state === "closed" ? [["SocketClosed", close]] : [];
    assert.deepEqual(heard, [["SocketDisconnected", close], ...closed]);
    await clock.advance(60_000);
    assert.equal(sockets.length > 1, state === "waiting");
    if (state === "closed") assert.equal(clock.pending, 0);
  });
}

test("without reconnection a lost connection is closed", async (t) => {
  const { clock, sockets, socket, gateway } = await connectOpen(t, { reconnect: false });
  await gateway.end();
  assert.equal(socket.state, "closed");
  await clock.advance(60_000);
  assert.equal(sockets.length, 1);
});

test("an attempt that nobody answers is given up", async (t) => {
  const { clock, sockets, socket, states } = connect(t, { connectTimeout: 2_000 });
  const told = [];
  socket.on("SocketDisconnected", () => told.push("there was no connection"));
  await clock.advance(2_000);
  assert.equal(sockets[0].closedWith, 1000);
  assert.deepEqual(states, ["waiting"]);
  await clock.advance(500);
  assert.deepEqual(states, ["waiting", "connecting"]);
  assert.deepEqual(told, []);
});

test("a WebSocket that cannot be made is thrown at first, and later an attempt that failed", async (t) => {
  const { mock } = t.mock.method(console, "error", () => {});
  const refuse = function () { throw new Error("no WebSocket today"); };
  assert.throws(() => connect(t, { WebSocket: refuse }), /today/);
  const made = [];
  const { clock, socket } = connect(t, { WebSocket: function () { return made.length ? refuse() : (made[0] = new FakeSocket()); } });
  await made[0].end();
  await clock.advance(500);
  assert.equal(mock.calls[0].arguments[0].message, "no WebSocket today");
  assert.equal(socket.state, "waiting");
  made.pop();
  await clock.advance(500);
  assert.equal(socket.state, "connecting");
});

test("disconnect while connecting, while waiting, and twice", async (t) => {
  for (const reach of [async () => {}, (gateway) => gateway.open(), (gateway) => gateway.end()]) {
    await t.test(async (t) => {
      const { clock, sockets, socket } = connect(t);
      let closed = 0;
      socket.on("SocketClosed", () => closed++);
      await reach(sockets[0]);
      socket.disconnect();
      assert.equal(socket.state, "closed");
      socket.disconnect();
      await clock.advance(60_000);
      assert.equal(sockets.length, 1);
      assert.equal(closed, 1);
      assert.equal(clock.pending, 0);
    });
  }
});

test("what a former socket says is ignored", async (t) => {
  const { clock, sockets, socket, gateway } = await connectOpen(t, { pongTimeout: 1_000 });
  let heard = 0;
  socket.on("Late", () => heard++);
  // Found dead, so it was never closed by the other side.
  await clock.advance(26_000 + 500);
  await sockets[1].open();
  await gateway.say({ event: "Late" });
  await gateway.end(4500);
  assert.equal(heard, 0);
  assert.equal(socket.state, "open");
  await sockets[1].say({ event: "Late" });
  assert.equal(heard, 1);
});

test("each change of state is told, with the one before", async (t) => {
  const { clock, sockets, socket } = connect(t);
  const changes = [];
  socket.on("state", (state, previous) => changes.push(`${previous} ${state}`));
  socket.authentication(() => {});
  await sockets[0].open();
  assert.equal(socket.isAuthenticated(), true);
  await sockets[0].end();
  assert.equal(socket.isAuthenticated(), false);
  await clock.advance(500);
  await sockets[1].open();
  socket.disconnect();
  assert.deepEqual(changes, ["connecting open", "open authenticated", "authenticated waiting", "waiting connecting",
    "connecting open", "open closed"]);
});

test("nothing grows with the number of connections", async (t) => {
  const { clock, sockets, socket } = connect(t);
  socket.authentication(() => {
    socket.on("Authenticated", () => socket.isAuthenticated());
    socket.sendAction("Authenticate");
  });
  socket.subscribe("widgets", 1);
  const timers = [];
  for (let round = 0; round < 20; round++) {
    const gateway = sockets.at(-1);
    await gateway.open();
    gateway.takes("Authenticate");
    await gateway.say({ event: "Authenticated" });
    await gateway.allows();
    assert.deepEqual(gateway.sent, []);
    timers.push(clock.pending);
    await gateway.end();
    while (sockets.at(-1) === gateway) await clock.advance(1_000);
  }
  assert.ok(timers.every((count) => count === 1), `${timers}`);
});
