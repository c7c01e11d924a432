// The library where there is no page of the gateway's own: in a worker, in Node, in pages
// of other origins.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Application, TOKEN } from "./support/application.js";
import { openPage, serveSite } from "./support/browser.js";
import { Gateway } from "./support/gateway.js";
import { connect, openLibrary } from "./support/page.js";
import { freePort } from "./support/ports.js";
import { within } from "./support/within.js";

/** The first try is made within half a second; a hung one would take 15 s. */
const REFUSED_MAX = 5_000;

test("in a worker", async (t) => {
  const app = await Application.start(t);
  app.allows = () => true;
  const gateway = await Gateway.serve(t, app);
  const page = await openLibrary(t, gateway.clients);
  await page.evaluate(async ([library, url]) => {
    const code = `
      importScripts(${JSON.stringify(library)});
      const socket = new Myxi.Connection(${JSON.stringify(url)});
      const subscription = socket.subscribe("widgets", 1);
      subscription.on("Changed", (payload) => postMessage(payload));
      subscription.ready.then(() => postMessage("ready"));`;
    const worker = new Worker(URL.createObjectURL(new Blob([code])));
    globalThis.said = [];
    await new Promise((resolve, reject) => {
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.onmessage = ({ data }) => said.push(data) && resolve();
    });
  }, [`http://${gateway.clients}/myxi.js`, gateway.websocket]);
  await gateway.push("widgets", "1", "Changed", { quantity: 7 });
  await page.waitForFunction(() => said.length === 2);
  assert.deepEqual(await page.evaluate(() => said), ["ready", { quantity: 7 }]);
});

test("in Node, with its own WebSocket, and back after a restart", async (t) => {
  const { Connection, MyxiError } = await import("../../clients/js/build/myxi.mjs");
  const app = await Application.start(t);
  const flags = [`--listen=127.0.0.1:${await freePort()}`];
  const gateway = await Gateway.serve(t, app, flags);
  const socket = new Connection(gateway.websocket);
  t.after(() => socket.disconnect());
  socket.authentication(() => {
    socket.on("Authenticated", () => socket.isAuthenticated());
    socket.sendAction("Authenticate", { session_token: TOKEN });
  });
  const subscription = socket.subscribe("widgets", 1);
  await within(subscription.ready, "ready");
  const changed = subscription[Symbol.asyncIterator]();
  await gateway.push("widgets", "1", "Changed", { quantity: 7 });
  const { value } = await within(changed.next(), "an event");
  assert.deepEqual(value.payload, { quantity: 7 });
  await assert.rejects(within(socket.action("Refuse"), "an error"), MyxiError);

  // One that is refused is the end of a try as well; Node says less of it than a browser.
  const refused = new Promise((resolve) => socket.on("state", (state, previous) => previous === "connecting" && state === "waiting" && resolve()));
  const back = new Promise((resolve) => socket.once("SocketAuthenticated", resolve));
  const again = new Promise((resolve) => subscription.once("Subscribed", resolve));
  await gateway.kill();
  await within(refused, "a try that is refused", REFUSED_MAX);
  await Gateway.serve(t, app, flags);
  await within(Promise.all([back, again]), "back");
});

test("a page of another origin has the library, and connects where it is allowed", async (t) => {
  const app = await Application.start(t);
  const port = await serveSite(t, { "/": `<!doctype html><link rel="icon" href="data:,">` });
  const origin = `http://localhost:${port}`;
  const [open, closed] = await Promise.all([Gateway.serve(t, app, [`--allow-origin=${origin}`]), Gateway.serve(t, app)]);
  const page = await openPage(t);
  await page.goto(`${origin}/`);
  for (const gateway of [closed, open]) {
    // As a script, and read, for those who check what they load.
    await page.addScriptTag({ url: `http://${gateway.clients}/myxi.js` });
    const text = await page.evaluate((url) => fetch(url).then((response) => response.text()), `http://${gateway.clients}/myxi.js`);
    assert.match(text, /Myxi/);
  }
  await connect(page, open.websocket);
  const refused = await page.evaluate((url) => {
    const socket = new Myxi.Connection(url, { reconnect: false });
    return new Promise((resolve) => socket.on("SocketClosed", ({ code }) => resolve(code)));
  }, closed.websocket);
  assert.equal(refused, 1006);
  await closed.log.next(({ message }) => message?.includes(`--allow-origin=${origin}`) || message?.includes(origin), "the flag to paste");
});
