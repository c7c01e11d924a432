// The console in a browser, against the real gateway: what somebody sees who is on call.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Application, TOKEN } from "./support/application.js";
import { openPage } from "./support/browser.js";
import { connectClient, connectSlowClient } from "./support/client.js";
import { Gateway } from "./support/gateway.js";
import { DEADLINE, within } from "./support/within.js";

/** Some 16 MB: more than the gateway and the system keep for a client that does not read. */
const [LARGE, MANY] = ["x".repeat(200_000), 80];

/** From one stop to the next there are fewer. */
const TABS_MAX = 60;

async function open(t, { flags, context, path = "/", verdict = "All is well" } = {}) {
  const app = await Application.start(t);
  const gateway = await Gateway.serve(t, app, flags);
  const page = await openPage(t, context);
  page.admin = `http://${gateway.admin}`;
  await page.goto(page.admin + path);
  await verdictIs(page, verdict);
  return { app, gateway, page };
}

const verdictIs = (page, words) => page.locator("#verdict .words").getByText(words).waitFor();
/** Of a table that is looked at: those out of sight do not ask. */
async function row(page, table, ...texts) {
  await page.locator(`#${table} thead`).scrollIntoViewIfNeeded();
  return texts.reduce((rows, hasText) => rows.filter({ hasText }), page.locator(`#${table} tbody tr`));
}
const rowAppears = async (...place) => (await row(...place)).first().waitFor();
const rowGoes = async (...place) => (await row(...place)).waitFor({ state: "detached" });

