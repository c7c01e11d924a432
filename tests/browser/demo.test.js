// The demo's page: what somebody sees who tries it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { openPage } from "./support/browser.js";
import { Gateway } from "./support/gateway.js";
import { freePort } from "./support/ports.js";

async function open(t, { flags, context } = {}) {
  const demo = await Gateway.demo(t, flags);
  const page = await openPage(t, context);
  await page.goto(demo.page);
  await stateIs(page, "authenticated");
  return { demo, page };
}

const stateIs = (page, state) =>
  page.waitForFunction((state) => document.querySelector("#state").textContent === state, state);

/** Of the list of frames, the newest first. */
const framed = (page, kind, ...words) =>
  page.waitForFunction(
    ([kind, words]) =>
      [...document.querySelectorAll(`.frames .${kind}`)].find(({ textContent }) => words.every((word) => textContent.includes(word))),
    [kind, words],
  );

/** Until the page shows another quantity than now, of any widget. */
async function quantityChanges(page) {
  const shown = () => [...document.querySelectorAll(".widget b")].map(({ textContent }) => textContent);
  const now = await page.evaluate(shown);
  await page.waitForFunction(
    (before) => [...document.querySelectorAll(".widget b")].some(({ textContent }, n) => /^\d+$/.test(textContent) && textContent !== before[n]),
    now,
  );
}

async function drop(page) {
  await page.getByRole("button", { name: "Drop the connection" }).click();
  await framed(page, "note", "closed with 4000");
  await stateIs(page, "waiting");
}

async function comeBack(page) {
  await page.getByRole("button", { name: "Come back" }).click();
  await stateIs(page, "authenticated");
}

async function send(page, action, payload) {
  await page.locator("#frames [name=action]").fill(action);
  await page.locator("#frames [name=payload]").fill(payload);
  await page.locator("#frames button").click();
}

test("three widgets change, one is denied, and nobody else is asked", async (t) => {
  const { demo, page } = await open(t);
  await page.locator(".widget.denied").getByText("SubscriptionDenied").waitFor();
  const names = await page.locator(".widget > div:first-child").allTextContents();
  assert.deepEqual(names, ["Widget 1", "Widget 2", "Widget 3", "Widget 13"]);
  await quantityChanges(page);
  await quantityChanges(page);
  await framed(page, "pushed", "WidgetQtyChanged", `"mq":`);

  const own = [demo.page, `http://${demo.clients}/myxi.js`, demo.websocket];
  assert.deepEqual(page.requested.filter((url) => !url.startsWith("data:")), own);
  assert.deepEqual([page.warnings, page.complaints], [[], []]);
});

test("an action is answered, also from the keyboard", async (t) => {
  const { page } = await open(t);
  await page.locator("#hello input").fill("Eve");
  await page.keyboard.press("Enter");
  await page.locator("#hello output").getByText("Hello, Eve!").waitFor();
  await framed(page, "sent", "SayHello", "Eve");
  await framed(page, "received", "Hello, Eve!");
});

test("what is sent by hand is answered as the gateway and the application see fit", async (t) => {
  const { page } = await open(t);
  await send(page, "Nonsense", "{}");
  await framed(page, "bad", "InvalidAction");
  await send(page, "SayHello", "{}");
  await framed(page, "bad", "InvalidPayload");
  await send(page, "Authenticate", '{"session_token":"wrong"}');
  await framed(page, "bad", "InvalidToken", "demo-token");
  await send(page, "SayHello", "{");
  await framed(page, "note", "the payload is not JSON");
  assert.deepEqual(page.complaints, []);
});

test("pushed events can be left out of the frames", async (t) => {
  const { page } = await open(t);
  const pushed = page.locator(".frames .pushed").first();
  await pushed.waitFor();
  await page.getByLabel("pushed events").uncheck();
  await pushed.waitFor({ state: "hidden" });
  await page.getByLabel("pushed events").check();
  await pushed.waitFor();
});

test("a dropped connection comes back with everything", async (t) => {
  const { page } = await open(t);
  await drop(page);
  await comeBack(page);
  await page.locator("#history").getByText(/back after \d+ ms/).waitFor();
  // It tries as often as it likes meanwhile.
  const states = (await page.locator("#history .state").allTextContents()).join(" ");
  assert.match(states, /^open authenticated( waiting connecting)+ open authenticated$/);
  await framed(page, "note", "closed with 4000");
  await quantityChanges(page);
  assert.equal(await page.locator(".widget.denied").count(), 1);
  assert.deepEqual(page.complaints, []);
});

