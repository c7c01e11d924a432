// What the console says to whoever writes the page: of errors that nothing of theirs hears,
// each cause once. And nothing where something does.

import assert from "node:assert/strict";
import { test } from "node:test";
import { settled } from "./support/clock.js";
import { complaints, connect, connectOpen } from "./support/gateway.js";

/** Whose unhandled rejections fail the test. */
process.on("unhandledRejection", (error) => assert.fail(`nobody handled ${error}`));

/** A denied subscription that was used so; answers what the console said. */
async function denied(t, use) {
  const warned = complaints(t, "warn");
  const { clock, socket, gateway } = await connectOpen(t);
  const subscription = socket.subscribe("widgets", 13);
  use(subscription, socket);
  await settled();
  await gateway.refuses("SubscriptionDenied");
  await clock.advance(1);
  return warned.texts;
}

for (const error of ["SubscriptionDenied", "TooManySubscriptions", "InternalError"]) {
  test(`${error} that nobody handles names the subscription, once for an exchange`, async (t) => {
    const warned = complaints(t, "warn");
    const { clock, socket, gateway } = await connectOpen(t);
    for (const [exchange, key] of [["widgets", 13], ["widgets", 14], ["gadgets", 13]]) {
      socket.subscribe(exchange, key);
      await settled();
      await gateway.refuses(error);
    }
    await clock.advance(1);
    assert.equal(warned.count, 2);
    assert.match(warned.texts[0], new RegExp(`widgets 13 has ended.*${error}`));
    assert.match(warned.texts[1], new RegExp(`gadgets 13 has ended.*${error}`));
  });
}

test("an unknown exchange that nobody handles", async (t) => {
  const warned = complaints(t, "warn");
  const { clock, socket, gateway } = await connectOpen(t);
  socket.subscribe("widgetz", 1);
  socket.subscribe("widgetz", 2);
  await settled();
  const { tag } = gateway.takes("Subscribe");
  await gateway.say({ event: "Error", tag, payload: { error: "InvalidExchangeName", retryable: false, exchange: "widgetz" } });
  await clock.advance(1);
  assert.equal(warned.count, 1);
  assert.match(warned.texts[0], /widgetz 1 .*InvalidExchangeName/);
});

const HANDLED = {
  "by who awaits ready": (one) => void one.ready.catch(() => {}),
  "by who awaits ready a little later": (one) => void settled().then(() => one.ready.catch(() => {})),
  "by who iterates": (one) => void one[Symbol.asyncIterator]().next().catch(() => {}),
  "by its Error handler": (one) => void one.on("Error", () => {}),
  "by its Error handler, once": (one) => void one.once("Error", () => {}),
  "by the connection's Error handler": (_, socket) => void socket.on("Error", () => {}),
  "by who has its connection's Error handler for a while": (_, socket) => void socket.once("Error", () => {}),
};
for (const [how, use] of Object.entries(HANDLED)) {
  test(`a denial that is handled ${how} is nobody else's`, async (t) => assert.deepEqual(await denied(t, use), []));
}

test("a handler of something else, and one of every message, handle no denial", async (t) => {
  const texts = await denied(t, (one, socket) => {
    one.on("Changed", () => {}).on("Gap", () => {});
    socket.addMessageHandler(() => {}).on("state", () => {});
  });
  assert.equal(texts.length, 1);
});

test("whoever awaited ready heard that it stands, and nothing of its end", async (t) => {
  const warned = complaints(t, "warn");
  const { clock, socket, gateway } = await connectOpen(t);
  const subscription = socket.subscribe("widgets", 1);
  await settled();
  await gateway.allows();
  await subscription.ready;
  await gateway.say({ event: "Unsubscribed", payload: { exchange: "widgets", routing_key: 1, auto: true } });
  await clock.advance(1);
  assert.equal(warned.count, 1);
  assert.match(warned.texts[0], /widgets 1 has ended.*Unsubscribed/);
});

const LISTENS = {
  "that it listens for": (one) => one.on("Unsubscribed", () => {}),
  "that the connection listens for": (_, socket) => socket.on("Unsubscribed", () => {}),
  "that somebody iterates over": (one) => one.ready.then(() => one[Symbol.asyncIterator]().next().catch(() => {})),
};
for (const [how, use] of Object.entries(LISTENS)) {
  test(`the end of a subscription ${how} is handled`, async (t) => {
    const warned = complaints(t, "warn");
    const { clock, socket, gateway } = await connectOpen(t);
    const subscription = socket.subscribe("widgets", 1);
    use(subscription, socket);
    await settled();
    await gateway.allows();
    await gateway.say({ event: "Unsubscribed", payload: { exchange: "widgets", routing_key: 1, auto: true } });
    await clock.advance(1);
    assert.equal(warned.count, 0);
  });
}

test("a denial after a reconnection is a new error", async (t) => {
  const warned = complaints(t, "warn");
  const { clock, sockets, socket, gateway } = await connectOpen(t);
  const subscription = socket.subscribe("widgets", 1);
  const ready = subscription.ready;
  await settled();
  await gateway.allows();
  await ready;
  await gateway.end();
  await clock.advance(500);
  await sockets[1].open();
  await sockets[1].refuses("SubscriptionDenied");
  await clock.advance(1);
  assert.equal(warned.count, 1);
});

