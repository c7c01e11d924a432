// The recipe for React as the library's README has it, in StrictMode, which mounts everything
// twice: nothing is complained of, and one subscription is left.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Application, TOKEN } from "./support/application.js";
import { openPage, serveSite } from "./support/browser.js";
import { Gateway } from "./support/gateway.js";

const library = fileURLToPath(new URL("../../clients/js", import.meta.url));
const { build } = createRequire(join(library, "package.json"))("esbuild");
const readme = readFileSync(join(library, "README.md"), "utf8");

/** The file of this name as the README has it. */
function recipe(name) {
  const found = [...readme.matchAll(/```jsx?\n([^]+?)```/g)].find(([, code]) => code.startsWith(`// ${name}\n`));
  assert.ok(found, `the README has no ${name}`);
  return found[1];
}

/** The page with this code beside the recipe, in React's development version, whose StrictMode is strict. */
async function open(t, gateway, code) {
  const folder = mkdtempSync(join(tmpdir(), "myxi-react-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "myxi-react.js"), recipe("myxi-react.js"));
  const here = code.replace("ws://localhost:5005/pushwss", gateway.websocket).replace('session_token: "…"', `session_token: "${TOKEN}"`);
  writeFileSync(join(folder, "page.jsx"), here);
  const { outputFiles: [{ text }] } = await build({
    entryPoints: [join(folder, "page.jsx")],
    bundle: true,
    write: false,
    jsx: "automatic",
    alias: { myxi: join(library, "build/myxi.mjs") },
    nodePaths: [fileURLToPath(new URL("node_modules", import.meta.url))],
    define: { "process.env.NODE_ENV": '"development"' },
  });
  const html = `<!doctype html><link rel="icon" href="data:,"><div id="root"></div><script>${text.replaceAll("</script", "<\\/script")}</script>`;
  const port = await serveSite(t, { "/": html });
  const page = await openPage(t);
  await page.goto(`http://127.0.0.1:${port}/`);
  return page;
}

const showsText = (page, text) => page.waitForFunction((text) => document.querySelector("#root").innerText.includes(text), text);

/** What the console said, but for how long it took: that is the machine's doing. */
const said = (page) => [...page.warnings.filter((text) => !text.includes("have waited")), ...page.complaints];

const sent = (page, name) => page.sockets.flatMap(({ sent }) => sent).filter(({ action }) => action === name);

/** The topics that the gateway asked the application about. */
const checked = (app) =>
  app.calls.all.filter(({ rpc, request }) => rpc === "CheckSubscriptions" && request.topics.length > 0).flatMap(({ request }) => request.topics);

/** How many there are, as the gateway counts them. */
async function held(gateway) {
  const metrics = await (await fetch(`http://${gateway.admin}/metrics`)).text();
  return Number(metrics.match(/^myxi_subscriptions (\d+)$/m)[1]);
}

test("the recipe: events arrive, each topic is asked for once, and nothing is complained of", async (t) => {
  const app = await Application.start(t);
  const gateway = await Gateway.serve(t, app);
  const page = await open(t, gateway, recipe("page.jsx"));
  await showsText(page, "authenticated");
  await showsText(page, "13: SubscriptionDenied");
  for (const key of ["1", "2"]) await page.frames.next(({ event, payload }) => event === "Subscribed" && payload.routing_key === key, key);
  await gateway.push("widgets", "1", "WidgetQtyChanged", { quantity: 7 });
  await gateway.push("widgets", "2", "WidgetQtyChanged", { quantity: 8 });
  await showsText(page, "1: 7");
  await showsText(page, "2: 8");
  const { SCREENSHOTS } = process.env;
  if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/react.png` });

  assert.deepEqual(sent(page, "Subscribe").map(({ payload }) => payload.routing_keys), [["1", "2", "13"]]);
  assert.deepEqual(checked(app).map(({ routing_key }) => routing_key), ["1", "2", "13"]);
  assert.deepEqual(sent(page, "Unsubscribe"), []);
  assert.equal(page.sockets.length, 1);
  assert.equal(await held(gateway), 2);

  // A component that goes takes its subscription with it, and no other.
  await page.getByRole("button", { name: "one less" }).click();
  await page.frames.next(({ event }) => event === "Unsubscribed", "Unsubscribed");
  assert.deepEqual(sent(page, "Unsubscribe").map(({ payload }) => payload.routing_key), ["1"]);
  await gateway.push("widgets", "2", "WidgetQtyChanged", { quantity: 9 });
  await showsText(page, "2: 9");
  assert.equal(await held(gateway), 1);
  assert.deepEqual(said(page), []);
});

test("a connection of a component's own, and what awaits ready: mounted twice, with no word of it", async (t) => {
  const app = await Application.start(t);
  app.allows = () => true;
  const gateway = await Gateway.serve(t, app);
  const page = await open(t, gateway, `
    import { StrictMode, useEffect, useState } from "react";
    import { createRoot } from "react-dom/client";
    import { Connection } from "myxi";

    function Page() {
      const [shown, setShown] = useState("…");
      useEffect(() => {
        globalThis.mounted = (globalThis.mounted ?? 0) + 1;
        const socket = new Connection(async () => "ws://localhost:5005/pushwss");
        const widget = socket.subscribe("widgets", 1);
        widget.on("Changed", setShown);
        // Nobody catches: it must not reject by the component's own end.
        widget.ready.then((stands) => stands && setShown("ready"));
        return () => socket.disconnect();
      }, []);
      return <p>{shown}</p>;
    }
    createRoot(document.getElementById("root")).render(<StrictMode><Page /></StrictMode>);`);
  await showsText(page, "ready");
  assert.equal(await page.evaluate(() => mounted), 2, "it is strict");
  await gateway.push("widgets", "1", "Changed", "changed");
  await showsText(page, "changed");
  assert.equal(page.sockets.length, 1);
  assert.equal(checked(app).length, 1);
  assert.equal(await held(gateway), 1);
  assert.deepEqual(said(page), []);
});
