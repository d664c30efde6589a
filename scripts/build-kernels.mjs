// Compiles kernels/ to WebAssembly and writes it, as text that bundlers take along, to src/steps/code.ts, unless that is newer than all of it.
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const target = join(root, "src/steps/code.ts");

const changed = (path) => statSync(path).mtimeMs;
const sources = readdirSync(join(root, "kernels")).map((name) => join(root, "kernels", name));
if (existsSync(target) && [...sources, import.meta.filename].every((path) => changed(path) < changed(target)))
  process.exit();

const { main: compile } = await import("assemblyscript/asc");
let binary;
const { error, stderr } = await compile(
  [
    "kernels/index.ts",
    "--outFile=kernels.wasm",
    "--baseDir=.",
    "-O3",
    "--noAssert",
    "--runtime=stub",
    "--enable=simd,threads",
    "--importMemory",
    "--sharedMemory",
    "--initialMemory=1",
    "--maximumMemory=65536",
    // Only `run` is called from outside; the others are exported to each other.
    "--disableWarning=112",
  ],
  {
    readFile: (name, base) => {
      const path = join(base === "." ? root : base, name);
      return existsSync(path) ? readFileSync(path, "utf8") : null;
    },
    writeFile: (_, contents) => {
      binary = contents;
    },
    listFiles: () => [],
  },
);
if (error) {
  console.error(stderr.toString());
  process.exit(1);
}
const lines = Buffer.from(binary)
  .toString("base64")
  .match(/.{1,100}/g);
const text = [
  "// Written by scripts/build-kernels.mjs from kernels/.",
  "/** The kernels of small steps, WebAssembly in base64. */",
  `export const KERNEL_CODE =\n  ${lines.map((line) => JSON.stringify(line)).join(" +\n  ")};`,
  "",
].join("\n");
const partial = `${target}.${process.pid}`;
writeFileSync(partial, text);
renameSync(partial, target);
