// A page that uses the library, as the tests need it.

import { TOKEN } from "./application.js";
import { openPage, serveSite } from "./browser.js";

/**
 * Runs in the page before everything else. What the browser itself sees of its sockets, and
 * `listen(names)`: keeps as `heard` what each of these handlers of `socket` is called with.
 */
function prepareTests() {
  globalThis.heard = [];
  globalThis.listen = (names) => {
    for (const name of names) {
      socket.on(name, (...given) => heard.push([name, ...given.map((one) => one ?? null)]));
    }
  };
  globalThis.closes = [];
  globalThis.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      this.addEventListener("close", ({ code }) => closes.push(code));
      this.addEventListener("message", ({ data }) => {
        if (JSON.parse(data).event === "Subscribed") globalThis.subscribedAt = Date.now();
      });
    }
  };
}

/**
 * A page that has loaded the library from this address, with nothing else in it. Of its
 * connections it keeps the codes of their `closes`, and when it was last `subscribedAt`.
 */
export async function openLibrary(t, address, { head = "", prepare = () => {} } = {}) {
  const html = `<!doctype html><link rel="icon" href="data:,"><title>test</title>${head}<script src="http://${address}/myxi.js"></script>`;
  const port = await serveSite(t, { "/": html });
  const page = await openPage(t);
  await page.addInitScript(prepareTests);
  await prepare(page);
  await page.goto(`http://127.0.0.1:${port}/`);
  return page;
}

/**
 * Makes the page's `socket`, and waits until the application knows who it is. Counts how
 * often the page hears so.
 */
export async function connect(page, url, options) {
  await page.evaluate(
    ([url, options, session_token]) => {
      globalThis.socket = new Myxi.Connection(url, options);
      socket.authentication(() => {
        socket.on("Authenticated", () => {
          globalThis.authentications = (globalThis.authentications ?? 0) + 1;
          socket.isAuthenticated();
        });
        socket.sendAction("Authenticate", { session_token });
      });
      return new Promise((resolve) => socket.once("SocketAuthenticated", () => resolve()));
    },
    [url, options, TOKEN],
  );
}

/** What the handler of this name was called with first, once it was. */
export async function heard(page, name) {
  const found = await page.waitForFunction((name) => heard.find(([one]) => one === name), name);
  return found.evaluate((call) => JSON.parse(JSON.stringify(call.slice(1))));
}

export async function stateIs(page, state) {
  await page.waitForFunction((state) => socket.state === state, state);
}
