// Where there is no page: Node with its own WebSocket, a worker, a bare script.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import { Worker } from "node:worker_threads";
import { Connection } from "../build/myxi.mjs";
import { listen } from "./support/websocket_server.js";

function serve({ action, tag, payload }, say) {
  if (action === "Subscribe") {
    for (const routing_key of payload.routing_keys) {
      say({ event: "Subscribed", tag, payload: { exchange: payload.exchange, routing_key } });
      say({ event: "Changed", payload: { quantity: 7 }, mq: { e: payload.exchange, rk: routing_key } });
    }
  } else say({ event: "Hello", tag, payload });
}

test("in Node, also after the connection was lost", async (t) => {
  const { url, drop } = await listen(t, serve);
  const socket = new Connection(url, { reconnect: { fixed: 1 } });
  t.after(() => socket.disconnect());
  const subscription = socket.subscribe("widgets", 1);
  const pushed = subscription[Symbol.asyncIterator]().next();
  await subscription.ready;
  assert.deepEqual((await socket.action("SayHello", { name: "Adam" })).payload, { name: "Adam" });
  const gap = new Promise((resolve) => socket.on("Gap", resolve));
  drop();
  assert.deepEqual(await gap, { exchange: "widgets", routing_key: "1", reconnected: true });
  assert.deepEqual((await pushed).value.payload, { quantity: 7 });
});

test("in Node, closed before it was open", async (t) => {
  const { url } = await listen(t, serve);
  const socket = new Connection(url);
  const closed = new Promise((resolve) => socket.on("SocketClosed", resolve));
  socket.disconnect();
  assert.equal((await closed).code, 1000);
});

test("in a worker", async (t) => {
  const { url } = await listen(t, serve);
  const code = `
    const { parentPort } = require("node:worker_threads");
    import(${JSON.stringify(new URL("../build/myxi.mjs", import.meta.url))}).then(async ({ Connection }) => {
      const socket = new Connection(${JSON.stringify(url)});
      parentPort.postMessage((await socket.action("SayHello", 7)).payload);
      socket.disconnect();
    });`;
  const worker = new Worker(code, { eval: true });
  t.after(() => worker.terminate());
  assert.equal(await new Promise((resolve) => worker.on("message", resolve)), 7);
  assert.equal(await new Promise((resolve) => worker.on("exit", resolve)), 0, "nothing keeps it running");
});

test("a script tag makes one global, and touches no other", () => {
  const script = readFileSync(new URL("../build/myxi.js", import.meta.url), "utf8");
  const context = {};
  runInNewContext(script, context);
  assert.deepEqual(Object.keys(context), ["Myxi"]);
  assert.deepEqual(Object.keys(context.Myxi).sort(), ["Connection", "MyxiError"]);
});
