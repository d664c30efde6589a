import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AutoModelForCausalLM,
  type Batch,
  type CausalLanguageModel,
  createEngine,
  type Engine,
  getPeftModel,
  openSafetensors,
  type PeftConfig,
  PeftModel,
  type SafetensorsFile,
} from "../../src/index.js";
import { expectClose } from "../support/close.js";
import { fixturesFolder, toBatch } from "../support/fixture.js";

interface Case {
  readonly family: string;
  readonly case: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly settled: {
    readonly targets: readonly string[];
    readonly rank_pattern: Readonly<Record<string, number>>;
    readonly alpha_pattern: Readonly<Record<string, number>>;
  };
}

const root = join(fixturesFolder, "lora-starts");
const readJson = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));
const { cases } = readJson(join(root, "cases.json")) as { readonly cases: readonly Case[] };

/** snake_case keys as options have them, but not those of patterns, which are paths. */
const camel = (values: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(values).map(([key, value]) => [
      key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      value,
    ]),
  );

let engine: Engine;
let folder: string;
const bases = new Map<string, CausalLanguageModel>();
beforeAll(async () => {
  engine = await createEngine({});
  folder = await mkdtemp(join(tmpdir(), "peft-starts-"));
  for (const family of new Set(cases.map((entry) => entry.family))) {
    const path = join(fixturesFolder, family, "model");
    bases.set(family, await AutoModelForCausalLM.fromPretrained(path, { engine }));
  }
});
afterAll(async () => {
  for (const base of bases.values()) await base.close();
  await engine.close();
  await rm(folder, { recursive: true });
});

const batchesOf = (family: string): Batch[] =>
  (readJson(join(root, `${family}.json`)) as Parameters<typeof toBatch>[0][]).map(toBatch);

const floats = (file: SafetensorsFile, name: string): Float32Array => file.read(name).data as Float32Array;

/** B A of a pair, (out, in). */
function product(A: Float32Array, B: Float32Array, r: number): Float32Array {
  const [width, out] = [A.length / r, B.length / r];
  return Float32Array.from({ length: out * width }, (_, at) => {
    let sum = 0;
    for (let k = 0; k < r; k += 1) sum += B[Math.floor(at / width) * r + k]! * A[k * width + (at % width)]!;
    return sum;
  });
}

describe.each(cases)("$family $case", (entry) => {
  const { family, settled } = entry;
  const config = { peftType: "LORA", ...camel(entry.options) } as PeftConfig;

  test("starts as in Python, and is saved so that it comes back", async () => {
    const base = bases.get(family)!;
    const batches = batchesOf(family);
    const file = await openSafetensors(join(root, `${family}-${entry.case}.safetensors`));
    const model = await getPeftModel(base, config, { calibration: batches });
    const { tensors, places, config: own } = model.adapter();
    expect(places.map(({ path }) => path).sort()).toEqual(settled.targets);
    expect(own["rankPattern"]).toEqual(settled.rank_pattern);
    expect(own["alphaPattern"]).toEqual(settled.alpha_pattern);
    for (const path of settled.targets) {
      const [a, b] = ["A", "B"].map((key) => tensors.get(`base_model.model.${path}.lora_${key}.weight`)!);
      const [A, B] = [floats(file, `${path}.A`), floats(file, `${path}.B`)];
      expect(a!.shape, path).toEqual(file.tensors.get(`${path}.A`)!.shape);
      if (file.tensors.has(`${path}.change`)) {
        const r = a!.shape[0]!;
        expectClose(`B A of ${path}`, product(a!.data, b!.data, r), product(A, B, r), { absolute: 2e-4 });
      } else {
        expectClose(`A of ${path}`, a!.data, A, { absolute: 2e-3 });
        expectClose(`B of ${path}`, b!.data, B, { absolute: 2e-4 });
      }
    }
    const first = { inputIds: batches[0]!.inputIds };
    const before = (await base.forward(first)).logits.data;
    expectClose("logits", before, floats(file, "logits"));
    const out = join(folder, `${family}-${entry.case}`);
    await model.savePretrained(out);
    model.deleteAdapter("default");
    const again = await PeftModel.fromPretrained(base, out);
    expectClose("logits of what was saved", (await base.forward(first)).logits.data, before, {
      absolute: 5e-5,
    });
    again.deleteAdapter("default");
    file.close();
  });
});
