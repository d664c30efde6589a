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

/** Singular vectors with their signs turned to those of Python: rows of A (r, in), or columns of B (out, r). */
function withSigns(actual: Float32Array, expected: Float32Array, r: number, which: "A" | "B"): Float32Array {
  const length = actual.length / r;
  const at = (k: number, i: number): number => (which === "A" ? k * length + i : i * r + k);
  const result = actual.slice();
  for (let k = 0; k < r; k += 1) {
    let dot = 0;
    for (let i = 0; i < length; i += 1) dot += actual[at(k, i)]! * expected[at(k, i)]!;
    if (dot < 0) for (let i = 0; i < length; i += 1) result[at(k, i)] = -actual[at(k, i)]!;
  }
  return result;
}

/** What is allowed between the pairs: directions that Python finds roughly, from random numbers. */
const NEAR: Readonly<Record<string, number>> = { eva: 2e-3, ga: 2e-3 };

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
      const r = a!.shape[0]!;
      const near = { absolute: NEAR[entry.case.split("-")[0]!] ?? 5e-4, relative: 1e-3 };
      const [ours, oursB] = [withSigns(a!.data, A, r, "A"), withSigns(b!.data, B, r, "B")];
      expectClose(`A of ${path}`, ours, A, near);
      expectClose(`B of ${path}`, oursB, B, near);
      if (!file.tensors.has(`${path}.change`)) continue;
      // What the base goes on without is what A and B start as.
      const [alpha, root] = [Number(own["loraAlpha"]), own["useRslora"] === true ? Math.sqrt(r) : r];
      const change = product(ours, oursB, r).map((value) => (value * alpha) / root);
      expectClose(`change of ${path}`, change, floats(file, `${path}.change`), {
        absolute: 2e-4,
        relative: 1e-3,
      });
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
