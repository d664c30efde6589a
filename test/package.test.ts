// What `npm install peft.js` gives: the files that package.json names, joined out of the modules that all other tests load one by one.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..");
interface Manifest {
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
}
const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as Manifest;
const load = (path: string) => import(join(ROOT, path)) as Promise<Readonly<Record<string, unknown>>>;
const names = async (path: string) => Object.keys(await load(path)).toSorted();

test("every file that it names is built", () => {
  const files = [manifest.bin, ...Object.values(manifest.exports)].flatMap((entry) =>
    typeof entry === "string" ? [entry] : Object.values(entry),
  );
  expect(files.length).toBeGreaterThan(5);
  expect(files.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
});

test("the joined files export what the modules export", async () => {
  expect(await names("dist/bundle/index.js")).toEqual(await names("dist/index.js"));
  expect(await names("dist/bundle/testing.js")).toEqual(await names("dist/testing/index.js"));
});

test("errors of the joined files carry their own names", async () => {
  const { ConfigError, PeftError } = (await load("dist/bundle/index.js")) as unknown as {
    ConfigError: new (...args: unknown[]) => Error;
    PeftError: new (...args: unknown[]) => Error;
  };
  expect([ConfigError.name, PeftError.name]).toEqual(["ConfigError", "PeftError"]);
});