/** Forwards from where the focus is, and it shows. */
async function tabTo(page, stop) {
  const isReached = (one) => one === document.activeElement && one.matches(":focus-visible");
  for (let n = 0; n < TABS_MAX; n++) {
    if (await page.locator(stop).first().evaluate(isReached)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`${stop} is not reached by keyboard`);
}

/** It asked nobody but its gateway, and nothing in it went wrong. */
function assertClean(page, gateway) {
  const own = [page.admin, `ws://${gateway.clients}`, "data:", "blob:"];
  assert.deepEqual(page.requested.filter((url) => !own.some((start) => url.startsWith(start))), []);
  assert.deepEqual(page.complaints, []);
}

/** Asked again and again, as clients do where it is no use to give up, it answers so. */
async function answers(client, wanted) {
  for (const end = Date.now() + DEADLINE; Date.now() < end; ) {
    const before = client.messages.all.length;
    client.send("SayHello", { name: "Adam" });
    const isNew = (message) => client.messages.all.indexOf(message) >= before;
    if (wanted(await client.messages.next(isNew, "an answer"))) return;
  }
  assert.fail("never the answer that was waited for");
}

test("a session appears, with who it is and what it wants, and goes", async (t) => {
  const { gateway, page } = await open(t);
  const client = await connectClient(t, gateway);
  await rowAppears(page, "sessions", client.id, "127.0.0.1");
  client.send("Authenticate", { session_token: TOKEN });
  await rowAppears(page, "sessions", client.id, `{"user":"adam"}`);
  client.send("Subscribe", { exchange: "widgets", routing_keys: [1, 2] });
  await rowAppears(page, "topics", "widgets", "2");
  await rowAppears(page, "actions", "Authenticate");

  const other = await connectClient(t, gateway);
  await rowAppears(page, "sessions", other.id);
  await page.locator("#sessions input[type=search]").fill("adam");
  await rowGoes(page, "sessions", other.id);
  assert.equal(await (await row(page, "sessions", client.id)).count(), 1);
  client.close();
  await rowGoes(page, "sessions", client.id);
  assertClean(page, gateway);
});

test("a session is closed, once it was confirmed", async (t) => {
  const { gateway, page } = await open(t);
  const [client, other] = [await connectClient(t, gateway), await connectClient(t, gateway)];
  client.send("Authenticate", { session_token: TOKEN });
  await rowAppears(page, "sessions", client.id, `{"user":"adam"}`);
  await rowAppears(page, "sessions", other.id);
  const button = page.getByRole("button", { name: `Close session ${client.id}` });
  const dialog = page.locator("#close");
  await button.click();
  for (const told of [client.id, `{"user":"adam"}`]) await dialog.locator(".who").getByText(told).waitFor();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await dialog.waitFor({ state: "hidden" });

  // By keyboard as well.
  await tabTo(page, `[aria-label="Close session ${client.id}"]`);
  await page.keyboard.press("Enter");
  await dialog.locator("[name=reason]").fill("enough");
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/console-close.png` });
  await page.keyboard.press("Enter");
  assert.deepEqual(await within(client.closed, "the end"), { code: 4500, reason: "enough" });
  await page.locator("#sessions .done").getByText(client.id).waitFor();
  await rowGoes(page, "sessions", client.id);
  assert.equal(await (await row(page, "sessions", other.id)).count(), 1);
  assertClean(page, gateway);

  // Of a session that went while its operator thought.
  await page.getByRole("button", { name: `Close session ${other.id}` }).click();
  other.close();
  await within(other.closed, "the end");
  await rowGoes(page, "sessions", other.id);
  await dialog.getByRole("button", { name: "Close the session" }).click();
  await dialog.locator(".error").getByText(other.id).waitFor();
});

test("an action that only fails is named, with why, and so is where the application is", async (t) => {
  const { app, gateway, page } = await open(t);
  const client = await connectClient(t, gateway);
  client.send("Authenticate", { session_token: "wrong" });
  client.send("SayHello", null);
  await rowAppears(page, "actions", "Authenticate", "PermissionDenied");
  await rowAppears(page, "actions", "SayHello", "InternalError: it answered UNKNOWN");
  await page.locator("#part-application .facts").getByText(`http://${app.address}`).waitFor();
  assertClean(page, gateway);
});

test("an event passes in the tail, and is found by its payload", async (t) => {
  const { gateway, page } = await open(t);
  const followed = page.waitForResponse((response) => response.url().includes("/api/events"));
  await page.locator("#events summary").click();
  await followed;
  await gateway.push("widgets", "1", "WidgetQtyChanged", { quantity: 7 });
  await gateway.push("gadgets", "2", "GadgetSold", { buyer: "<b>Eve</b>" });
  const events = page.locator("#events-list li");
  await events.filter({ hasText: "WidgetQtyChanged" }).filter({ hasText: `{"quantity":7}` }).waitFor();
  await events.filter({ hasText: "<b>Eve</b>" }).waitFor();
  await page.locator("#events-filter").fill("eve<");
  await events.filter({ hasText: "WidgetQtyChanged" }).waitFor({ state: "detached" });
  await events.filter({ hasText: "GadgetSold" }).waitFor();
  assertClean(page, gateway);
});

test("a client that does not read is seen to be cut off", async (t) => {
  const { app, gateway, page } = await open(t);
  app.allows = () => true;
  await connectSlowClient(t, gateway, "widgets", "1");
  await rowAppears(page, "sessions", "127.0.0.1");
  for (let n = 0; n < MANY; n++) await gateway.push("widgets", "1", "Large", LARGE);
  await rowAppears(page, "closes", "slow consumer", /1/);
  await page.locator("#part-clients[data-state=strained]").getByText("cut off").waitFor();
  assertClean(page, gateway);
});

test("who came back is seen by what became of it, beside what is kept for them", async (t) => {
  const { app, gateway, page } = await open(t);
  app.allows = () => true;
  const client = await connectClient(t, gateway);
  client.send("Subscribe", { exchange: "widgets", routing_key: 1 });
  const subscribed = await client.messages.next(({ event }) => event === "Subscribed", "Subscribed");
  const after = subscribed.payload.id;
  client.close();
  await gateway.push("widgets", "1", "WidgetQtyChanged", { quantity: 7 });

  const back = await connectClient(t, gateway);
  back.send("Subscribe", { exchange: "widgets", routing_key: 1, after });
  await back.messages.next(({ event }) => event === "Replayed", "Replayed");
  back.send("Subscribe", { exchange: "gadgets", routing_keys: [1, 2], after });
  await rowAppears(page, "resumes", "recovered", "after");
  await rowAppears(page, "resumes", "unknown", "after");
  await page.locator("#resumes .facts").getByText("0 under way · 1 event from memory, 0 from the log").waitFor();
  await rowAppears(page, "buffer", "widgets", "2");
  await page.locator("#buffer .facts").getByText("of 64 MiB").waitFor();

  for (let n = 0; n < MANY; n++) await gateway.push("widgets", "2", "Large", LARGE);
  await connectSlowClient(t, gateway, "widgets", "2", after);
  await rowAppears(page, "sessions", "↻");
  await page.locator("#resumes .facts").getByText("1 under way").waitFor();
  const { SCREENSHOTS } = process.env;
  if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/console-resumes.png`, fullPage: true });
  assertClean(page, gateway);
});

test("what is pushed in one panel is heard in the other", async (t) => {
  const { app, gateway, page } = await open(t);
  app.allows = () => true;
  const frames = page.locator("#client-frames li");
  assert.equal(await page.locator("#client-connect [name=url]").inputValue(), `ws://${gateway.clients}/`);
  await page.locator("#client-connect button.main").click();
  await page.locator("#client-state").getByText("connected", { exact: true }).waitFor();
  await frames.filter({ hasText: "Welcome" }).waitFor();
  await page.locator("#client-topic [name=key]").fill("1");
  await page.locator("#client-topic").getByRole("button", { name: "Subscribe", exact: true }).click();
  await frames.filter({ hasText: `"Subscribed"` }).waitFor();

  await page.locator("#push-form [name=routing_key]").fill("1");
  await page.locator("#push-form [name=event]").fill("WidgetQtyChanged");
  await page.locator("#push-form [name=payload]").fill(`{"quantity":12345678901234567890}`);
  await page.locator("#push-form").getByRole("button", { name: "Push" }).click();
  await page.locator("#push-result").getByText(/^Pushed at /).waitFor();
  await frames.filter({ hasText: `"quantity":12345678901234567890` }).waitFor();

  await page.locator("#client-action [name=action]").fill("SayHello");
  await page.locator("#client-action [name=payload]").fill(`{"name":"Adam"}`);
  await page.locator("#client-action").getByRole("button", { name: "Send" }).click();
  await frames.filter({ hasText: "Hello, Adam!" }).waitFor();

  await page.locator("#push-form [name=payload]").fill("{");
  await page.locator("#push-form").getByRole("button", { name: "Push" }).click();
  await page.locator("#push-result").getByText("the payload is not JSON").waitFor();
  await page.locator("#client-disconnect").click();
  await frames.filter({ hasText: "closed with 1000" }).waitFor();
  assertClean(page, gateway);
});

test("with a token the browser asks for it, and then for nothing more", async (t) => {
  const flags = ["--admin-token=open-sesame"];
  const context = { httpCredentials: { username: "anybody", password: "open-sesame" } };
  const { gateway, page } = await open(t, { flags, context });
  await page.locator("#push-form [name=event]").fill("Changed");
  await page.locator("#push-form").getByRole("button", { name: "Push" }).click();
  await page.locator("#push-result").getByText(/^Pushed at /).waitFor();
  assertClean(page, gateway);

  const refused = await fetch(page.admin);
  assert.equal(refused.status, 401);
  assert.match(refused.headers.get("www-authenticate"), /^Basic realm="myxi"/);
});

test("the part that is unwell is named: the application", async (t) => {
  const { app, gateway, page } = await open(t);
  const client = await connectClient(t, gateway);
  await answers(client, ({ event }) => event === "Hello");
  app.kill();
  await answers(client, ({ payload }) => payload.error === "ApplicationUnavailable");
  await verdictIs(page, "The application is unwell");
  await page.locator("#part-application[data-state=unwell]").waitFor();
  await page.locator("#part-bus[data-state=well]").waitFor();
  await rowAppears(page, "errors", "ApplicationUnavailable");
  assert.match(await page.title(), /^The application is unwell/);

  await app.restart();
  await answers(client, ({ event }) => event === "Hello");
  await page.locator("#part-application:not([data-state=unwell])").waitFor();
  assertClean(page, gateway);
});

test("the part that is unwell is named: the bus", async (t) => {
  const flags = ["--rabbitmq-url=amqp://127.0.0.1:1"];
  const { gateway, page } = await open(t, { flags, verdict: "The bus is unwell" });
  await page.locator("#part-bus[data-state=unwell]").waitFor();
  await page.locator("#part-application[data-state=well]").waitFor();
  assert.match(await page.title(), /^The bus is unwell/);
  assertClean(page, gateway);
});

test("all turns taken are a strain, and a trouble once somebody gets none", async (t) => {
  const flags = ["--max-in-flight=1", "--action-timeout=60s"];
  const { app, gateway, page } = await open(t, { flags });
  const [first, second] = [await connectClient(t, gateway), await connectClient(t, gateway)];
  first.send("Hang", {});
  await app.called("HandleAction");
  await verdictIs(page, "The application is strained");
  await page.locator("#part-application").getByText("wait for their turn").waitFor();
  second.send("SayHello", { name: "Adam" });
  await verdictIs(page, "The application is unwell");
  await page.locator("#part-application").getByText("fail with Busy").waitFor();
  assertClean(page, gateway);
});

test("the part that is unwell is named: the gateway", async (t) => {
  const { gateway, page } = await open(t);
  await gateway.kill();
  await verdictIs(page, "The gateway is unwell");
  await page.locator("#part-application[data-state=unknown]").waitFor();
  await page.locator("#away").waitFor();
});

for (const width of [400, 1280]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`at ${width} pixels, ${colorScheme}, everything has room and is reached by keyboard`, async (t) => {
      const { app, gateway, page } = await open(t, { context: { viewport: { width, height: 900 }, colorScheme } });
      app.allows = () => true;
      const client = await connectClient(t, gateway);
      client.send("Authenticate", { session_token: TOKEN });
      // The longest names that there may be.
      client.send("Subscribe", { exchange: "widgets", routing_keys: ["k".repeat(255), 1] });
      await rowAppears(page, "topics", "kkkk");
      client.send("N".repeat(64), {});
      await rowAppears(page, "actions", "NNNN", "InvalidAction");
      const followed = page.waitForResponse((response) => response.url().includes("/api/events"));
      await page.locator("#events summary").click();
      await followed;
      await gateway.push("widgets", "k".repeat(255), "E".repeat(255), { payload: "p".repeat(2_000) });
      await page.locator("#events-list li").first().waitFor();
      await page.locator("#client-connect button.main").click();
      await page.locator("#client-frames li").first().waitFor();
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${overflow} pixels too wide`);

      await page.locator(".skip").focus();
      for (const stop of ["#sessions input", "#events-filter", "#client-connect button", "#push-form select"]) {
        await tabTo(page, stop);
      }
      const { SCREENSHOTS } = process.env;
      await page.evaluate(() => scrollTo(0, 0));
      if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/console-${width}-${colorScheme}.png`, fullPage: true });
      assertClean(page, gateway);
    });
  }
}
