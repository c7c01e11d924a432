// The network or the page comes back: the connection is looked at now, not at the next timer.

import assert from "node:assert/strict";
import { test } from "node:test";
import { asBrowser, become } from "./support/browser.js";
import { connect } from "./support/gateway.js";

for (const name of ["online", "pageshow", "visibilitychange"]) {
  test(`a connection that waits is made at once on ${name}`, async (t) => {
    const { window, document } = asBrowser(t);
    const { clock, sockets } = connect(t);
    await sockets[0].end(1013);
    await clock.advance(100);
    become(document, "hidden");
    assert.equal(sockets.length, 1);
    if (name === "visibilitychange") become(document, "visible");
    else window.dispatchEvent(new Event(name));
    assert.equal(sockets.length, 2);
    // And the wait that it cut short is over.
    await sockets[1].open();
    await clock.advance(20_000);
    assert.equal(sockets.length, 2);
  });
}

test("an attempt of more than a second is made anew, one that has just begun is not", async (t) => {
  const { window } = asBrowser(t);
  const { clock, sockets, states } = connect(t, { connectTimeout: 5_000 });
  await clock.advance(1_000);
  window.dispatchEvent(new Event("online"));
  assert.equal(sockets.length, 1);
  await clock.advance(1);
  window.dispatchEvent(new Event("online"));
  window.dispatchEvent(new Event("pageshow"));
  assert.equal(sockets.length, 2);
  assert.equal(sockets[0].readyState, 2, "the old attempt is given up");
  // Its end is of no interest, and the new one has all of its time.
  await sockets[0].end();
  await clock.advance(4_999);
  assert.deepEqual([sockets.length, states], [2, []]);
  await sockets[1].open();
  assert.deepEqual(states, ["open"]);
});

test("a connection that seems open is asked at once whether it is", async (t) => {
  const { window } = asBrowser(t);
  const { clock, sockets, socket } = connect(t, { pongTimeout: 5_000 });
  await sockets[0].open();
  await clock.advance(500);
  window.dispatchEvent(new Event("online"));
  assert.deepEqual(sockets[0].sent, [], "something was heard just now");
  await clock.advance(1_000);
  window.dispatchEvent(new Event("online"));
  sockets[0].takes("Ping");
  // To ask again would only put off the end.
  await clock.advance(4_000);
  window.dispatchEvent(new Event("online"));
  assert.deepEqual(sockets[0].sent, []);
  await clock.advance(1_000);
  assert.equal(socket.state, "waiting");
});

test("a closed connection listens to nothing", async (t) => {
  const { window, listening } = asBrowser(t);
  const { sockets, socket } = connect(t);
  assert.equal(listening.count, 3);
  socket.disconnect();
  assert.equal(listening.count, 0);
  window.dispatchEvent(new Event("online"));
  assert.equal(sockets.length, 1);
});
