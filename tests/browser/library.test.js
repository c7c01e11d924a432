// The client library in a page: every line of its interface, against the real gateway.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Application, TOKEN } from "./support/application.js";
import { openPage, serveSite } from "./support/browser.js";
import { Gateway } from "./support/gateway.js";
import { connect, heard, openLibrary, stateIs } from "./support/page.js";

/** A page that has the library and is not connected. */
async function start(t, options) {
  const app = await Application.start(t);
  const gateway = await Gateway.serve(t, app);
  const page = await openLibrary(t, gateway.clients, options?.(gateway));
  return { app, gateway, page };
}

/** A page with a `socket` that is authenticated. */
async function startConnected(t, options) {
  const started = await start(t);
  await connect(started.page, started.gateway.websocket, options);
  return started;
}

/** What the page said of these actions: names, exchange and keys. */
const sent = (page, ...actions) => page.sockets.flatMap(({ sent }) => sent).filter(({ action }) => actions.includes(action));

/** As it is told to a person, or to code. */
const described = `(error) => ({
  typed: error instanceof Myxi.MyxiError && error instanceof Error,
  ...JSON.parse(JSON.stringify({ code: error.code, retryable: error.retryable, outcome: error.outcome, details: error.details })),
})`;
const failure = (page, action) => page.evaluate(`(${action})().then(() => "no error", ${described})`);

test("a page with a script tag and ten lines shows live events", async (t) => {
  const app = await Application.start(t);
  app.allows = () => true;
  const gateway = await Gateway.serve(t, app);
  const html = readFileSync(new URL("ten_lines.html", import.meta.url), "utf8");
  assert.ok(html.trim().split("\n").length <= 10);
  const port = await serveSite(t, { "/": html.replaceAll("GATEWAY", gateway.clients) });
  const page = await openPage(t);
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.frames.next(({ event }) => event === "Subscribed", "Subscribed");
  for (const quantity of ["7", "8"]) {
    await gateway.push("widgets", "1", "WidgetQtyChanged", { quantity });
    await page.waitForFunction((text) => document.querySelector("#quantity").textContent === text, quantity);
  }
});

test("the README's page shows what is pushed", async (t) => {
  const app = await Application.start(t);
  const gateway = await Gateway.serve(t, app);
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const [, html] = readme.match(/```html\n([^]+?)```/);
  const here = html.replaceAll("127.0.0.1:5005", gateway.clients).replace('password: "sesame"', `session_token: "${TOKEN}"`);
  const port = await serveSite(t, { "/page.html": here });
  const page = await openPage(t);
  await page.goto(`http://127.0.0.1:${port}/page.html`);
  await page.frames.next(({ event }) => event === "Subscribed", "Subscribed");
  await gateway.push("widgets", "1", "WidgetChanged", { quantity: 7 });
  await page.waitForFunction(() => document.querySelector("#seen").textContent === "quantity 7\n");
});

test("the interface that users of the original know", async (t) => {
  const { app, gateway, page } = await start(t);
  // Asked for before anything stands: sent when it does, after authentication.
  const own = ["SocketConnected", "SocketDisconnected", "SocketClosed", "SocketMessageReceived", "SocketAuthenticated"];
  await page.evaluate(
    ([url, session_token, names]) => {
      globalThis.socket = new Myxi.Connection(url);
      listen(names);
      socket.authentication(() => {
        socket.on("Authenticated", () => socket.isAuthenticated());
        socket.sendAction("Authenticate", { session_token });
      });
      globalThis.subscription = socket.subscribe("widgets", 1234);
      globalThis.events = [];
      subscription.on("WidgetQtyChanged", (payload, tag) => events.push([payload, tag ?? null]));
    },
    [gateway.websocket, TOKEN, [...own, "Hello", "WidgetQtyChanged"]],
  );
  await heard(page, "SocketConnected");
  await heard(page, "SocketAuthenticated");
  await heard(page, "SocketMessageReceived");
  await page.frames.next(({ event }) => event === "Subscribed", "Subscribed");
  assert.ok(await page.evaluate(() => socket.subscriptions["widgets::1234"] === subscription));

  await gateway.push("widgets", "1234", "WidgetQtyChanged", { quantity: 7 });
  const [payload, , { id, ...mq }] = await heard(page, "WidgetQtyChanged");
  assert.deepEqual([payload, mq, typeof id], [{ quantity: 7 }, { e: "widgets", rk: "1234" }, "string"]);
  assert.deepEqual(await page.evaluate(() => events), [[{ quantity: 7 }, null]]);

  await page.evaluate(() => void socket.sendAction("SayHello", { name: "Adam" }));
  assert.deepEqual((await heard(page, "Hello"))[0], { message: "Hello, Adam!" });

  await page.evaluate(() => void subscription.unsubscribe());
  await page.frames.next(({ event }) => event === "Unsubscribed", "Unsubscribed");
  assert.equal(await page.evaluate(() => socket.subscriptions["widgets::1234"]), undefined);

  await page.evaluate(() => void socket.disconnect());
  await heard(page, "SocketDisconnected");
  await heard(page, "SocketClosed");
  await stateIs(page, "closed");
  assert.equal((await app.called("SessionClosed")).request.code, 1000);
  assert.deepEqual(page.complaints, []);
});

