// Builds dist/: the file for a script tag, the module, and its types.
//
//   node scripts/build.mjs [directory]

import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = resolve(process.argv[2] ?? join(root, "dist"));
rmSync(out, { recursive: true, force: true });

const common = {
  absWorkingDir: root,
  entryPoints: ["src/index.ts"],
  bundle: true,
  minify: true,
  // Internal members, which the types do not show either.
  mangleProps: /^_/,
  target: "es2022",
  legalComments: "none",
};
buildSync({ ...common, outfile: join(out, "myxi.js"), format: "iife", globalName: "Myxi" });
buildSync({ ...common, outfile: join(out, "myxi.mjs"), format: "esm" });

const tsc = join(root, "node_modules/typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "--project", root, "--outDir", out], { stdio: "inherit" });
