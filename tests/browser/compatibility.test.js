// A page that was written for the Ruby original, and was not changed, with a gateway that speaks
// as it did: whatever is restarted, it ends up authenticated and subscribed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Application } from "./support/application.js";
import { Gateway } from "./support/gateway.js";
import { openOriginal } from "./support/original.js";
import { connect, openLibrary } from "./support/page.js";
import { freePort } from "./support/ports.js";
import { RabbitMq } from "./support/rabbitmq.js";
import { Publisher, RubyApplication } from "./support/ruby.js";

const KEYS = [1, "two", 3];

/** On a fixed port, where a later gateway may take its place. */
async function start(t, flags = []) {
  const app = await Application.start(t);
  flags = ["--compatibility=myxi", `--listen=127.0.0.1:${await freePort()}`, ...flags];
  const serve = () => Gateway.serve(t, app, flags);
  const gateway = await serve();
  const page = await openOriginal(t, `ws://${gateway.clients}/pushwss/`, KEYS);
  await isWhole(page);
  // The first may have come before the gateway had reached the broker.
  const connections = page.sockets.length;
  return { app, gateway, page, serve, connections };
}

/** Authenticated, and subscribed to all that it wants. */
async function isWhole(page) {
  const whole = () => socket.authenticated && Object.values(socket.subscriptions).every((one) => one.subscribed);
  await page.waitForFunction(whole);
  assert.equal(await page.evaluate(() => Object.keys(socket.subscriptions).length), KEYS.length);
}

/** Each event comes once. */
async function assertHears(page, gateway) {
  await page.evaluate(() => void (events.length = 0));
  for (const key of KEYS) await gateway.push("widgets", String(key), "Changed", { of: key });
  await page.waitForFunction((length) => events.length >= length, KEYS.length);
  const expected = KEYS.map((key) => [key, { of: key }]);
  assert.deepEqual(await page.evaluate(() => events), expected);
}

/** What the original never said. */
async function assertHeardNothingNew(page) {
  const names = new Set((await page.evaluate(() => heard)).map(({ event }) => event));
  for (const name of ["Done", "Gap", "Reconnect", "InternalError"]) assert.ok(!names.has(name), name);
}

/** Of its errors, those that are no doubled subscription: its habit makes those. */
function errors(page) {
  return page.evaluate(() =>
    heard.filter(({ event, payload }) => event === "Error" && payload.error !== "AlreadySubscribed"),
  );
}

test("a gateway that is killed, and one that drains", async (t) => {
  const { gateway, page, serve, connections } = await start(t);
  await assertHears(page, gateway);
  await gateway.kill();
  const second = await serve();
  await page.waitForFunction((before) => closes.length >= before && socket.connected, connections);
  await isWhole(page);
  await assertHears(page, second);
  await second.end("SIGTERM");
  const third = await serve();
  await page.waitForFunction(() => closes.includes(1012) && socket.connected);
  await isWhole(page);
  await assertHears(page, third);
  await assertHeardNothingNew(page);
  assert.deepEqual(await errors(page), []);
});

test("an application that is away for a while costs a page nothing", async (t) => {
  const { app, gateway, page, connections } = await start(t);
  app.kill();
  await gateway.push("widgets", "1", "Changed", {});
  await page.waitForFunction(() => events.length === 1);
  await app.restart();
  await assertHears(page, gateway);
  assert.equal(page.sockets.length, connections, "it is still connected");
  assert.equal(await page.evaluate(() => socket.authenticated), true);
});

// The one that the original's client never got over: it asks once who it is.
test("an application that is away when the page connects", async (t) => {
  const { app, gateway, page, serve } = await start(t);
  app.kill();
  await gateway.kill();
  const second = await serve();
  await page.waitForFunction(() => closes.filter((code) => code === 1013).length >= 2);
  assert.equal(await page.evaluate(() => socket.authenticated), false);
  await app.restart();
  await isWhole(page);
  await assertHears(page, second);
  await assertHeardNothingNew(page);
  assert.deepEqual(await errors(page), []);
});

