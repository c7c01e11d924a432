// What a page goes through with its gateway: lost, restarted, drained, sent away for good.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Application, TOKEN } from "./support/application.js";
import { Gateway } from "./support/gateway.js";
import { connect, openLibrary, stateIs } from "./support/page.js";
import { freePort } from "./support/ports.js";
import { Proxy } from "./support/proxy.js";

/**
 * A page may be away for so long, in ms, beside what the machine takes: so many times as long as
 * for subscribing the first time.
 */
const AWAY_MAX = 1000;
const WORK = 10;

/** Of an odd number of pages the middle one is not held up by what else the machine does. */
const PAGES = 3;

/** Longer than any test: whoever is back before did not wait for it. */
const LONG = { reconnect: { initial: 600_000, max: 600_000 } };

const TOPICS = { widgets: ["1", "2", "three"], gadgets: ["1", "2"] };
const ALL = Object.entries(TOPICS).flatMap(([exchange, keys]) => keys.map((key) => [exchange, key]));

/** On a fixed port, where a later one may take its place. */
async function start(t, { flags = [], options, prepare } = {}) {
  const app = await Application.start(t);
  flags = [`--listen=127.0.0.1:${await freePort()}`, ...flags];
  const serve = () => Gateway.serve(t, app, flags);
  const gateway = await serve();
  const page = await openLibrary(t, gateway.clients, { prepare });
  await connect(page, gateway.websocket, options);
  return { app, gateway, page, serve };
}

/** Subscribed to all of them; `events` are what comes. */
async function subscribeAll(page) {
  await page.evaluate(async (all) => {
    globalThis.events = [];
    const subscriptions = all.map(([exchange, key]) => socket.subscribe(exchange, key));
    for (const one of subscriptions) one.on("Changed", (payload) => events.push(payload));
    await Promise.all(subscriptions.map((one) => one.ready));
  }, ALL);
}

/** The connection after so many others that has every subscription, once it has. */
async function resubscribed(page, others) {
  const isWhole = ({ received }) => received.filter(({ event }) => event === "Subscribed").length === ALL.length;
  const back = () => page.sockets.slice(others).find(isWhole);
  await page.frames.next(back, "every subscription again");
  return back();
}

/** Who it is, and then one message for each exchange, from where it stood. */
function assertSentAgain({ sent }) {
  const actions = sent.map(({ action, payload: { after, ...payload } }) => ({ action, payload }));
  assert.deepEqual(sent.map(({ payload }) => typeof payload.after), ["undefined", "string", "string"]);
  assert.deepEqual(actions, [
    { action: "Authenticate", payload: { session_token: TOKEN } },
    ...Object.entries(TOPICS).map(([exchange, routing_keys]) => ({ action: "Subscribe", payload: { exchange, routing_keys } })),
  ]);
}

/** Each event comes once. */
async function assertHears(page, gateway) {
  const payloads = ALL.map((_, n) => n);
  await page.evaluate(() => void (events.length = 0));
  for (const [n, [exchange, key]] of ALL.entries()) await gateway.push(exchange, key, "Changed", n);
  await page.waitForFunction((length) => events.length >= length, ALL.length);
  const got = await page.evaluate(() => events);
  assert.deepEqual(got.toSorted(), payloads);
}

// By the clock that the page shares with its gateway: from the kill to the last `Subscribed`
// that the page hears. What the new process takes until it says that it listens does not count.
test("a gateway that is killed and started again is missed for less than a second", async (t) => {
  const [back, away, first] = [[], [], []];
  for (let n = 0; n < PAGES; n++) {
    const { gateway, page, serve } = await start(t);
    const beganAt = Date.now();
    await subscribeAll(page);
    first.push(Date.now() - beganAt);
    await assertHears(page, gateway);
    const killedAt = Date.now();
    await gateway.kill();
    const restarted = await serve();
    assertSentAgain(await resubscribed(page, 1));
    const backAt = await page.evaluate(() => subscribedAt);
    back.push(backAt - restarted.listeningSince);
    away.push(backAt - killedAt - (restarted.listeningSince - restarted.spawnedAt));
    await assertHears(page, restarted);
  }
  t.diagnostic(`back ${back.join(", ")} ms after the gateway was; without it ${away.join(", ")} ms, but for its start`);
  const middle = (times) => times.toSorted((a, b) => a - b)[(PAGES - 1) / 2];
  const most = AWAY_MAX + WORK * middle(first);
  assert.ok(middle(back) < most, `back after ${back} ms, subscribed first in ${first} ms`);
  assert.ok(middle(away) < most, `away for ${away} ms, subscribed first in ${first} ms`);
});