test("what was pushed while the connection was dropped comes in order, marked", async (t) => {
  const { demo, page } = await open(t);
  await page.locator(".widget.denied").waitFor();
  await quantityChanges(page);
  const missed = page.locator("#missed li");
  for (const quantities of [[1001, 1002, 1003], [2001, 2002, 2003]]) {
    await drop(page);
    assert.deepEqual(await missed.allTextContents(), []);
    // To two widgets in turn: they share one order.
    for (const quantity of quantities) await demo.push("widgets", `${1 + (quantity % 2)}`, "WidgetQtyChanged", { quantity });
    assert.equal(await page.locator("#connection output").textContent(), "You are away.");
    const { SCREENSHOTS } = process.env;
    if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/demo-away.png`, fullPage: true });
    await comeBack(page);
    await page.locator("#connection output").getByText(/^Recovered: \d+ events that came while you were away$/).waitFor();

    const said = await page.locator("#connection output").textContent();
    const all = await missed.allTextContents();
    assert.equal(said, `Recovered: ${all.length} events that came while you were away`);
    assert.equal(await missed.locator("mark").getByText("missed", { exact: true }).count(), all.length);
    // The application's own changes come between them.
    const ours = all.filter((text) => quantities.some((quantity) => text.endsWith(`: ${quantity}`)));
    assert.deepEqual(ours, quantities.map((quantity) => `missedWidget ${1 + (quantity % 2)}: ${quantity}`));
    // What comes from now on was not missed.
    await quantityChanges(page);
    assert.equal(await missed.count(), all.length);
    if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/demo-recovered.png`, fullPage: true });
  }
  assert.deepEqual([page.warnings, page.complaints], [[], []]);
});

test("a page that comes late shows each widget as it is, before it changes", async (t) => {
  const { demo, page } = await open(t);
  for (const id of ["1", "2", "3"]) await demo.push("widgets", id, "WidgetQtyChanged", { quantity: 1000 });
  await page.reload();
  const replayed = await page.frames.next(({ socket, event }) => socket === 1 && event === "Replayed", "the latest changes");
  assert.equal(replayed.payload.count, 3);
  await page.waitForFunction(() => [...document.querySelectorAll(".widget b")].every(({ textContent }) => /^\d+$/.test(textContent)));
  // They are no news of a time away.
  assert.equal(await page.locator("#missed li").count(), 0);
  assert.equal(await page.locator("#connection output").textContent(), "");
});

test("the page outlives the demo, and goes on with the next", async (t) => {
  const [listen, pageListen] = [await freePort(), await freePort()];
  const flags = [`--listen=127.0.0.1:${listen}`, `--page-listen=127.0.0.1:${pageListen}`];
  const { demo, page } = await open(t, { flags });
  assert.equal(await demo.end("SIGTERM"), 0);
  await stateIs(page, "waiting");
  await framed(page, "received", "Reconnect");
  await framed(page, "note", "closed with 1012");
  await Gateway.demo(t, flags);
  await stateIs(page, "authenticated");
  // This one has a log of its own.
  await page.locator("#connection output").getByText("NotRecovered: unknown").waitFor();
  await quantityChanges(page);
});

test("the code that is shown is the code that runs", async (t) => {
  const { demo, page } = await open(t);
  const [shown, run] = await page.evaluate(() => ["#code pre", "#example"].map((part) => document.querySelector(part).textContent.trim()));
  assert.equal(shown, run);
  assert.ok(shown.includes(`http://${demo.clients}/myxi.js`), shown);
  assert.equal(await page.getByRole("link", { name: "console" }).getAttribute("href"), `http://${demo.admin}/`);
});

for (const width of [400, 1280]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`at ${width} pixels, ${colorScheme}, everything has room and is reached by keyboard`, async (t) => {
      const { page } = await open(t, { context: { viewport: { width, height: 900 }, colorScheme } });
      await page.locator(".widget.denied").waitFor();
      await quantityChanges(page);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${overflow} pixels too wide`);

      const stops = await page.locator("a, button, input, [tabindex]").count();
      const reached = new Set();
      for (let n = 0; n < stops; n++) {
        await page.keyboard.press("Tab");
        const at = await page.evaluate(() => {
          const { outlineStyle } = getComputedStyle(document.activeElement);
          return { at: [...document.querySelectorAll("*")].indexOf(document.activeElement), seen: outlineStyle !== "none" };
        });
        assert.ok(at.seen, "the focus is not to be seen");
        reached.add(at.at);
      }
      assert.equal(reached.size, stops);
      const { SCREENSHOTS } = process.env;
      if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/demo-${width}-${colorScheme}.png`, fullPage: true });
    });
  }
}
