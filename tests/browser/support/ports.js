// Ports that a server leaves and takes again. Those of port 0 will not do: while nobody
// listens, the system may give them to somebody who connects, even to whoever waits for
// the server to come back.

import { createServer } from "node:net";
import { within } from "./within.js";

/** Below those that connections are given (from 32768 on Linux). */
const [FIRST, LAST] = [20_000, 32_000];
const TRIES = 20;

export async function freePort() {
  for (let n = 0; n < TRIES; n++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (await within(isFree(port), "a look at a port")) return port;
  }
  throw new Error("no free port");
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
