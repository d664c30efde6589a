import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";
import { methods } from "../../src/methods/index.js";
import type { MethodDefinition } from "../../src/methods/method.js";
import { models } from "../../src/models/index.js";
import { tinyFamily } from "../../src/testing/tiny-model.js";
import { fixturesFolder } from "../support/fixture.js";

/** Other tests look at what is in these folders: AdapterHub's adapters, bases in codes, labels as words. */
const ELSEWHERE = new Set(["adapterhub", "bnb", "cloze"]);
const FAMILIES = join(fixturesFolder, "methods", "manifest.json");

type Json = Readonly<Record<string, never>>;
const readJson = <T = Json>(...path: string[]): T => JSON.parse(readFileSync(join(...path), "utf8")) as T;
const { families } = readJson<{ families: Record<string, { path: string }> }>(FAMILIES);

/** Where the model of an adapter may be, seen from the adapter's folder. */
function modelFolders(adapter: string): string[] {
  const above = dirname(adapter);
  const [room, family] = relative(fixturesFolder, adapter).split("/");
  if (room === "methods") return [join(fixturesFolder, families[family!]!.path, "model")];
  const facts = join(above, "facts.json");
  const base = existsSync(facts) ? readJson<{ base?: string }>(facts).base : undefined;
  const places = base === undefined ? [] : [base, join(base, "model"), join("tasks", base, "model")];
  return [...places.map((place) => join(fixturesFolder, place)), join(above, "model")];
}

/** Every adapter that Hugging Face saved for a test: its method and the `model_type` of its model. */
function adapters(): { readonly method: string; readonly model: string }[] {
  const folders = readdirSync(fixturesFolder, { recursive: true, withFileTypes: true })
    .filter(({ name, parentPath }) => name === "adapter_config.json" && !parentPath.endsWith("converted"))
    .map(({ parentPath }) => parentPath)
    .filter((path) => !ELSEWHERE.has(relative(fixturesFolder, path).split("/")[0]!));
  return folders.map((folder) => {
    const model = modelFolders(folder).find((path) => existsSync(join(path, "config.json")));
    if (model === undefined) throw new Error(`the model of ${folder} is not found`);
    return {
      method: readJson<{ peft_type: string }>(folder, "adapter_config.json").peft_type,
      model: readJson<{ model_type: string }>(model, "config.json").model_type,
    };
  });
}

/** Methods that Hugging Face PEFT has too, and BitFit, whose reference is the model with its biases trained. */
const compared = (Object.values(methods) as unknown as MethodDefinition[]).filter(
  ({ sites }) => !(sites as readonly string[]).includes("block"),
);
const found = adapters();
const countOf = (method: string, model: string): number =>
  found.filter((one) => one.method === method && one.model === model).length;

test("every method is compared with the reference on three architectures or more, put together differently", () => {
  for (const { name } of compared) {
    const kinds = new Set(
      found.filter(({ method }) => method === name).map(({ model }) => tinyFamily(model)),
    );
    expect(kinds.size, name).toBeGreaterThanOrEqual(3);
  }
});

const columns = Object.keys(models).filter((model) => found.some((one) => one.model === model));
const row = (cells: readonly (string | number)[]): string => `| ${cells.join(" | ")} |`;
const page = (): string => `# Methods compared with Hugging Face PEFT

Written by a test from the adapters in \`test/fixtures\` (\`npx vitest run test/parity/coverage.test.ts -u\`), not by hand; a stale page
fails the tests. A number is how many adapters of a method there are on tiny random models of an architecture: with its options, its
starts, its tasks. [methods-checks.md](methods-checks.md) has what every method is asked on every architecture without a reference.

Of every adapter are compared, in float32: the scores of all real tokens within 1e-4; every gradient within 1e-3 of itself, or 1e-5; the
losses of five steps of AdamW within 1e-4 (1e-3 for virtual tokens on models with a head); the adapter after them within 5e-4, where
its gradient is no noise; the scores after merging within 1e-4, or 2e-3 where the merged adapter was trained here (virtual tokens cannot
be merged); and the files: what Python saved is loaded here and saved again as it was. \`test/parity/check_saved.py\` loads in Python what was
trained and saved here.

${row(["method", ...columns])}
${row(["---", ...columns.map(() => "--:")])}
${compared.map(({ name }) => row([name, ...columns.map((model) => countOf(name, model) || " ")])).join("\n")}

BITFIT is no method of Hugging Face's; its reference is the model itself with its biases trained. A T5 has no biases. Bottleneck adapters and
Compacter are compared with AdapterHub (\`test/parity/adapterhub.test.ts\`).
`;

test("the page of comparisons is up to date", async () => {
  await expect(page()).toMatchFileSnapshot("../../docs/parity.md");
});
