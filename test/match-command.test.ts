import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { MatchReport } from "../src/index.js";
import { commandLine, type Run } from "./support/command-line.js";
import { fixturesFolder } from "./support/fixture.js";

const { folder, at, peft } = commandLine("match");
const model = join(fixturesFolder, "llama/model");
const adapter = join(fixturesFolder, "llama/adapter");
afterAll(() => rmSync(folder, { recursive: true }));

const match = (...args: string[]): Run => peft("match", model, ...args);

const adapted = ({ modules }: MatchReport): string[] =>
  modules.filter(({ status }) => status === "adapted").map(({ name }) => name);

test("--json prints the whole report", () => {
  const { code, out, err } = match("--target-modules", "q_proj,v_proj", "--r", "4", "--json");
  expect([code, err]).toEqual([0, ""]);
  const report = JSON.parse(out) as MatchReport;
  expect(adapted(report)).toEqual(
    [0, 1, 2].flatMap((layer) =>
      ["q_proj", "v_proj"].map((name) => `model.layers.${layer}.self_attn.${name}`),
    ),
  );
  const [query] = report.targets;
  expect([query?.rank, query?.trained]).toEqual([4, 4 * (32 + 32)]);
  expect(report.entries.map(({ entry, count }) => [entry, count])).toEqual([
    ['"q_proj"', 3],
    ['"v_proj"', 3],
  ]);
});

test("--json prints faults too, and the exit code tells of them", () => {
  const { code, out } = match("--target-modules", "q_porj", "--json");
  expect(code).toBe(2);
  const { faults } = JSON.parse(out) as MatchReport;
  expect(faults.map(({ code: fault, fields }) => [fault, fields["entries"]])).toMatchInlineSnapshot(`
    [
      [
        "target_not_found",
        [
          "q_porj",
        ],
      ],
    ]
  `);
});

test("--adapter shows what the tensors of a folder hold on to", () => {
  const { code, out, err } = match("--adapter", adapter, "--json");
  expect([code, err]).toEqual([0, ""]);
  const keys = readFileSync(join(adapter, "adapter_model.safetensors"), "latin1").match(
    /model\.layers\.\d+\.[a-z_.]+(?=\.lora_A)/g,
  );
  expect(adapted(JSON.parse(out) as MatchReport)).toEqual([...new Set(keys)].toSorted());
});

test("--adapter tells how the tensors differ from the configuration", () => {
  const changed = at("changed");
  cpSync(adapter, changed, { recursive: true });
  const path = join(changed, "adapter_config.json");
  const config = JSON.parse(readFileSync(path, "utf8")) as object;
  writeFileSync(path, JSON.stringify({ ...config, target_modules: ["q_proj", "down_proj"] }));
  const { code, err } = match("--adapter", changed);
  expect(code).toBe(0);
  expect(err).toMatchInlineSnapshot(`
    "warning: DIR/changed/adapter_model.safetensors: config and tensors disagree about what is adapted: the config alone names model.layers.0.mlp.down_proj, model.layers.1.mlp.down_proj, model.layers.2.mlp.down_proj; tensors alone are there for model.layers.0.self_attn.v_proj, model.layers.1.self_attn.v_proj, model.layers.2.self_attn.v_proj. The tensors are followed.
    "
  `);
});
