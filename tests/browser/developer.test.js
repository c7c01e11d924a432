// What whoever writes a page is told by the browser's console, and spared, with the real gateway.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Application, TOKEN } from "./support/application.js";
import { Gateway } from "./support/gateway.js";
import { connect, openLibrary, stateIs } from "./support/page.js";
import { within } from "./support/within.js";

async function start(t) {
  const app = await Application.start(t);
  const gateway = await Gateway.serve(t, app);
  return { app, gateway, page: await openLibrary(t, gateway.clients) };
}

/** A warning of the console that says this, once there is one. */
async function warned(page, pattern) {
  const found = () => page.warnings.find((text) => pattern.test(text));
  return found() ?? within(new Promise((resolve) => page.on("console", () => found() && resolve(found()))), `${pattern}`);
}

test("errors that nobody handles are on the console, each once", async (t) => {
  const { gateway, page } = await start(t);
  await connect(page, gateway.websocket);
  await page.evaluate(() => {
    for (const key of [13, 14]) socket.subscribe("widgetz", key);
    socket.subscribe("widgets", 13);
    for (const _ of [1, 2]) socket.sendAction("Dance");
  });
  await warned(page, /widgetz 13 has ended.*InvalidExchangeName/);
  await warned(page, /widgets 13 has ended.*SubscriptionDenied/);
  await warned(page, /nobody handles: .*InvalidAction/);
  // Behind all that came before it.
  await page.evaluate(() => socket.action("Keep"));
  assert.equal(page.warnings.length, 3, page.warnings.join("\n"));
  assert.deepEqual(page.complaints, []);
});

test("errors that the page handles are not", async (t) => {
  const { gateway, page } = await start(t);
  await connect(page, gateway.websocket);
  const codes = await page.evaluate(async () => {
    const codes = [];
    const code = ({ code, error }) => codes.push(code ?? error);
    await socket.subscribe("widgetz", 1).ready.catch(code);
    await new Promise((resolve) => socket.subscribe("widgets", 13).on("Error", resolve)).then(code);
    try {
      for await (const _ of socket.subscribe("widgetz", 2));
    } catch (error) {
      code(error);
    }
    await socket.action("Dance").catch(code);
    const heard = new Promise((resolve) => socket.on("Error", resolve));
    socket.sendAction("Dance");
    await heard.then(code);
    return codes;
  });
  assert.deepEqual(codes, ["InvalidExchangeName", "SubscriptionDenied", "InvalidExchangeName", "InvalidAction", "InvalidAction"]);
  assert.deepEqual([page.warnings, page.complaints], [[], []]);
});

test("a page that never says isAuthenticated() is told so", async (t) => {
  const { gateway, page } = await start(t);
  await page.evaluate(([url, session_token]) => {
    globalThis.socket = new Myxi.Connection(url);
    // Of another case than the event's name.
    socket.authentication(() => {
      socket.on("authenticated", () => socket.isAuthenticated());
      socket.sendAction("Authenticate", { session_token });
    });
    socket.subscribe("widgets", 1);
  }, [gateway.websocket, TOKEN]);
  await warned(page, /subscriptions \(1\) and actions \(0\) have waited 5 s for isAuthenticated/);
  assert.equal(page.warnings.length, 1, page.warnings.join("\n"));
});

test("a page that came while the application was away says who it is when it is back", async (t) => {
  const { app, gateway, page } = await start(t);
  app.kill();
  await page.evaluate(([url, session_token]) => {
    globalThis.socket = new Myxi.Connection(url);
    socket.authentication(() => {
      socket.on("Authenticated", () => socket.isAuthenticated());
      socket.sendAction("Authenticate", { session_token });
    });
    globalThis.subscription = socket.subscribe("widgets", 1);
  }, [gateway.websocket, TOKEN]);
  await page.frames.next(({ event, payload }) => event === "Error" && payload.error === "ApplicationUnavailable", "that it is away");
  await warned(page, /authentication failed, and is tried again/);
  await app.restart();
  await stateIs(page, "authenticated");
  assert.equal(await page.evaluate(() => subscription.ready), true);
  assert.equal(page.sockets.length, 1, "on the same connection");
});

test("a fresh token in the URL of every connection", async (t) => {
  const { gateway, page } = await start(t);
  await page.evaluate((url) => {
    globalThis.tokens = 0;
    globalThis.socket = new Myxi.Connection(async () => {
      // As from a server, which fails at times.
      if (++tokens === 2) throw new Error("no token today");
      return `${url}?token=${tokens}`;
    });
  }, gateway.websocket);
  await stateIs(page, "open");
  await page.evaluate(() => void socket.sendAction("Leave", { code: 4000 }));
  await page.frames.next(({ socket, event }) => socket === 1 && event === "Welcome", "another connection");
  assert.deepEqual(page.sockets.map(({ url }) => url), [1, 3].map((n) => `${gateway.websocket}?token=${n}`));
  await warned(page, /no URL to connect to.*no token today/);
});