test("message handlers hear everything, until they are removed", async (t) => {
  const { page } = await startConnected(t);
  await page.evaluate(() => {
    globalThis.messages = [];
    globalThis.keep = (message) => messages.push(message.event ?? JSON.parse(message.data).event);
    socket.addMessageHandler(keep);
  });
  await page.evaluate(() => socket.action("SayHello", { name: "Adam" }));
  await page.evaluate(() => (socket.removeMessageHandler(keep), socket.action("SayHello", { name: "Eve" })));
  assert.deepEqual(await page.evaluate(() => messages), ["Hello"]);
});

test("where to connect stands in the page", async (t) => {
  const head = ({ websocket }) => ({ head: `<meta name="myxi-host" content="${websocket}">` });
  const { page } = await start(t, head);
  const id = await page.evaluate(() => {
    globalThis.socket = Myxi.Connection.fromMeta();
    return new Promise((resolve) => socket.on("Welcome", ({ id }) => resolve(id)));
  });
  assert.match(id, /^[0-9a-f]{16}$/);
});

test("an action is answered, or fails as it did", async (t) => {
  const { page } = await startConnected(t);
  const hello = await page.evaluate(() => socket.action("SayHello", { name: "Adam" }, { timeout: 10_000 }));
  assert.deepEqual([hello.event, hello.payload], ["Hello", { message: "Hello, Adam!" }]);
  assert.equal(await page.evaluate(() => socket.action("Keep").then(({ event }) => event)), "Done");

  const refused = await failure(page, '() => socket.action("Refuse")');
  assert.deepEqual(refused, { typed: true, code: "OutOfStock", retryable: true, details: { left: 0 } });
  const unknown = await failure(page, '() => socket.action("Dance")');
  assert.deepEqual([unknown.code, unknown.retryable], ["InvalidAction", false]);

  const late = await failure(page, '() => socket.action("Hang", {}, { timeout: 50 })');
  assert.deepEqual([late.code, late.outcome], ["ActionTimeout", "unknown"]);
  const aborted = await page.evaluate(() => {
    const controller = new AbortController();
    const hanging = socket.action("Hang", {}, { signal: controller.signal });
    controller.abort();
    return hanging.catch(({ name }) => name);
  });
  assert.equal(aborted, "AbortError");
});

test("each of many actions under way gets its own answer", async (t) => {
  const { page } = await startConnected(t);
  const messages = await page.evaluate(async () => {
    const names = Array.from({ length: 50 }, (_, n) => `number ${n}`);
    const replies = await Promise.all(names.map((name) => socket.action("SayHello", { name })));
    return replies.every(({ payload }, n) => payload.message === `Hello, ${names[n]}!`);
  });
  assert.ok(messages);
});

test("of an action whose connection is lost nobody knows what became", async (t) => {
  const { app, gateway, page } = await startConnected(t);
  const hanging = failure(page, '() => socket.action("Hang")');
  await app.called("HandleAction", ({ action }) => action === "Hang");
  await gateway.kill();
  const error = await hanging;
  assert.deepEqual([error.typed, error.code, error.outcome, error.retryable], [true, "ConnectionLost", "unknown", false]);
});

test("what is asked for before the connection stands is sent when it does, in order", async (t) => {
  const { gateway, page } = await start(t);
  const replies = await page.evaluate(async (url) => {
    globalThis.socket = new Myxi.Connection(url);
    const before = socket.state;
    const answers = await Promise.all(["a", "b"].map((name) => socket.action("SayHello", { name })));
    return [before, ...answers.map(({ payload }) => payload.message)];
  }, gateway.websocket);
  assert.deepEqual(replies, ["connecting", "Hello, a!", "Hello, b!"]);
  assert.deepEqual(sent(page, "SayHello").map(({ payload }) => payload.name), ["a", "b"]);
});

test("a subscription is ready, or says why it is not", async (t) => {
  const { page } = await startConnected(t);
  await page.evaluate(async () => void (await socket.subscribe("widgets", 1).ready));
  const denied = await failure(page, '() => socket.subscribe("widgets", 13).ready');
  assert.deepEqual([denied.typed, denied.code], [true, "SubscriptionDenied"]);
  assert.deepEqual(denied.details, { exchange: "widgets", routing_key: "13" });
  const nowhere = await failure(page, '() => socket.subscribe("nowhere", 1).ready');
  assert.equal(nowhere.code, "InvalidExchangeName");
  assert.deepEqual(await page.evaluate(() => Object.keys(socket.subscriptions)), ["widgets::1"]);
});

