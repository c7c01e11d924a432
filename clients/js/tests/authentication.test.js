// Authentication that could not be decided: the page says again who it is, ever later.

import assert from "node:assert/strict";
import { test } from "node:test";
import { settled } from "./support/clock.js";
import { complaints, connect, connectOpen } from "./support/gateway.js";

const AWAY = { error: "ApplicationUnavailable", retryable: true };
const LOST = { error: "ApplicationUnavailable", retryable: false, outcome: "unknown" };

/** The ways to write it; each says who it is with the action `Authenticate`. */
const WAYS = {
  "sendAction and a handler": (socket) => () => {
    socket.on("Authenticated", () => socket.isAuthenticated());
    socket.sendAction("Authenticate");
  },
  "an awaited action": (socket) => async () => {
    await socket.action("Authenticate");
    socket.isAuthenticated();
  },
  "an action whose error the page shows": (socket) => async () => {
    try {
      await socket.action("Authenticate");
      socket.isAuthenticated();
    } catch {}
  },
  "an action that is not returned": (socket) => () => {
    socket.action("Authenticate").then(() => socket.isAuthenticated(), () => {});
  },
  "sendAction and a promise": (socket) => async () => {
    const authenticated = new Promise((resolve) => socket.once("Authenticated", resolve));
    socket.sendAction("Authenticate");
    await authenticated;
    socket.isAuthenticated();
  },
};

/** Answers the `Authenticate` that waits, as it was asked. */
async function answer(gateway, event, payload) {
  await gateway.say({ event, tag: gateway.takes("Authenticate").tag, payload });
  await settled();
}

/** How long it takes until it is asked again. */
async function asked(clock, gateway) {
  const since = clock.now;
  while (!gateway.sent.some(({ action }) => action === "Authenticate")) {
    await clock.advance(500);
    // So that the connection is not taken for dead meanwhile.
    gateway.sent = gateway.sent.filter(({ action }) => action !== "Ping");
    await gateway.say({ event: "Alive" });
    assert.ok(clock.now - since <= 60_000, "it is asked no more");
  }
  return clock.now - since;
}

for (const [way, callback] of Object.entries(WAYS)) {
  for (const [what, payload] of [["nobody was asked", AWAY], ["nobody knows whether it happened", LOST]]) {
    test(`by ${way}, where ${what}: tried again, ever later`, async (t) => {
      complaints(t, "warn");
      const reported = complaints(t, "error");
      const { clock, sockets, socket } = connect(t);
      socket.authentication(callback(socket));
      const { ready } = socket.subscribe("widgets", 1);
      await sockets[0].open();
      const waits = [];
      for (let tries = 0; tries < 7; tries++) {
        await answer(sockets[0], "Error", payload);
        assert.equal(socket.state, "open");
        waits.push(await asked(clock, sockets[0]));
      }
      assert.deepEqual(waits, [1_000, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000]);
      await answer(sockets[0], "Authenticated", {});
      assert.equal(socket.state, "authenticated");
      await sockets[0].allows();
      assert.equal(await ready, true);
      assert.equal(reported.count, 0);
      assert.equal(sockets.length, 1, "all on one connection");
    });
  }
}

for (const [way, callback] of Object.entries(WAYS)) {
  test(`by ${way}, refused: not tried again`, async (t) => {
    complaints(t, "warn");
    complaints(t, "error");
    const { clock, sockets, socket } = connect(t);
    socket.authentication(callback(socket));
    await sockets[0].open();
    await answer(sockets[0], "Error", { error: "PermissionDenied", retryable: false });
    await clock.advance(20_000);
    assert.deepEqual(sockets[0].sent, []);
  });
}

test("it is told of once, and not where Error is listened for", async (t) => {
  const warned = complaints(t, "warn");
  for (const listens of [false, true]) {
    const { clock, socket, gateway } = await connectOpen(t);
    if (listens) socket.on("Error", () => {});
    socket.authentication(WAYS["sendAction and a handler"](socket));
    for (let tries = 0; tries < 3; tries++) {
      await answer(gateway, "Error", AWAY);
      await asked(clock, gateway);
    }
  }
  assert.equal(warned.count, 1);
  assert.match(warned.texts[0], /authentication failed, and is tried again/);
});

test("while it is tried again, nobody is told to call isAuthenticated()", async (t) => {
  const warned = complaints(t, "warn");
  const { clock, socket, gateway } = await connectOpen(t);
  socket.authentication(WAYS["an awaited action"](socket));
  socket.subscribe("widgets", 1);
  for (let tries = 0; tries < 5; tries++) {
    await answer(gateway, "Error", AWAY);
    socket.subscribe("widgets", tries);
    await asked(clock, gateway);
  }
  assert.ok(warned.texts.every((text) => !text.includes("isAuthenticated")), warned.texts.join("\n"));
});

test("the gateway's wait is kept where it is the longer one", async (t) => {
  complaints(t, "warn");
  const { clock, socket, gateway } = await connectOpen(t);
  socket.authentication(WAYS["an awaited action"](socket));
  await answer(gateway, "Error", { error: "Busy", retryable: true, retry_after_ms: 7_000 });
  assert.equal(await asked(clock, gateway), 7_000);
});

test("what the callback itself could not do, fetch a token, is reported and tried again", async (t) => {
  const reported = complaints(t, "error");
  const { clock, socket, gateway } = await connectOpen(t);
  const tokens = [new TypeError("Failed to fetch"), "token"];
  socket.authentication(async () => {
    const token = tokens.shift();
    if (token instanceof Error) throw token;
    socket.sendAction("Authenticate", { token });
  });
  await settled();
  assert.equal(reported.first()[0].message, "Failed to fetch");
  assert.equal(await asked(clock, gateway), 1_000);
});

test("a lost connection is no error of the callback that waits: it runs on the next one", async (t) => {
  const reported = complaints(t, "error");
  const { clock, sockets, socket } = connect(t);
  socket.authentication(WAYS["an awaited action"](socket));
  await sockets[0].open();
  await sockets[0].end();
  await clock.advance(500);
  await sockets[1].open();
  await answer(sockets[1], "Authenticated", {});
  assert.equal(socket.state, "authenticated");
  socket.disconnect();
  assert.equal(reported.count, 0);
});

test("a callback that still waits for somebody is not run beside itself for another's action", async (t) => {
  const { clock, socket, gateway } = await connectOpen(t);
  let runs = 0;
  socket.authentication(() => (runs++, new Promise(() => {})));
  const reply = assert.rejects(socket.action("Weather"), { code: "Busy" });
  await gateway.say({ event: "Error", tag: gateway.takes("Weather").tag, payload: { error: "Busy", retryable: true } });
  await reply;
  await clock.advance(60_000);
  assert.equal(runs, 1);
});

test("a try that waits ends with the connection, and with an authentication that came otherwise", async (t) => {
  complaints(t, "warn");
  const { clock, sockets, socket } = connect(t);
  socket.authentication(WAYS["sendAction and a handler"](socket));
  await sockets[0].open();
  await answer(sockets[0], "Error", AWAY);
  await sockets[0].end();
  await clock.advance(500);
  await sockets[1].open();
  await answer(sockets[1], "Error", AWAY);
  socket.isAuthenticated();
  await clock.advance(20_000);
  assert.deepEqual(sockets[1].sent, []);
  await sockets[1].say({ event: "Error", payload: AWAY });
  await clock.advance(20_000);
  assert.deepEqual(sockets[1].sent, [], "who is known is not asked again");
});
