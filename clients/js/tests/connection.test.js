// Handlers, authentication, and what a connection makes of what it is told.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../build/myxi.mjs";
import { settled } from "./support/clock.js";
import { complaints, connect, connectOpen, held, outcome } from "./support/gateway.js";

test("authentication runs on each connection, and what was asked for before waits for it", async (t) => {
  const { clock, sockets, socket } = connect(t);
  let authenticated = 0;
  socket.on("SocketAuthenticated", () => authenticated++);
  socket.authentication(() => {
    socket.on("Authenticated", () => socket.isAuthenticated());
    socket.sendAction("Authenticate", { session_token: "…" });
  });
  const subscription = socket.subscribe("widgets", 1234);
  socket.sendAction("SayHello");
  for (const [round, waiting] of [[0, ["Subscribe", "SayHello"]], [1, ["Subscribe"]], [2, ["Subscribe"]]]) {
    const gateway = sockets[round];
    await gateway.open();
    assert.equal(socket.state, "open");
    gateway.takes("Authenticate");
    assert.deepEqual(gateway.sent, []);
    await gateway.say({ event: "Authenticated", payload: {} });
    assert.equal(socket.state, "authenticated");
    assert.deepEqual(gateway.sent.map(({ action }) => action), waiting);
    await gateway.allows();
    await subscription.ready;
    // Once each time: the callback's handler is not doubled.
    assert.equal(authenticated, round + 1);
    await gateway.end();
    await clock.advance(500);
    if (round === 1) await clock.advance(500);
  }
});

test("handlers of the authentication callback are told once, those of others stay", async (t) => {
  const { clock, sockets, socket } = connect(t);
  const heard = [];
  const shared = () => heard.push("shared");
  socket.on("Authenticated", shared);
  let runs = 0;
  socket.authentication(() => {
    if (++runs === 1) socket.on("Authenticated", shared);
    socket.on("Authenticated", () => heard.push("callback"));
    socket.addMessageHandler(({ event }) => heard.push(event));
  });
  for (const round of [0, 1]) {
    await sockets[round].open();
    if (round === 0) socket.on("Authenticated", () => heard.push("later"));
    heard.splice(0);
    await sockets[round].say({ event: "Authenticated" });
    assert.deepEqual(heard.sort(), ["Authenticated", "callback", "later", "shared"]);
    await sockets[round].end();
    await clock.advance(500);
  }
});

test("an authentication that waits for something, or fails", async (t) => {
  const reported = complaints(t, "error");
  const { sockets, socket } = connect(t);
  socket.authentication(async () => {
    const { payload } = await socket.action("Authenticate");
    if (payload === "yes") socket.isAuthenticated();
    throw new Error("of the callback");
  });
  socket.subscribe("widgets", 1);
  await sockets[0].open();
  await sockets[0].say({ event: "Authenticated", tag: sockets[0].takes("Authenticate").tag, payload: "yes" });
  await settled();
  sockets[0].takes("Subscribe");
  assert.equal(reported.first()[0].message, "of the callback");
});

test("authentication that comes after the connection stands runs at once", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  socket.authentication(() => socket.sendAction("Authenticate"));
  gateway.takes("Authenticate");
});

test("on, once, off, and a signal", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const heard = [];
  const [on, off] = [(payload) => heard.push(["on", payload]), () => heard.push("off")];
  const controller = new AbortController();
  socket.on("X", on).on("X", on).once("X", (payload) => heard.push(["once", payload]));
  socket.on("X", off).off("X", off);
  socket.on("X", () => heard.push("signal"), controller);
  controller.abort();
  await gateway.say({ event: "X", payload: 1 });
  await gateway.say({ event: "X", payload: 2 });
  assert.deepEqual(heard, [["on", 1], ["once", 1], ["on", 2]]);
  socket.off("X");
  await gateway.say({ event: "X", payload: 3 });
  assert.equal(heard.length, 3);
  assert.throws(() => socket.on("X", undefined), TypeError);
});

test("an abort is of no interest to a handler that was removed and added again", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const heard = [];
  const handler = (payload) => heard.push(payload);
  const controller = new AbortController();
  socket.on("X", handler, controller).off("X", handler).on("X", handler);
  controller.abort();
  await gateway.say({ event: "X", payload: 1 });
  assert.deepEqual(heard, [1]);
});

test("a signal that lives on does not hold handlers that were removed", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const { signal } = new AbortController();
  const listeners = new Set();
  signal.addEventListener = (_, listener) => listeners.add(listener);
  signal.removeEventListener = (_, listener) => listeners.delete(listener);
  const handler = () => {};
  socket.on("X", handler, { signal }).once("Y", handler, { signal });
  socket.on("Z", handler, { signal }).on("Z", () => {}, { signal });
  assert.equal(listeners.size, 4);
  socket.off("X", handler);
  assert.equal(listeners.size, 3);
  await gateway.say({ event: "Y" });
  assert.equal(listeners.size, 2);
  socket.off("Z");
  assert.equal(listeners.size, 0);
});

test("message handlers hear every message as it is", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const heard = [];
  const handler = (message) => heard.push(message);
  socket.addMessageHandler(handler);
  socket.on("SocketMessageReceived", ({ event }) => heard.push(event));
  const message = { event: "Hello", tag: { a: 1 }, payload: [1], mq: { e: "widgets", rk: "1" } };
  await gateway.say(message);
  socket.removeMessageHandler(handler);
  await gateway.say(message);
  assert.deepEqual(heard, [message, "Hello", "Hello"]);
});

