// The package as npm packs and installs it: what is in it, and who can use it. Modules and
// CommonJS, their types, and Jest.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const project = mkdtempSync(join(tmpdir(), "myxi-project-"));
const installed = join(project, "node_modules/myxi");
after(() => rmSync(project, { recursive: true }));

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
    return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
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
    "LICENSE-APACHE", "LICENSE-MIT", "README.md", "dist/connection.d.cts", "dist/connection.d.ts", "dist/errors.d.cts",
    "dist/errors.d.ts", "dist/index.d.cts", "dist/index.d.ts", "dist/myxi.cjs", "dist/myxi.js", "dist/myxi.mjs",
    "dist/subscription.d.cts", "dist/subscription.d.ts", "dist/types.d.cts", "dist/types.d.ts", "package.json",
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

for (const [file, module, resolution] of [["page.mts", "node16", "node16"], ["page.cts", "node16", "node16"],
  ["page.ts", "esnext", "bundler"], ["page.ts", "commonjs", "node10"]]) {
  test(`its types are found from ${file}, by ${resolution}`, () => {
    writeFileSync(join(project, file), `
      import { Connection, MyxiError, type Subscription } from "myxi";
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
  for (const file of ["package.json", "widget.js", "widget.test.js"]) cpSync(join(root, "tests/jest", file), join(project, file));
  const said = JSON.parse(run(project, process.execPath, jest, "--rootDir", project, "--ci", "--json", "--silent", "widget.test.js"));
  assert.deepEqual([said.numPassedTests, said.numTotalTests], [2, 2]);
});
