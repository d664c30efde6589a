import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { inspectMatches, type ModuleFacts, type PeftConfig } from "../src/index.js";

const page = readFileSync(join(import.meta.dirname, "../docs/matching.md"), "utf8");

interface Example {
  readonly config: object;
  readonly targets: readonly string[];
  readonly modulesToSave?: readonly string[];
}

const blocks = (kind: string): unknown[] =>
  [...page.matchAll(new RegExp(`\`\`\`json ${kind}\\n([\\s\\S]*?)\`\`\``, "g"))].map(
    ([, text]) => JSON.parse(text!) as unknown,
  );

const [modules] = blocks("model") as ModuleFacts[][];
const examples = blocks("example") as Example[];

test("the page has ten examples", () => {
  expect(examples).toHaveLength(10);
});

test.each(examples.map((example, i) => [i + 1, example] as const))("example %i", async (_, example) => {
  const report = await inspectMatches(modules!, { peftType: "LORA", ...example.config } as PeftConfig);
  expect(report.faults).toEqual([]);
  expect(report.targets.map(({ name }) => name)).toEqual(example.targets);
  expect(report.modulesToSave.map(({ name }) => name)).toEqual(example.modulesToSave ?? []);
});
