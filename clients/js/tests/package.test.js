// What is handed out: the committed file, its size, and what npm packs.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path) => readFileSync(join(root, path));

test("dist/myxi.js is what the build makes", () => {
  assert.ok(read("dist/myxi.js").equals(read("build/myxi.js")), "run npm run build, and commit dist/myxi.js");
});

test("a script tag offers what the module does", async () => {
  const page = {};
  runInNewContext(read("build/myxi.js").toString(), page);
  assert.deepEqual(Object.keys(page), ["Myxi"]);
  assert.deepEqual(Object.keys(page.Myxi), Object.keys(await import("../build/myxi.mjs")));
});

test("it is under 6 kB gzipped", () => {
  for (const file of ["build/myxi.js", "build/myxi.mjs"]) {
    const size = gzipSync(read(file), { level: 9 }).length;
    assert.ok(size < 6_000, `${file}: ${size} bytes`);
  }
});

test("npm packs what users need, and nothing else", (t) => {
  const copy = mkdtempSync(join(tmpdir(), "myxi-pack-"));
  t.after(() => rmSync(copy, { recursive: true }));
  const left = new Set(["node_modules", "build", "dist"]);
  cpSync(root, copy, { recursive: true, filter: (path) => !left.has(basename(path)) });
  cpSync(join(root, "build"), join(copy, "dist"), { recursive: true });
  const packed = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: copy, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const files = JSON.parse(packed)[0].files.map(({ path }) => path).sort();
  assert.deepEqual(files, [
    "LICENSE-APACHE", "LICENSE-MIT", "README.md", "dist/connection.d.ts", "dist/errors.d.ts", "dist/index.d.ts",
    "dist/myxi.js", "dist/myxi.mjs", "dist/subscription.d.ts", "dist/types.d.ts", "package.json",
  ]);
});

test("the package has no dependencies, and its licences are those of the project", () => {
  const { dependencies, peerDependencies, optionalDependencies } = JSON.parse(read("package.json"));
  assert.deepEqual([dependencies, peerDependencies, optionalDependencies], [undefined, undefined, undefined]);
  for (const name of ["LICENSE-APACHE", "LICENSE-MIT"]) assert.ok(read(name).equals(read(`../../${name}`)), name);
});

test("the lock file names no registry", () => {
  assert.doesNotMatch(read("package-lock.json").toString(), /"resolved"/);
});

test("the types say what is right and what is wrong", () => {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  try {
    execFileSync(process.execPath, [tsc, "--project", join(root, "tests/types")], { encoding: "utf8" });
  } catch ({ stdout }) {
    assert.fail(stdout);
  }
});
