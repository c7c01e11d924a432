// What is handed out: the committed file, its size, what it needs and says of itself.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
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

test("it is under 8 kB gzipped", () => {
  for (const file of ["build/myxi.js", "build/myxi.mjs"]) {
    const size = gzipSync(read(file), { level: 9 }).length;
    assert.ok(size < 8_000, `${file}: ${size} bytes`);
  }
});

test("the package has no dependencies, and its licences are those of the project", () => {
  const { dependencies, peerDependencies, optionalDependencies } = JSON.parse(read("package.json"));
  assert.deepEqual([dependencies, peerDependencies, optionalDependencies], [undefined, undefined, undefined]);
  for (const name of ["LICENSE-APACHE", "LICENSE-MIT"]) assert.ok(read(name).equals(read(`../../${name}`)), name);
});

test("the lock files name no registry", () => {
  for (const path of ["package-lock.json", "tests/jest/package-lock.json"]) {
    assert.doesNotMatch(read(path).toString(), /"resolved"/, path);
  }
});

test("the types say what is right and what is wrong", () => {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  try {
    execFileSync(process.execPath, [tsc, "--project", join(root, "tests/types")], { encoding: "utf8" });
  } catch ({ stdout }) {
    assert.fail(stdout);
  }
});