test("a replica that drains hands its pages over to another", async (t) => {
  const app = await Application.start(t);
  const [first, second] = await Promise.all([Gateway.serve(t, app), Gateway.serve(t, app)]);
  const proxy = await Proxy.start(t, first);
  const page = await openLibrary(t, proxy.address);
  await connect(page, `ws://${proxy.address}/pushwss`);
  await subscribeAll(page);
  const [connection] = page.sockets;

  proxy.replica = second;
  const drained = first.end("SIGTERM");
  const back = await resubscribed(page, 1);
  assertSentAgain(back);
  await assertHears(page, second);
  assert.equal(await drained, 0);

  const replica = ({ received }) => received.find(({ event }) => event === "Welcome").payload.id.slice(0, 8);
  assert.deepEqual([connection, back].map(replica), [first.replica, second.replica]);
  assert.equal(connection.received.at(-1).event, "Reconnect");
  assert.deepEqual(await page.evaluate(() => closes), [1012]);
  assert.equal(await page.evaluate(() => authentications), 2, "no handler is doubled");
});

// With a clock of the test's own: ten minutes are long enough for any retry there was to be.
test("whoever is told to stay away does, and whoever may come back does", async (t) => {
  const { page } = await start(t, { prepare: (page) => page.clock.install() });
  const sentAway = async (code) => {
    await page.evaluate((code) => void socket.sendAction("Leave", { code }), code);
    await page.waitForFunction((code) => closes.at(-1) === code, code);
    await page.clock.fastForward(600_000);
  };
  await sentAway(4000);
  await stateIs(page, "authenticated");
  assert.equal(page.sockets.length, 2);

  await sentAway(4500);
  await stateIs(page, "closed");
  await page.evaluate(() => void dispatchEvent(new Event("online")));
  await page.clock.fastForward(600_000);
  assert.equal(page.sockets.length, 2);
});

test("back online, a page does not wait for its turn", async (t) => {
  const { gateway, page, serve } = await start(t, { options: LONG });
  await subscribeAll(page);
  await gateway.kill();
  await stateIs(page, "waiting");
  await page.context().setOffline(true);
  const others = page.sockets.length;
  const restarted = await serve();
  assert.equal(await page.evaluate(() => socket.state), "waiting");
  await page.context().setOffline(false);
  await resubscribed(page, others);
  await assertHears(page, restarted);
});

test("back in front of somebody, a page does not wait for its turn either", async (t) => {
  const { gateway, page, serve } = await start(t, { options: LONG });
  await subscribeAll(page);
  await gateway.kill();
  await stateIs(page, "waiting");
  const others = page.sockets.length;
  const restarted = await serve();
  // A headless tab is never hidden, so this tells it what it would be told.
  await page.evaluate(() => void document.dispatchEvent(new Event("visibilitychange")));
  await resubscribed(page, others);
  await assertHears(page, restarted);
});

test("a gateway that answers no more is given up", async (t) => {
  const { gateway, page, serve } = await start(t, { flags: ["--ping-interval=2s"], options: { pongTimeout: 2_000 } });
  await subscribeAll(page);
  gateway.signal("SIGSTOP");
  await page.waitForFunction(() => socket.state !== "authenticated");
  const others = page.sockets.length;
  await gateway.kill();
  const restarted = await serve();
  await resubscribed(page, others);
  await assertHears(page, restarted);
});