test("a connection that is closed for good is one warning for all its subscriptions, if any", async (t) => {
  const warned = complaints(t, "warn");
  const { clock, socket, gateway } = await connectOpen(t);
  socket.subscribe("widgets", 1);
  socket.subscribe("widgets", 2);
  socket.off("state");
  await gateway.end(4500, "banned");
  await clock.advance(1);
  assert.equal(warned.count, 1);
  assert.match(warned.texts[0], /widgets 1 has ended.*ConnectionLost/);
});

test("a connection whose end is listened for is not spoken of", async (t) => {
  const warned = complaints(t, "warn");
  for (const event of ["state", "SocketDisconnected", "SocketClosed"]) {
    const { clock, socket, gateway } = await connectOpen(t);
    socket.off("state").on(event, () => {});
    socket.subscribe("widgets", 1);
    await gateway.end(4500);
    await clock.advance(1);
  }
  assert.equal(warned.count, 0);
});

test("subscribed to on a closed connection: an error like others", async (t) => {
  const warned = complaints(t, "warn");
  const { clock, socket } = await connectOpen(t);
  socket.off("state").disconnect();
  socket.subscribe("widgets", 1).ready.catch(() => {});
  await clock.advance(1);
  assert.equal(warned.count, 0);
  socket.subscribe("widgets", 1);
  await clock.advance(1);
  assert.match(warned.texts[0], /ConnectionLost/);
});

test("an error of sendAction that nobody handles, once for each code", async (t) => {
  const warned = complaints(t, "warn");
  const { socket, gateway } = await connectOpen(t);
  const payload = { error: "InvalidAction", retryable: false };
  await gateway.say({ event: "Error", payload });
  await gateway.say({ event: "Error", tag: 7, payload });
  assert.equal(warned.count, 1);
  assert.deepEqual(warned.first()[1], payload);
  await gateway.say({ event: "Error", payload: { ...payload, error: "OutOfStock" } });
  assert.equal(warned.count, 2);
  const heard = [];
  socket.on("Error", ({ error }, tag) => heard.push([error, tag]));
  await gateway.say({ event: "Error", tag: 5, payload: { ...payload, error: "Another" } });
  assert.deepEqual(heard, [["Another", 5]]);
  assert.equal(warned.count, 2);
});

test("an error of action() is its promise's to tell", async (t) => {
  const warned = complaints(t, "warn");
  const { socket, gateway } = await connectOpen(t);
  const reply = assert.rejects(socket.action("Dance"), { code: "InvalidAction" });
  await gateway.say({ event: "Error", tag: gateway.takes("Dance").tag, payload: { error: "InvalidAction" } });
  await reply;
  assert.equal(warned.count, 0);
});

test("however many causes there are, the console is not filled", async (t) => {
  const warned = complaints(t, "warn");
  const { gateway } = await connectOpen(t);
  for (let n = 0; n < 1_000; n++) await gateway.say({ event: "Error", payload: { error: `Code${n}` } });
  assert.equal(warned.count, 21);
  assert.match(warned.texts.at(-1), /left out/);
});

test("what has waited 5 s for isAuthenticated() is told of, once", async (t) => {
  const warned = complaints(t, "warn");
  const { clock, sockets, socket } = connect(t);
  // The mistake: the reply is not listened for.
  socket.authentication(() => socket.sendAction("Authenticate"));
  socket.subscribe("widgets", 1);
  socket.subscribe("widgets", 2);
  socket.sendAction("SayHello");
  await sockets[0].open();
  await clock.advance(4_999);
  assert.equal(warned.count, 0);
  await clock.advance(1);
  assert.match(warned.texts[0], /subscriptions \(2\) and actions \(1\) have waited 5 s for isAuthenticated\(\)/);
  socket.subscribe("widgets", 3);
  await clock.advance(20_000);
  await sockets[0].end();
  await clock.advance(500);
  await sockets[1].open();
  await clock.advance(20_000);
  assert.equal(warned.count, 1);
});

test("also what is asked for long after the connection was open", async (t) => {
  const warned = complaints(t, "warn");
  const { clock, socket } = await connectOpen(t);
  socket.authentication(() => {});
  await clock.advance(10_000);
  assert.equal(warned.count, 0);
  socket.subscribe("widgets", 1);
  await clock.advance(4_999);
  assert.equal(warned.count, 0);
  await clock.advance(1);
  assert.equal(warned.count, 1);
});

test("nothing is told of where nothing waits, or not for so long, or not for that", async (t) => {
  const warned = complaints(t, "warn");
  const nothing = await connectOpen(t);
  nothing.socket.authentication(() => {});
  await nothing.clock.advance(10_000);

  const soon = await connectOpen(t);
  soon.socket.authentication(() => {});
  soon.socket.subscribe("widgets", 1);
  await soon.clock.advance(4_999);
  soon.socket.isAuthenticated();
  await soon.clock.advance(10_000);

  const lost = await connectOpen(t);
  lost.socket.authentication(() => {});
  lost.socket.subscribe("widgets", 1);
  await lost.gateway.end(4500);
  assert.equal(lost.clock.pending, 1, "only the warning of its end");

  const away = connect(t);
  away.socket.authentication(() => {});
  away.socket.subscribe("widgets", 1);
  await away.clock.advance(10_000);
  assert.deepEqual(warned.texts.filter((text) => text.includes("isAuthenticated")), []);
});