test("events can be awaited one after another", async (t) => {
  const { gateway, page } = await startConnected(t);
  await page.evaluate(async () => {
    globalThis.subscription = socket.subscribe("widgets", 1);
    globalThis.iterated = (async () => {
      const got = [];
      for await (const { event, payload, mq } of subscription) {
        got.push([event, payload, mq.rk]);
        // What comes meanwhile waits for its reader.
        if (payload === 1) await new Promise((resolve) => (globalThis.readOn = resolve));
        if (payload === "last") break;
      }
      return got;
    })();
    await subscription.ready;
  });
  for (const payload of [1, 2, "last", "unread"]) await gateway.push("widgets", "1", "Changed", payload);
  await page.frames.next(({ payload }) => payload === "unread", "the last event");
  const got = await page.evaluate(() => (readOn(), iterated));
  assert.deepEqual(got, [1, 2, "last"].map((payload) => ["Changed", payload, "1"]));
});

test("a signal ends a subscription, and the iteration over it", async (t) => {
  const { page } = await startConnected(t);
  await page.evaluate(async () => {
    const controller = new AbortController();
    const subscription = socket.subscribe("widgets", 1, { signal: controller.signal });
    await subscription.ready;
    const iterated = (async () => { for await (const _ of subscription); })();
    controller.abort();
    await iterated.catch(({ name }) => name);
  });
  await page.frames.next(({ event }) => event === "Unsubscribed", "Unsubscribed");
  assert.deepEqual(await page.evaluate(() => Object.keys(socket.subscriptions)), []);
});

test("handlers are removed by name, after one event, or by a signal", async (t) => {
  const { page } = await startConnected(t);
  const calls = await page.evaluate(async () => {
    const calls = [];
    const always = () => calls.push("always");
    const controller = new AbortController();
    socket.on("Hello", always);
    socket.once("Hello", () => calls.push("once"));
    socket.on("Hello", () => calls.push("signal"), { signal: controller.signal });
    const hello = async () => {
      socket.sendAction("SayHello", { name: "Adam" });
      // Answered after it, as actions are carried out one after another.
      await socket.action("Keep");
    };
    await hello();
    controller.abort();
    await hello();
    socket.off("Hello", always);
    await hello();
    return calls;
  });
  assert.deepEqual(calls, ["always", "once", "signal", "always"]);
});

test("several components share one subscription, which ends with the last", async (t) => {
  const { gateway, page } = await startConnected(t);
  await page.evaluate(async () => {
    globalThis.counts = [0, 0, 0];
    // A number and its text are one topic to the gateway.
    globalThis.shared = [1, 1, "1"].map((key) => socket.subscribe("widgets", key));
    shared.forEach((one, n) => one.on("Changed", () => counts[n]++));
    await Promise.all(shared.map((one) => one.ready));
  });
  const counted = (counts) => page.waitForFunction((wanted) => `${globalThis.counts}` === wanted, `${counts}`);
  await gateway.push("widgets", "1", "Changed", 1);
  await counted([1, 1, 1]);
  await page.evaluate(() => shared[0].unsubscribe());
  await gateway.push("widgets", "1", "Changed", 2);
  await counted([1, 2, 2]);
  await page.evaluate(() => (shared[1].unsubscribe(), shared[2].unsubscribe()) && undefined);
  await page.frames.next(({ event }) => event === "Unsubscribed", "Unsubscribed");
  await page.evaluate(() => socket.action("Keep"));
  assert.equal(sent(page, "Subscribe").length, 1);
  assert.equal(sent(page, "Unsubscribe").length, 1);
});

test("each change of the state is told", async (t) => {
  const { gateway, page } = await start(t);
  await page.evaluate((url) => {
    globalThis.socket = new Myxi.Connection(url);
    globalThis.changes = [];
    socket.on("state", (state, previous) => changes.push(`${previous} → ${state}`));
    socket.authentication(() => {
      socket.on("Authenticated", () => socket.isAuthenticated());
      socket.sendAction("Authenticate", { session_token: "demo-token" });
    });
  }, gateway.websocket);
  await stateIs(page, "authenticated");
  await gateway.kill();
  await stateIs(page, "waiting");
  await page.evaluate(() => socket.disconnect());
  const changes = await page.evaluate(() => changes);
  assert.deepEqual(changes.slice(0, 3), ["connecting → open", "open → authenticated", "authenticated → waiting"]);
  assert.match(changes.at(-1), / → closed$/);
});

test("a gap is told to the subscription that it touches", async (t) => {
  const app = await Application.start(t);
  const gateway = await Gateway.serve(t, app);
  const gap = { event: "Gap", payload: { exchange: "widgets", routing_key: 1 } };
  let say;
  // Between the page and the gateway, which has no gaps on its own bus.
  const between = (page) =>
    page.routeWebSocket("**/pushwss", (socket) => {
      socket.connectToServer();
      say = (message) => socket.send(JSON.stringify(message));
    });
  const page = await openLibrary(t, gateway.clients, { prepare: between });
  await connect(page, gateway.websocket);
  await page.evaluate(async () => {
    globalThis.gaps = [];
    const subscriptions = [1, 2].map((key) => socket.subscribe("widgets", key));
    subscriptions.forEach((one, n) => one.on("Gap", (payload) => gaps.push([n + 1, payload])));
    await Promise.all(subscriptions.map((one) => one.ready));
  });
  say(gap);
  await page.waitForFunction(() => gaps.length > 0);
  assert.deepEqual(await page.evaluate(() => gaps), [[1, gap.payload]]);
});
