// Builds dist/: the file for a script tag, the module, the same for `require`, what is for tests, and
// their types.
//
//   node scripts/build.mjs [directory]

import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, posix, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = resolve(process.argv[2] ?? join(root, "dist"));
rmSync(out, { recursive: true, force: true });

const common = {
  absWorkingDir: root,
  bundle: true,
  minify: true,
  // Internal members, which the types do not show either.
  mangleProps: /^_/,
  target: "es2022",
  legalComments: "none",
};
await build({ ...common, entryPoints: ["src/global.ts"], outfile: join(out, "myxi.js"), format: "iife" });
for (const [format, extension] of [["esm", "mjs"], ["cjs", "cjs"]]) {
  // An error of a test is the page's `MyxiError`, also where a test puts the one in the other's place.
  const setup = ({ onResolve }) =>
    onResolve({ filter: /\/error\.js$/ }, () => ({ path: `./error.${extension}`, external: true }));
  const module = (entry, name, options) => build({
    ...common, entryPoints: [entry], outfile: join(out, `${name}.${extension}`), format,
    plugins: [{ name: "error", setup }], ...options,
  });
  await module("src/error.ts", "error");
  await module("src/index.ts", "myxi");
  // Time stands still in tests, also for the library.
  await module("src/testing.ts", "testing", { inject: ["src/testing/clock.ts"], minify: false });
}

const tsc = join(root, "node_modules/typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "--project", root, "--outDir", out], { stdio: "inherit" });

const IMPORTED = /from "(\.[./\w]+)\.js"/g;

// The types of what is not reached from outside are nobody's business.
const reached = new Set();
const reach = (name) => {
  if (reached.has(name)) return;
  reached.add(name);
  const types = readFileSync(join(out, `${name}.d.ts`), "utf8");
  for (const [, other] of types.matchAll(IMPORTED)) reach(posix.join(posix.dirname(name), other));
};
reach("index");
reach("testing");
for (const file of readdirSync(out, { recursive: true })) {
  if (file.endsWith(".d.ts") && !reached.has(file.slice(0, -".d.ts".length))) rmSync(join(out, file));
}
// To the compiler the types of a module are not those of what is required.
for (const name of reached) {
  const types = readFileSync(join(out, `${name}.d.ts`), "utf8");
  writeFileSync(join(out, `${name}.d.cts`), types.replaceAll(IMPORTED, 'from "$1.cjs"'));
}