test("a handler that throws is reported and disturbs nothing", async (t) => {
  const reported = complaints(t, "error");
  const { socket, gateway } = await connectOpen(t);
  const heard = [];
  const subscription = socket.subscribe("widgets", 1);
  for (const target of [subscription, socket]) {
    target.on("X", () => { throw new Error("of a handler"); });
    target.on("X", () => heard.push(target === socket ? "connection" : "subscription"));
  }
  await gateway.push("widgets", "1", "X");
  assert.deepEqual(heard, ["subscription", "connection"]);
  assert.equal(reported.count, 2);
  assert.equal(reported.first()[0].message, "of a handler");
});

test("where there is reportError, it is told", async (t) => {
  const errors = [];
  globalThis.reportError = (error) => errors.push(error.message);
  t.after(() => delete globalThis.reportError);
  const { socket, gateway } = await connectOpen(t);
  socket.on("X", () => { throw new Error("of a handler"); });
  await gateway.say({ event: "X" });
  assert.deepEqual(errors, ["of a handler"]);
});

test("handlers may add, remove and disconnect while they are told", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const heard = [];
  const second = () => heard.push("second");
  socket.on("X", () => { socket.off("X", second).on("X", () => heard.push("late")); });
  socket.on("X", second);
  await gateway.say({ event: "X" });
  assert.deepEqual(heard, []);
  const reply = held(socket.action("SayHello"));
  socket.on("Bye", () => heard.push("after the end"));
  socket.addMessageHandler(() => socket.disconnect());
  await gateway.say({ event: "Bye" });
  assert.equal((await outcome(reply)).error.code, "ConnectionLost");
  assert.deepEqual(heard, []);
});

test("disconnected by a handler of the state that it reaches", async (t) => {
  const { sockets, socket } = connect(t);
  const told = [];
  socket.on("SocketConnected", () => told.push("SocketConnected"));
  socket.authentication(() => told.push("authentication"));
  socket.on("state", (state) => state === "open" && socket.disconnect());
  sockets[0].readyState = 1;
  sockets[0].onopen({});
  assert.equal(socket.state, "closed");
  assert.deepEqual(told, []);
});

test("disconnected by a handler of the state that follows: all is told, in order", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const told = [];
  for (const event of ["SocketDisconnected", "SocketClosed"]) socket.on(event, ({ code }) => told.push([event, code]));
  socket.on("state", (state) => state === "waiting" && socket.disconnect());
  await gateway.end(1006);
  assert.equal(socket.state, "closed");
  assert.deepEqual(told, [["SocketDisconnected", 1006], ["SocketClosed", 1000]]);
});

test("garbage is ignored, with one warning", async (t) => {
  const warned = complaints(t, "warn");
  const { socket, gateway } = await connectOpen(t);
  for (const data of ["", "null", "7", "[]", "{", '{"event":7}', "{}", new ArrayBuffer(3), new Blob(["x"])]) {
    await gateway.frame(data);
  }
  assert.equal(warned.count, 1);
  const odd = [{ event: "X", mq: 7 }, { event: "X", mq: {} }, { event: "Gap" }, { event: "Gap", payload: 7 },
    { event: "Unsubscribed", payload: null }, { event: "Reconnect", payload: { after_ms: "now" } },
    { event: "Subscribed", tag: "myxi:1", payload: [] }, { event: "__proto__" }, { event: "Welcome", payload: "x" }];
  for (const message of odd) await gateway.say(message);
  assert.equal(socket.state, "open");
  assert.equal(warned.count, 1);
});

test("no message of the gateway passes for an event of the library", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  const subscription = socket.subscribe("doors", 1);
  const heard = [];
  for (const name of ["state", "SocketClosed", "SocketConnected"]) socket.on(name, () => heard.push(name));
  subscription.on("state", (payload) => heard.push(["door", payload]));
  await gateway.push("doors", "1", "state", "ajar");
  await gateway.say({ event: "SocketClosed" });
  assert.deepEqual(heard, [["door", "ajar"]]);
});

test("the session's id is known while there is one", async (t) => {
  const { socket, gateway } = await connectOpen(t);
  assert.equal(socket.id, "5edab4db47677f46");
  await gateway.end();
  assert.equal(socket.id, undefined);
});

test("from <meta name=myxi-host>: a URL, or a host that is reached as the page was", async (t) => {
  const urls = [];
  class WebSocket {
    constructor(url) { urls.push(url); }
    close() {}
  }
  const from = (content, protocol = "http:") => {
    globalThis.document = { querySelector: (selector) => {
      assert.equal(selector, 'meta[name="myxi-host"]');
      return content === undefined ? null : { content };
    } };
    globalThis.location = { protocol };
    Connection.fromMeta({ WebSocket }).disconnect();
  };
  t.after(() => { delete globalThis.document; delete globalThis.location; });
  assert.throws(() => Connection.fromMeta({ WebSocket }), /myxi-host/);
  from("wss://gateway.test/pushwss");
  from(" gateway.test:5005 ");
  from("gateway.test/pushwss", "https:");
  assert.deepEqual(urls, ["wss://gateway.test/pushwss", "ws://gateway.test:5005", "wss://gateway.test/pushwss"]);
  assert.throws(() => from(undefined), /myxi-host/);
  assert.throws(() => from(""), /myxi-host/);
});

test("without any WebSocket the reason is told", (t) => {
  const { WebSocket } = globalThis;
  delete globalThis.WebSocket;
  t.after(() => Object.assign(globalThis, { WebSocket }));
  assert.throws(() => new Connection("ws://gateway.test"), /options.WebSocket/);
});
