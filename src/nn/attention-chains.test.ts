import { expect, test } from "vitest";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import { getPeftModel } from "../peft/get-peft-model.js";
import { tinyConfig } from "../testing/tiny-model.js";
import { chainsOf, largestTile } from "./attention-chains.js";
import type { Group } from "./attention-tiles.js";

/** Rows of so many tokens in tiles of 10 queries, each of which sees all keys before. */
const planOf = (...lengths: number[]): Group[] =>
  lengths.map((length) => ({
    keys: [0, length] as const,
    tiles: Array.from({ length: length / 10 }, (_, i) => ({
      queries: [10 * i, 10 * i + 10] as const,
      keys: [0, 10 * i + 10] as const,
      mask: undefined,
      buckets: undefined,
    })),
  }));

/** For each chain: its group, and the last queries of its tiles. */
const shown = (plan: readonly Group[]): string[] =>
  chainsOf(plan).map(({ group, tiles }) => `${group}: ${tiles.map(({ queries }) => queries[1]).join(" ")}`);

test("rows with about a quarter of the work stay whole, and longer ones are cut", () => {
  expect(shown(planOf(20, 20, 20, 20))).toEqual(["0: 10 20", "1: 10 20", "2: 10 20", "3: 10 20"]);
  expect(shown(planOf(50))).toEqual(["0: 10 50", "0: 20", "0: 30", "0: 40"]);
  expect(shown(planOf(40, 10, 10))).toEqual(["0: 10 40", "0: 20", "0: 30", "1: 10", "2: 10"]);
  expect(shown(planOf(10))).toEqual(["0: 10"]);
  expect(largestTile(planOf(20, 40, 10))).toBe(10 * 40);
});

test("side by side and one after another give the same bits", async () => {
  const base = await AutoModelForCausalLM.fromConfig({
    ...tinyConfig("llama"),
    max_position_embeddings: 512,
  });
  const model = await getPeftModel(base, { peftType: "PREFIX_TUNING", numVirtualTokens: 3 });
  const row = (length: number): number[] => Array.from({ length }, (_, i) => 1 + ((i * 7) % 11));
  const rows = [row(400), row(60), row(90)];
  const resultsWith = async (lanes: number): Promise<unknown> => {
    base.runner.attention.lanes = lanes;
    const { loss } = await model.backward({ inputIds: rows, labels: rows });
    const grads = model.trainableParameters().map(({ grad }) => Float32Array.from(grad!));
    for (const parameter of model.trainableParameters()) parameter.grad = undefined;
    return { loss, grads };
  };
  expect(base.runner.attention.lanes).toBeGreaterThan(1);
  expect(await resultsWith(4)).toEqual(await resultsWith(1));
  await base.close();
});
