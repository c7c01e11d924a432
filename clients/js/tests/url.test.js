// Where to connect, as a function says it: anew before each attempt.

import assert from "node:assert/strict";
import { test } from "node:test";
import { settled } from "./support/clock.js";
import { complaints, connect } from "./support/gateway.js";

/** A connection whose URL these give, one after another. */
function connectTo(t, answers, options) {
  const connected = connect(t, options, () => answers.shift()());
  return { ...connected, opened: () => connected.sockets.map(({ url }) => url) };
}

test("each attempt asks for its own", async (t) => {
  const answers = [
    () => "ws://gateway.test/?token=1",
    () => new URL("ws://gateway.test/?token=2"),
    async () => "ws://gateway.test/?token=3",
  ];
  const { clock, sockets, socket, opened } = connectTo(t, answers);
  assert.equal(socket.state, "connecting");
  await settled();
  await sockets[0].open();
  assert.equal(socket.url, "ws://gateway.test/?token=1");
  await sockets[0].end();
  await clock.advance(500);
  await sockets[1].end();
  await clock.advance(500);
  assert.deepEqual(opened(), [1, 2, 3].map((n) => `ws://gateway.test/?token=${n}`));
});

const throws = () => { throw new Error("no token"); };
const there = () => "ws://gateway.test/";

for (const [what, fails] of [["throws", throws], ["rejects", async () => throws()], ["gives what is no URL", () => undefined]]) {
  test(`a function that ${what} is a failed attempt, ever later, and told of once`, async (t) => {
    const warned = complaints(t, "warn");
    const { clock, sockets, socket, states } = connectTo(t, [fails, fails, fails, there]);
    await settled();
    assert.equal(socket.state, "waiting");
    assert.equal(warned.count, 1);
    assert.match(warned.texts[0], /no URL/);
    while (!sockets.length) await clock.advance(100);
    assert.equal(clock.now, 500 + 500 + 1_000);
    await sockets[0].open();
    assert.equal(socket.state, "open");
    assert.deepEqual(states.slice(0, 3), ["waiting", "connecting", "waiting"]);
    assert.equal(warned.count, 1);
  });
}

test("without reconnecting it is the end", async (t) => {
  complaints(t, "warn");
  const { socket } = connectTo(t, [throws], { reconnect: false });
  const closed = new Promise((resolve) => socket.on("SocketClosed", resolve));
  assert.deepEqual(await closed, { code: 1006, reason: "no URL to connect to" });
  assert.equal(socket.state, "closed");
});

test("one that never answers is an attempt that takes too long", async (t) => {
  const late = deferred();
  const { clock, sockets, opened } = connectTo(t, [() => late.promise, () => "ws://gateway.test/?token=2"]);
  await clock.advance(15_000 + 500);
  assert.deepEqual(opened(), ["ws://gateway.test/?token=2"]);
  late.resolve("ws://gateway.test/?token=1");
  await settled();
  assert.equal(sockets.length, 1, "what comes later is of no interest");
});

test("disconnected before it has answered: nothing is connected to, or told of", async (t) => {
  const warned = complaints(t, "warn");
  for (const settle of ["resolve", "reject"]) {
    const late = deferred();
    const { sockets, socket } = connectTo(t, [() => late.promise]);
    await settled();
    socket.disconnect();
    late[settle]("ws://gateway.test/");
    await settled();
    assert.equal(sockets.length, 0);
  }
  assert.equal(warned.count, 0);
});

function deferred() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
