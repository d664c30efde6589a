// Joins the compiled modules into a few files under dist/bundle, because opening several hundred takes longer than running them.
// All entries are built together, so that the command line and a plug-in that imports "peft.js" share every module.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { rolldown } from "rolldown";

const root = join(import.meta.dirname, "..");
const dir = join(root, "dist/bundle");
rmSync(dir, { recursive: true, force: true });
const bundle = await rolldown({
  cwd: root,
  input: { main: "dist/main.js", index: "dist/index.js", testing: "dist/testing/index.js" },
  platform: "node",
  external: (id) => !/^[./]/.test(id),
});
await bundle.write({
  dir,
  sourcemap: true,
  // Names of classes and functions reach users in errors.
  keepNames: true,
  chunkFileNames: "[name].js",
  codeSplitting: { groups: [{ name: "shared", minShareCount: 2 }] },
});
