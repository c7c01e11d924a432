// The README's way to load a state without a gap, as it stands there.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { settled } from "./support/clock.js";
import { connectOpen } from "./support/gateway.js";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const [, code] = readme.match(/```js\n(\/\/ state\.js\n[^]+?)```/);
const { follow } = await import(`data:text/javascript,${encodeURIComponent(code)}`);

/** What is loaded is the test's to answer; `shown` are the versions that the page has shown. */
async function start(t) {
  const connected = await connectOpen(t);
  const { gateway, socket } = connected;
  const [loads, shown] = [[], []];
  const load = (id) => new Promise((resolve) => loads.push((version) => resolve({ id, version }) ?? settled()));
  follow(socket, 7, load, ({ version, quantity }) => shown.push([version, quantity]));
  await settled();
  const { payload, ends } = await gateway.replays("p5");
  assert.equal(payload.last, 10);
  const change = (version, to = gateway) => to.push("widgets", "7", "WidgetChanged", { version, quantity: version }, `p${version}`);
  return { ...connected, loads, shown, change, ends };
}

test("a state that is older than the subscription is brought up to it", async (t) => {
  const { loads, shown, change, ends } = await start(t);
  for (const version of [3, 4, 5]) await change(version);
  await ends("p5");
  await change(6);
  assert.deepEqual(shown, []);
  await loads[0](4);
  assert.deepEqual(shown, [[4, undefined], [5, 5], [6, 6]]);
  await change(7);
  assert.deepEqual(shown.slice(3), [[7, 7]]);
});

test("what was missed comes by itself, and only a Gap loads anew", async (t) => {
  const { clock, sockets, gateway, loads, shown, change, ends } = await start(t);
  await ends("p5");
  await loads[0](5);
  await gateway.end();
  await clock.advance(500);
  const replay = await sockets[1].open().then(() => sockets[1].replays("p6"));
  await change(6, sockets[1]);
  await replay.ends("p6");
  assert.deepEqual([loads.length, shown], [1, [[5, undefined], [6, 6]]]);
  const gap = { event: "Gap", payload: { exchange: "widgets", routing_key: "7" } };
  // The second load counts, and what has come since the first began is not forgotten.
  await sockets[1].say(gap);
  await change(8, sockets[1]);
  await sockets[1].say(gap);
  await loads[2](7);
  await loads[1](6);
  assert.deepEqual(shown.slice(2), [[7, undefined], [8, 8]]);
});
