// What a page hears of the time that it was away: its connection lost, asleep, loaded again.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Application } from "./support/application.js";
import { sleep } from "./support/browser.js";
import { Gateway } from "./support/gateway.js";
import { connect, openLibrary } from "./support/page.js";
import { Proxy } from "./support/proxy.js";

/** Connections that are lost after 0, 1, 2 … parts of what the gateway says, twice each. */
const [ROUNDS, STAGES] = [24, 12];

/** Of so much, what was missed is several parts of. */
const [MISSED, FILLER] = [30, "x".repeat(5_000)];

const RESUME = { resume: "session" };

/** A page that reaches its gateway by way of `proxy`. */
async function start(t, { prepare } = {}) {
  const app = await Application.start(t);
  const gateway = await Gateway.serve(t, app);
  const proxy = await Proxy.start(t, gateway);
  const page = await openLibrary(t, gateway.clients, { prepare });
  const url = `ws://${proxy.address}/pushwss`;
  return { gateway, proxy, page, url };
}

/** As each page of a tab does anew: `told` is what it hears of these keys, in order. */
async function follow(page, url, topics, options = RESUME) {
  await connect(page, url, options);
  await page.evaluate(async (topics) => {
    globalThis.told = [];
    for (const name of ["Recovered", "NotRecovered", "Gap"]) socket.on(name, ({ routing_key, reason }) => told.push([routing_key, name, reason ?? null]));
    const subscriptions = topics.map(([key, options]) => socket.subscribe("widgets", key, options));
    for (const one of subscriptions) one.on("Changed", (payload) => told.push([one.routingKey, payload]));
    await Promise.all(subscriptions.map((one) => one.ready));
  }, topics);
}

const push = async (gateway, key, ...payloads) => {
  for (const payload of payloads) await gateway.push("widgets", key, "Changed", payload);
};

/** That it hears this, and nothing else before what is pushed last. */
async function assertTold(page, gateway, key, expected) {
  await push(gateway, key, "end");
  await page.waitForFunction(() => told.at(-1)?.[1] === "end");
  assert.deepEqual(await page.evaluate(() => told.splice(0)), [...expected, [key, "end"]]);
}

const RECOVERED = ["1", "Recovered", null];
const missed = (...payloads) => payloads.map((payload) => ["1", payload]);

/** Goes away for as long as `meanwhile` takes; back when what it missed has come, or does not. */
async function away(page, proxy, gateway, meanwhile) {
  proxy.cut();
  await page.waitForFunction(() => !["open", "authenticated"].includes(socket.state));
  await meanwhile();
  proxy.replica = gateway;
  await page.waitForFunction(() => told.some(([, name]) => /Recovered$/.test(name)));
}

test("a page whose connection is lost misses nothing, and hears nothing twice", async (t) => {
  const { gateway, proxy, page, url } = await start(t);
  await follow(page, url, [["1"]], {});
  await assertTold(page, gateway, "1", []);
  for (let round = 0; round < 3; round++) {
    await away(page, proxy, gateway, () => push(gateway, "1", 1, 2, 3));
    await assertTold(page, gateway, "1", [...missed(1, 2, 3), RECOVERED]);
  }
});

test("wherever its connection is lost, and again, a page hears each event once and in order", async (t) => {
  const { gateway, proxy, page, url } = await start(t);
  await follow(page, url, [["1"], ["2"]], { reconnect: { fixed: 10 } });
  const pushed = [];
  const pushNext = async () => {
    const key = pushed.length % 3 ? "1" : "2";
    pushed.push([key, pushed.length]);
    await push(gateway, key, [pushed.length - 1, FILLER]);
  };
  for (let round = 0; round < ROUNDS; round++) {
    proxy.cut();
    for (let n = 0; n < MISSED; n++) await pushNext();
    // In the handshake, while it says who it is, subscribes, is told what it missed, or is live.
    proxy.parts = round % STAGES;
    const before = page.sockets.length;
    proxy.replica = gateway;
    // What is pushed is what the connection dies of, where it has not yet.
    while (page.sockets.length < before + 2) await pushNext();
  }
  proxy.parts = Infinity;
  for (const key of ["1", "2"]) await push(gateway, key, ["end"]);
  await page.waitForFunction(() => told.filter(([, payload]) => payload[0] === "end").length === 2);
  const told = await page.evaluate(() => told.filter(([, name]) => name !== "Recovered").map(([key, said]) => [key, said[0]]));
  for (const key of ["1", "2"]) {
    const ofKey = ([one]) => one === key;
    assert.deepEqual(told.filter(ofKey), [...pushed.filter(ofKey), [key, "end"]]);
  }
});

