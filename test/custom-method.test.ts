// The package in examples/custom-method, built and tested as its author would, with nothing but the public exports.
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..");
const example = join(ROOT, "examples/custom-method");
const plugin = join(example, "dist/ssf.js");
const folder = mkdtempSync(join(tmpdir(), "peft-plugin-"));
afterAll(() => rmSync(folder, { recursive: true }));

function run(command: string, ...args: string[]): { code: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", cwd: folder });
  const text = `${stdout}${stderr}`.replaceAll(folder, "DIR").replaceAll(ROOT, "ROOT");
  return { code: status, text };
}
const peft = (...args: string[]) => run("node", join(ROOT, "bin/peft.js"), ...args);

test("it is built against the public exports alone", () => {
  // What `npm install` makes of the dependency "file:../..".
  const link = join(example, "node_modules/peft.js");
  mkdirSync(join(example, "node_modules"), { recursive: true });
  if (!existsSync(link)) symlinkSync("../../..", link, "dir");
  const built = run("node", join(ROOT, "node_modules/typescript/bin/tsc"), "-p", example);
  expect(built.text).toBe("");
});

test("its own tests pass, the conformance suite among them", () => {
  const { code, text } = run("node", "--test", join(example, "dist/ssf.test.js"));
  expect(code, text).toBe(0);
  expect(text).toMatch(/# pass \d\d/);
  expect(text).toContain("# fail 0");
});

test("the command line trains, shows and merges it", () => {
  const train = peft(
    "--plugin",
    plugin,
    "train",
    "--model",
    "embedded",
    "--dataset",
    "embedded",
    "--peft-type",
    "SSF",
    "--no-shift",
    "--max-steps",
    "2",
    "--learning-rate",
    "1e-2",
    "--output-dir",
    "out",
  );
  expect(train.code, train.text).toBe(0);
  const file = join(folder, "run.yaml");
  writeFileSync(
    file,
    `model: embedded\ndataset: embedded\npeft_type: SSF\nshift: false\nplugin: ${plugin}\n`,
  );
  const dry = peft("train", "run.yaml", "--dry-run");
  expect(dry.code, dry.text).toBe(0);
  expect(dry.text).toMatch(/^peft_type: SSF +# file$/m);
  copyFileSync(file, join(folder, "run.settings"));
  expect(peft("train", "run.settings", "--dry-run").text).toBe(dry.text);
  expect(peft(`--plugin=${plugin}`, "inspect", "out").text).toContain("SSF");
  expect(peft("--plugin", plugin, "merge", "embedded", "out").text).toContain("saved: merged");
  const without = peft("inspect", "out");
  expect(without.code).toBe(2);
  expect(without.text).toContain("peft --plugin MODULE");
});

test("mistakes with plug-ins", () => {
  expect(peft("methods", "--plugin").text).toMatchInlineSnapshot(`
    "--plugin needs the module to load.
    fix: peft --plugin ./method.js methods
    "
  `);
  expect(peft("--plugin", "./nowhere.js", "methods").text).toMatchInlineSnapshot(`
    "The plug-in ./nowhere.js cannot be loaded.
      reason  Cannot find module 'DIR/nowhere.js' imported from ROOT/dist/bundle/main.js
    fix: name a file with its path (./method.js), or install the package in this folder
    "
  `);
  expect(peft("--plugin", join(ROOT, "dist/base/version.js"), "methods").text).toMatchInlineSnapshot(`
    "The plug-in ROOT/dist/base/version.js exports no method.
      exports  VERSION
    fix: export const method = defineMethod({ ... });
    "
  `);
  expect(peft("methods", "SFF").code).toBe(2);
});
