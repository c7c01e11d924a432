// The handlers of examples/, each as its README starts it, with the gateway and the page of
// examples/README.md: from a word in one browser to the other. Rust's is built by cargo.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openPage, serveSite } from "./support/browser.js";
import { BINARY, Gateway } from "./support/gateway.js";
import { freePort } from "./support/ports.js";

const file = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const RUNTIMES = process.env.MYXI_TEST_RUNTIMES ?? file("target/runtimes");
const README = await readFile(file("examples/README.md"), "utf8");

/** The blocks of commands. */
const commands = (page) => [...page.matchAll(/```sh\n([^]+?)```/g)].map(([, text]) => text.trim());

const BUILT_BY_CARGO = join(dirname(BINARY), "examples/chat");

/** Where it was built. */
const directoryOf = (language) => (language === "rust" ? dirname(BUILT_BY_CARGO) : `${RUNTIMES}/examples/${language}`);

/** The handler, which listens at `address` and pushes to `gateway`. */
async function start(t, language, address, gateway) {
  const [, documented] = commands(await readFile(file(`examples/${language}/README.md`), "utf8"));
  const command = language === "rust" ? BUILT_BY_CARGO : documented;
  // What Python's README makes.
  const PATH = [`${directoryOf(language)}/venv/bin`, process.env.PATH].join(delimiter);
  const env = { ...process.env, PATH, LISTEN: address, MYXI_GATEWAY: gateway };
  const stdio = ["ignore", "ignore", "inherit"];
  const handler = spawn("sh", ["-c", `exec ${command}`], { cwd: directoryOf(language), env, stdio });
  t.after(() => handler.kill("SIGKILL") && once(handler, "exit"));
  // A test that is over hears no more of it.
  handler.once("exit", (code) => code && assert.fail(`the handler ended with ${code}`));
}

/** Somebody's page, once it is in the lobby. */
async function enter(t, url, user) {
  const page = await openPage(t);
  await page.goto(url);
  await page.selectOption("#user", user);
  await page.waitForFunction(() => socket?.state === "authenticated" && socket.subscriptions["rooms::lobby"]);
  await page.evaluate(() => socket.subscriptions["rooms::lobby"].ready);
  return page;
}

for (const language of ["go", "java", "node", "python", "ruby", "rust"]) {
  const skip = existsSync(directoryOf(language)) ? false : `${directoryOf(language)} is not there`;
  test(`what is said in one browser is read in the other, with the handler in ${language}`, { skip }, async (t) => {
    const app = { address: `127.0.0.1:${await freePort()}` };
    const [, flags] = README.match(/^myxi serve --action-handler \S+ (.+)$/m);
    const gateway = await Gateway.serve(t, app, flags.replaceAll(/(--\S+) /g, "$1=").split(" "));
    await start(t, language, app.address, gateway.grpc);
    const path = `/?gateway=${gateway.clients}`;
    const port = await serveSite(t, { [path]: await readFile(file("examples/page/index.html"), "utf8") });
    const url = `http://127.0.0.1:${port}${path}`;
    const [adam, eve] = [await enter(t, url, "adam"), await enter(t, url, "eve")];
    await adam.fill("#text", "hello");
    await adam.click("button");
    for (const page of [adam, eve]) await page.waitForFunction(() => document.querySelector("#said li")?.textContent === "adam: hello");
    assert.deepEqual([adam.complaints, eve.complaints], [[], []]);
  });
}

test("a page without a gateway says so", async (t) => {
  const path = `/?gateway=127.0.0.1:${await freePort()}`;
  const port = await serveSite(t, { [path]: await readFile(file("examples/page/index.html"), "utf8") });
  const page = await openPage(t);
  await page.goto(`http://127.0.0.1:${port}${path}`);
  await page.waitForFunction(() => /^There is no gateway at/.test(document.querySelector("#state").textContent));
});