test("a gateway that has lost its log says so", async (t) => {
  const { gateway, proxy, page, url } = await start(t);
  await follow(page, url, [["1"]], {});
  const another = await Gateway.serve(t, await Application.start(t));
  await away(page, proxy, another, () => {});
  await assertTold(page, another, "1", [["1", "NotRecovered", "unknown"], ["1", "Gap", null]]);
  await away(page, proxy, another, () => push(another, "1", 1));
  await assertTold(page, another, "1", [...missed(1), RECOVERED]);
});

test("a page that slept wakes up to what it missed", async (t) => {
  const { gateway, proxy, page, url } = await start(t);
  await follow(page, url, [["1"]], {});
  await assertTold(page, gateway, "1", []);
  const wake = await sleep(t);
  proxy.cut();
  await push(gateway, "1", 1, 2);
  proxy.replica = gateway;
  wake();
  await page.waitForFunction(() => told.some(([, name]) => name === "Recovered"));
  await assertTold(page, gateway, "1", [...missed(1, 2), RECOVERED]);
});

test("a page that is loaded again goes on where it was, with the keys that it had", async (t) => {
  const { gateway, page, url } = await start(t);
  await follow(page, url, [["1"], ["2"]]);
  await assertTold(page, gateway, "1", []);
  const here = page.url();
  await page.goto("about:blank");
  await push(gateway, "1", 1);
  for (const key of ["2", "3"]) await push(gateway, key, "missed");
  await page.goto(here);
  await follow(page, url, [["1"], ["3"]]);
  await page.waitForFunction(() => told.some(([, name]) => name === "Recovered"));
  await assertTold(page, gateway, "1", [...missed(1), RECOVERED]);
  // Loaded again at once, it has missed nothing, but of the key that it did not have last time.
  await page.reload();
  await follow(page, url, [["1"], ["2"]]);
  await page.waitForFunction(() => told.filter(([, name]) => name === "Recovered").length === 2);
  const told = await page.evaluate(() => told.splice(0));
  assert.deepEqual(told.toSorted(), [RECOVERED, ["2", "Recovered", null], ["2", "missed"]].toSorted());
});

test("tabs know nothing of each other, but a duplicate goes on from where its original was left", async (t) => {
  const { gateway, page, url } = await start(t);
  await follow(page, url, [["1"]]);
  await page.reload();
  await push(gateway, "1", 1);
  const [duplicate] = await Promise.all([page.waitForEvent("popup"), page.evaluate(() => void open(location.href))]);
  const other = await page.context().newPage();
  await other.goto(page.url());
  for (const tab of [page, duplicate, other]) await tab.waitForFunction(() => globalThis.Myxi);
  for (const tab of [page, duplicate]) {
    await follow(tab, url, [["1"]]);
    await tab.waitForFunction(() => told.some(([, name]) => name === "Recovered"));
    assert.deepEqual(await tab.evaluate(() => told.splice(0)), [...missed(1), RECOVERED]);
  }
  await follow(other, url, [["1"]]);
  await assertTold(other, gateway, "1", []);
});

test("a page that may not keep anything is new each time", async (t) => {
  const denied = () => Object.defineProperty(globalThis, "sessionStorage", { get() { throw new DOMException("no", "SecurityError"); } });
  const { gateway, page, url } = await start(t, { prepare: (page) => page.addInitScript(denied) });
  await follow(page, url, [["1"]]);
  await assertTold(page, gateway, "1", []);
  await page.reload();
  await push(gateway, "1", 1);
  await follow(page, url, [["1"]]);
  await assertTold(page, gateway, "1", []);
  assert.deepEqual(page.complaints, []);
});

test("the latest events come first", async (t) => {
  const { gateway, page, url } = await start(t);
  await push(gateway, "1", 1, 2, 3);
  await push(gateway, "2", "another");
  await follow(page, url, [["1", { last: 2 }]], {});
  await page.waitForFunction(() => told.some(([, name]) => name === "Recovered"));
  await assertTold(page, gateway, "1", [...missed(2, 3), RECOVERED]);
});

