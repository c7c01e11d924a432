// A real Chromium, one for each file of tests, and in it a context for each test.

import { createServer } from "node:http";
import { once } from "node:events";
import { after } from "node:test";
import { chromium } from "playwright-core";
import { DEADLINE, Seen } from "./within.js";

/** Nothing that reaches for the network by itself, asks, needs a display or privileges. */
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

let browser;
after(async () => (await browser)?.close());

/** Each launch has a fresh profile, which is deleted with it. */
function launched() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return (browser ??= chromium.launch({ executablePath, args: FLAGS, chromiumSandbox: false, timeout: 2 * DEADLINE }));
}

/**
 * A page of a context of its own, that records what happens in it: `sockets`, each with its
 * frames as they went over the wire; `requested`, every URL; `complaints`, what its own code
 * let fall; `warnings` of the console. `options` are those of playwright's contexts.
 */
export async function openPage(t, options = {}) {
  const context = await (await launched()).newContext(options);
  t.after(() => context.close());
  context.setDefaultTimeout(DEADLINE);
  const page = await context.newPage();
  const [sockets, frames] = [[], new Seen()];
  const [requested, complaints, warnings] = [[], [], []];
  page.on("request", (request) => requested.push(request.url()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("console", (message) => message.type() === "warning" && warnings.push(message.text()));
  page.on("websocket", (socket) => {
    requested.push(socket.url());
    const number = sockets.length;
    const mine = { url: socket.url(), sent: [], received: [] };
    sockets.push(mine);
    const record = (way) => ({ payload }) => {
      const frame = JSON.parse(payload);
      mine[way].push(frame);
      frames.add({ socket: number, way, ...frame });
    };
    socket.on("framesent", record("sent")).on("framereceived", record("received"));
  });
  return Object.assign(page, { sockets, frames, requested, complaints, warnings });
}

/** What runs the pages stands still, as when the machine sleeps; answers how to wake it. */
export async function sleep(t) {
  const devtools = await (await launched()).newBrowserCDPSession();
  const { processInfo } = await devtools.send("SystemInfo.getProcessInfo");
  const renderers = processInfo.filter(({ type }) => type === "renderer");
  for (const { id } of renderers) process.kill(id, "SIGSTOP");
  const wake = () => renderers.splice(0).forEach(({ id }) => process.kill(id, "SIGCONT"));
  t.after(wake);
  return wake;
}

/** A web server with these pages, `{ "/": html }`; of the same host name as the gateways. */
export async function serveSite(t, pages) {
  const server = createServer(({ url }, response) => {
    const found = Object.hasOwn(pages, url);
    response.writeHead(found ? 200 : 404, { "Content-Type": "text/html; charset=utf-8" });
    response.end(pages[url]);
  });
  t.after(() => server.closeAllConnections() ?? server.close());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server.address().port;
}