test("a broker that is killed, and one that is away when the page connects", async (t) => {
  const broker = await RabbitMq.start(t);
  const { gateway, page, serve, connections } = await start(t, [`--rabbitmq-url=${broker.url}`]);
  await assertHears(page, gateway);
  await broker.kill();
  await broker.restart();
  await until(() => gateway.push("widgets", "1", "Back", {}));
  await assertHears(page, gateway);
  assert.equal(page.sockets.length, connections, "it is still connected");

  await broker.kill();
  await gateway.kill();
  const second = await serve();
  await page.waitForFunction((before) => closes.slice(before).includes(1013), connections);
  await broker.restart();
  await isWhole(page);
  await assertHears(page, second);
  await assertHeardNothingNew(page);
  assert.deepEqual(await errors(page), []);
});

/** Until it succeeds; bounded by the test's own waits behind it. */
async function until(what, tries = 600) {
  for (let n = 1; ; n++) {
    try {
      return await what();
    } catch (error) {
      if (n === tries) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

// All of the original's but its server: page, blocks and publishers are as they were.
test("a page, a handler in Ruby and bunny outlive gateway, application and broker", async (t) => {
  const broker = await RabbitMq.start(t);
  const app = await RubyApplication.start(t);
  const flags = [
    "--compatibility=myxi",
    `--listen=127.0.0.1:${await freePort()}`,
    `--rabbitmq-url=${broker.url}`,
    "--exchange=widgets;kind=direct",
  ];
  const serve = () => Gateway.serve(t, app, flags);
  const first = await serve();
  const page = await openOriginal(t, `ws://${first.clients}/pushwss/`, KEYS);
  await isWhole(page);
  const publisher = await Publisher.connect(t, broker.url);
  await assertHears(page, publisher);

  await first.kill();
  const closed = await page.evaluate(() => closes.length);
  await serve();
  await page.waitForFunction((before) => closes.length > before || socket.connected, closed);
  await isWhole(page);
  await assertHears(page, publisher);

  await app.kill();
  await app.restart();
  await assertHears(page, publisher);
  // Whoever clicks too early clicks again.
  await until(() =>
    page.evaluate(async () => {
      socket.sendAction("Count", {});
      await new Promise((resolve) => socket.on("SocketMessageReceived", resolve));
      if (!heard.some(({ event }) => event === "Counted")) throw new Error("not counted");
    }),
  );

  await broker.kill();
  await broker.restart();
  const again = await Publisher.connect(t, broker.url);
  // It is bound anew some time after the broker is back.
  await page.evaluate(() => void (events.length = 0));
  await until(async () => {
    await again.push("widgets", "1", "Changed", {});
    if (!(await page.evaluate(() => events.length))) throw new Error("nothing was heard");
  });
  await isWhole(page);
  await assertHears(page, again);
  await assertHeardNothingNew(page);
  const names = new Set((await errors(page)).map(({ payload }) => payload.error));
  names.delete("ApplicationUnavailable");
  assert.deepEqual([...names], []);
});

test("a page that has moved and one that has not hear the same of one gateway", async (t) => {
  const { gateway, page } = await start(t);
  const moved = await openLibrary(t, gateway.clients);
  await connect(moved, `ws://${gateway.clients}/`);
  await moved.evaluate(async () => {
    globalThis.events = [];
    const subscription = socket.subscribe("widgets", 1);
    subscription.on("Changed", (payload) => events.push([1, payload]));
    await subscription.ready;
  });
  await assertHears(page, gateway);
  await moved.waitForFunction(() => events.length > 0);
  assert.deepEqual(await moved.evaluate(() => events), [[1, { of: 1 }]]);
  const kept = await moved.evaluate(() => socket.action("Keep"));
  assert.equal(kept.event, "Done");
});

test("what the application denies or ends is gone from the page", async (t) => {
  const { app, page } = await start(t);
  await page.evaluate(() => void socket.subscribe("widgets", 13));
  await page.waitForFunction(() => heard.some(({ payload }) => payload?.error === "SubscriptionDenied"));
  const keys = () => page.evaluate(() => Object.keys(socket.subscriptions));
  assert.deepEqual(await keys(), KEYS.map((key) => `widgets::${key}`));
  await page.evaluate(() => void socket.subscriptions["widgets::two"].unsubscribe());
  await page.waitForFunction(() => !socket.subscriptions["widgets::two"]);
  app.allows = (_, { routing_key }) => routing_key !== "3";
  await page.evaluate((session_token) => void socket.sendAction("Authenticate", { session_token }), "demo-token");
  await page.waitForFunction(() => !socket.subscriptions["widgets::3"]);
  assert.deepEqual(await keys(), ["widgets::1"]);
});
