// Clients without a browser, as plain as can be: Node's own WebSocket, and one that does not
// read.

import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { Seen } from "./within.js";

/** Its `messages` are what it hears; `send(action, payload)`; `closed` is how it ends. */
export async function connectClient(t, gateway) {
  const socket = new WebSocket(gateway.websocket);
  const messages = new Seen();
  socket.onmessage = ({ data }) => messages.add(JSON.parse(data));
  t.after(() => socket.close());
  const welcome = await messages.next(({ event }) => event === "Welcome", "Welcome");
  const send = (action, payload) => socket.send(JSON.stringify({ action, tag: 1, payload }));
  const closed = new Promise((resolve) => (socket.onclose = ({ code, reason }) => resolve({ code, reason })));
  return { id: welcome.payload.id, messages, send, close: () => socket.close(), closed };
}

/** Subscribes, hears that it is so, and never reads again. `after`: where it was, if it comes back. */
export async function connectSlowClient(t, gateway, exchange, routing_key, after) {
  const [host, port] = gateway.clients.split(":");
  const socket = connect(Number(port), host);
  // It is cut off in the end.
  socket.on("error", () => {});
  t.after(() => socket.destroy());
  const key = randomBytes(16).toString("base64");
  socket.write(
    `GET / HTTP/1.1\r\nHost: ${gateway.clients}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
  );
  const heard = new Seen();
  socket.on("data", (data) => heard.add(data.toString()));
  await heard.next((text) => text.includes("Welcome"), "Welcome");
  socket.write(frame(JSON.stringify({ action: "Subscribe", payload: { exchange, routing_key, after } })));
  await heard.next((text) => text.includes("Subscribed"), "Subscribed");
  socket.pause();
}

/** A short text, masked with nothing but zeros. */
function frame(text) {
  const payload = Buffer.from(text);
  return Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}
