// The port that events are pushed to is on loopback, where every page of every site can send requests to:
// what a real browser sends for one is refused, whatever the page tries.

import assert from "node:assert/strict";
import { request } from "node:http";
import { once } from "node:events";
import { test } from "node:test";
import { Application } from "./support/application.js";
import { openPage, serveSite } from "./support/browser.js";
import { Gateway } from "./support/gateway.js";
import { within } from "./support/within.js";

const PATH = "/myxi.v1.Gateway/PushEvent";
const EVENT = JSON.stringify({ exchange: "widgets", routingKey: "1", event: "Forged", payload: {} });
const JSON_TYPE = { "Content-Type": "application/json" };

/** As a program sends it. */
async function post(gateway) {
  const sent = request(`http://${gateway.grpc}${PATH}`, { method: "POST", headers: JSON_TYPE });
  sent.end(EVENT);
  const [response] = await within(once(sent, "response"), "an answer");
  response.resume();
  return response.statusCode;
}

/** The sum of a counter's lines that hold this. */
async function counted(gateway, name, holds) {
  const metrics = await (await fetch(`http://${gateway.admin}/metrics`)).text();
  const lines = metrics.split("\n").filter((line) => line.startsWith(name) && line.includes(holds));
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

const refused = (gateway) => counted(gateway, "myxi_gateway_calls_refused_total", 'reason="web_page"');

/** Until the page's one was. */
async function isRefused(gateway) {
  while ((await refused(gateway)) === 0) await new Promise((resolve) => setTimeout(resolve, 20));
}

const WAYS = {
  "a fetch that wants no answer": ({ url, event }) => fetch(url, { method: "POST", mode: "no-cors", body: event }).catch(() => {}),
  "a beacon": ({ url, event }) => navigator.sendBeacon(url, event),
  "a form": ({ url, event }) => {
    document.body.innerHTML = "<iframe name=answer></iframe><form method=post enctype=text/plain target=answer><input></form>";
    const [form, field] = [document.forms[0], document.querySelector("input")];
    form.action = url;
    // What a form puts between name and value ends up in a string.
    [field.name, field.value] = [event.replace(/\}\}$/, '},"eventId":"'), '"}'];
    form.submit();
  },
};

for (const [way, attack] of Object.entries(WAYS)) {
  test(`a page pushes nothing by ${way}`, async (t) => {
    const gateway = await Gateway.serve(t, await Application.start(t));
    const port = await serveSite(t, { "/": "<!doctype html><body></body>" });
    const page = await openPage(t);
    await page.goto(`http://127.0.0.1:${port}/`);
    await page.evaluate(attack, { url: `http://${gateway.grpc}${PATH}`, event: EVENT });
    await within(isRefused(gateway), "a refusal");
    assert.equal(await counted(gateway, "myxi_events_published_total", ""), 0);
    assert.equal(await post(gateway), 200, "a program's is taken");
    assert.equal(await counted(gateway, "myxi_events_published_total", 'result="ok"'), 1);
  });
}

test("a page may not ask for more than that, and pushes nothing", async (t) => {
  const gateway = await Gateway.serve(t, await Application.start(t));
  const port = await serveSite(t, { "/": "" });
  const page = await openPage(t);
  await page.goto(`http://127.0.0.1:${port}/`);
  const json = ([url, event, headers]) =>
    fetch(url, { method: "POST", headers, body: event }).then(({ status }) => status, () => "not let");
  assert.equal(await page.evaluate(json, [`http://${gateway.grpc}${PATH}`, EVENT, JSON_TYPE]), "not let");
  assert.equal(await counted(gateway, "myxi_events_published_total", ""), 0);
});

test("a page whose name leads here meanwhile pushes nothing", async (t) => {
  const gateway = await Gateway.serve(t, await Application.start(t));
  const page = await openPage(t);
  // Served by somebody else's machine, before its name became this one's.
  const origin = `http://rebound.localhost:${gateway.grpc.split(":").at(-1)}`;
  await page.route(`${origin}/`, (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
  await page.goto(`${origin}/`);
  const same = ([path, event, headers]) => fetch(path, { method: "POST", headers, body: event }).then(({ status }) => status);
  assert.equal(await page.evaluate(same, [PATH, EVENT, JSON_TYPE]), 403);
  // For a GET of the same origin a browser says nothing of where it comes from, and there is none.
  assert.equal(await page.evaluate((path) => fetch(path).then(({ status }) => status), PATH), 403);
  assert.equal(await counted(gateway, "myxi_events_published_total", ""), 0);
});
