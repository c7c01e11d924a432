// The package as npm packs and installs it: what is in it, and who can use it. Modules and
// CommonJS, their types, and Jest.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const project = mkdtempSync(join(tmpdir(), "myxi-project-"));
const installed = join(project, "node_modules/myxi");
after(() => rmSync(project, { recursive: true }));

// Node does not run the tests of tests, unless it does not know.
const { NODE_TEST_CONTEXT: _, ...env } = process.env;

/** Its files. */
let packed;
before(() => {
  const source = join(project, "source");
  const left = new Set(["node_modules", "build", "dist", "tests"]);
  cpSync(root, source, { recursive: true, filter: (path) => path === root || !left.has(basename(path)) });
  cpSync(join(root, "build"), join(source, "dist"), { recursive: true });
  const said = run(source, "npm", "pack", "--json", "--ignore-scripts");
  const [{ filename, files }] = JSON.parse(said);
  packed = files.map(({ path }) => path).sort();
  mkdirSync(installed, { recursive: true });
  run(source, "tar", "-xzf", filename, "-C", installed, "--strip-components=1");
});

function run(cwd, command, ...args) {
  try {
    return execFileSync(command, args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch ({ stdout, stderr }) {
    return assert.fail(`${command} ${args.join(" ")}: ${stdout}${stderr}`);
  }
}

/** What this program prints in the project. */
function node(file, code) {
  writeFileSync(join(project, file), code);
  return run(project, process.execPath, file);
}

test("it holds what users need, and nothing else", () => {
  assert.deepEqual(packed, [
    "LICENSE-APACHE", "LICENSE-MIT", "README.md", "dist/connection.d.cts", "dist/connection.d.ts", "dist/error.cjs",
    "dist/error.d.cts", "dist/error.d.ts", "dist/error.mjs", "dist/index.d.cts", "dist/index.d.ts", "dist/myxi.cjs",
    "dist/myxi.js", "dist/myxi.mjs", "dist/subscription.d.cts", "dist/subscription.d.ts", "dist/testing.cjs",
    "dist/testing.d.cts", "dist/testing.d.ts", "dist/testing.mjs", "dist/testing/gateway.d.cts",
    "dist/testing/gateway.d.ts", "dist/types.d.cts", "dist/types.d.ts", "package.json",
  ]);
});

/** Connects by a WebSocket of its own, as Node 20 has none, and says what it is asked for. */
const USE = `
  class WebSocket {
    constructor(url) { this.url = url; this.readyState = 0; queueMicrotask(() => { this.readyState = 1; this.onopen({}); }); }
    send(text) { console.log(this.url, text); this.readyState = 3; this.onclose({ code: 4500, reason: "enough" }); }
    close() {}
  }
  const socket = new Connection("ws://gateway.test/", { WebSocket });
  socket.subscribe("widgets", 1).ready.catch((error) => console.log(error instanceof MyxiError, error.code));`;
const USED = 'ws://gateway.test/ {"action":"Subscribe","tag":"myxi:1","payload":{"exchange":"widgets","routing_keys":["1"]}}\ntrue ConnectionLost\n';

test("it can be required", () => {
  const given = 'const { Connection, MyxiError } = require("myxi");';
  assert.equal(node("required.cjs", given + USE), USED);
  // Not the module: Node 20 before 20.19, and Jest, can require none.
  assert.equal(node("resolved.cjs", 'console.log(require.resolve("myxi"))').trim(), join(installed, "dist/myxi.cjs"));
});

test("it can be imported", () => {
  assert.equal(node("imported.mjs", 'import { Connection, MyxiError } from "myxi";' + USE), USED);
  assert.equal(node("resolved.mjs", 'console.log(import.meta.resolve("myxi"))').trim(), `file://${installed}/dist/myxi.mjs`);
});

/** A test's connection, whose errors are those of the page. */
const TESTED = `
  const socket = new Testing.Connection();
  socket.action("Say").catch((error) => console.log(error instanceof MyxiError, error.code));
  socket.gateway.fail("Say", "Flooded");`;

test("what is for tests has the same errors, required and imported", () => {
  const required = 'const { MyxiError } = require("myxi"); const Testing = require("myxi/testing");';
  assert.equal(node("testing.cjs", required + TESTED), "true Flooded\n");
  const imported = 'import { MyxiError } from "myxi"; import * as Testing from "myxi/testing";';
  assert.equal(node("testing.mjs", imported + TESTED), "true Flooded\n");
});

test("the README's tests of a page pass as they stand there", (t) => {
  const [, code] = readFileSync(join(root, "README.md"), "utf8").match(/```js\n(\/\/ widget\.test\.js\n[^]+?)```/);
  const page = `export const showWidget = (socket, id, show) =>
    socket.subscribe("widgets", id).on("WidgetQtyChanged", ({ quantity }) => show(quantity));`;
  const directory = join(project, "page");
  mkdirSync(directory);
  // Jest would find them.
  t.after(() => rmSync(directory, { recursive: true }));
  for (const [name, text] of [["package.json", '{ "type": "module" }'], ["widget.js", page], ["widget.test.js", code]]) {
    writeFileSync(join(directory, name), text);
  }
  assert.match(run(directory, process.execPath, "--test", "--test-reporter=tap"), /^# pass 2$/m);
});

for (const [file, module, resolution] of [["page.mts", "node16", "node16"], ["page.cts", "node16", "node16"],
  ["page.ts", "esnext", "bundler"], ["page.ts", "commonjs", "node10"]]) {
  test(`its types are found from ${file}, by ${resolution}`, () => {
    writeFileSync(join(project, file), `
      import { Connection, MyxiError, type Subscription } from "myxi";
      import { Connection as Fake } from "myxi/testing";
      const fake: Fake = new Fake();
      const given: Connection = fake;
      fake.gateway.deliver("widgets", 1, "Changed");
      // @ts-expect-error: only a fake has one
      given.gateway;
      const socket: Connection = new Connection(async () => "ws://gateway.test/");
      const subscription: Subscription = socket.subscribe("widgets", 1);
      subscription.ready.then((stands: boolean) => stands, (error: unknown) => error instanceof MyxiError && error.code);
      // @ts-expect-error: there is no such member
      socket.nothing;`);
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    const flags = ["--strict", "--noEmit", "--target", "es2022", "--module", module, "--moduleResolution", resolution];
    run(project, process.execPath, tsc, ...flags, file);
  });
}

test("Jest runs what requires it", () => {
  const jest = join(root, "tests/jest/node_modules/jest/bin/jest.js");
  assert.ok(existsSync(jest), "there is no Jest: run npm ci --prefix tests/jest --ignore-scripts");
  for (const file of ["package.json", "widget.js", "widget.test.js", "drop_in.test.js"]) cpSync(join(root, "tests/jest", file), join(project, file));
  const said = JSON.parse(run(project, process.execPath, jest, "--rootDir", project, "--ci", "--json", "--silent"));
  assert.deepEqual([said.numPassedTests, said.numTotalTests], [4, 4]);
});
