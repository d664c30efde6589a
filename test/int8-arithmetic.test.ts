import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gradients } from "../src/autodiff/gradients.js";
import { interpret } from "../src/graph/interpret.js";
import { ndArray } from "../src/graph/nd-array.js";
import { inputValue, type Value } from "../src/graph/value.js";
import { ops } from "../src/ops/index.js";
import { toInt8 } from "../src/steps/to-int8.js";
import { largestExactInt8 } from "../src/nn/int8-check.js";
import {
  AutoModelForCausalLM,
  createEngine,
  getPeftModel,
  takeSnapshot,
  verifyOnlyAdapterMoved,
  AdamW,
} from "../src/index.js";
import type { Engine } from "../src/runtime/engine.js";

const fixture = (name: string): string => join(import.meta.dirname, "fixtures", name);
const inputIds = [[3, 17, 29, 5, 41, 8, 2, 30, 11]];
const batch = { inputIds, labels: inputIds };

test.each([127, 64] as const)(
  "a weight in steps up to %i is within half a step of each column, as it stands and turned",
  (steps) => {
    const data = Float32Array.from({ length: 15 }, (_, i) => Math.sin(3 * i) * (1 + i));
    const { asStored, turned } = toInt8(data, [3, 5], steps, ["asStored", "turned"]);
    for (const { codes } of [asStored, turned])
      expect(Math.max(...[...(codes.data as Int8Array)].map(Math.abs))).toBe(steps);
    for (let r = 0; r < 3; r += 1) {
      for (let c = 0; c < 5; c += 1) {
        const [columnScale, rowScale] = [asStored.scales.data[c] as number, turned.scales.data[r] as number];
        const value = data[r * 5 + c]!;
        expect(
          Math.abs((asStored.codes.data[r * 5 + c] as number) * columnScale - value),
        ).toBeLessThanOrEqual(columnScale * 0.501);
        expect(Math.abs((turned.codes.data[c * 3 + r] as number) * rowScale - value)).toBeLessThanOrEqual(
          rowScale * 0.501,
        );
      }
    }
  },
);

test("a product that is rounded forward alone has the gradient of the rounded matrix, or the one it is given", () => {
  const x = inputValue("x", { dtype: "float64", shape: [2, 3] });
  const codes = inputValue("codes", { dtype: "int8", shape: [3, 2] });
  const scales = inputValue("scales", { dtype: "float64", shape: [2] });
  const dy = inputValue("dy", { dtype: "float64", shape: [2, 2] });
  const arrays = [
    ndArray([2, 3], Float64Array.of(1, -2, 3, 0.5, 0, 4)),
    ndArray([3, 2], Float64Array.of(5, -7, 64, 2, 0, 11)),
    ndArray([2], Float64Array.of(0.5, 0.25)),
    ndArray([2, 2], Float64Array.of(1, 2, 3, -4)),
  ];
  const gradient = (inputGradient?: (given: Value) => Value): readonly number[] => {
    const y = ops.int8ForwardMatmul(x, codes, scales, inputGradient === undefined ? {} : { inputGradient });
    const [dx] = gradients(new Map([[y, dy]]), [x]);
    return [...interpret({ inputs: [x, codes, scales, dy], outputs: [dx!] }, arrays)[0]!.data];
  };
  // dy · scales = (0.5, 0.5), (1.5, −1)
  expect(gradient()).toEqual([-1, 33, 5.5, 14.5, 94, -11]);
  expect(gradient(() => ops.scale(x, { by: 2 }))).toEqual([2, -4, 6, 1, 0, 8]);
});

test("blocks of a file are multiplied in 8 bits until something is trained, the head included", async () => {
  const scores = async (arithmetic: "float32" | "int8"): Promise<number[]> => {
    await using base = await AutoModelForCausalLM.fromPretrained(fixture("gguf/llama.gguf"), {
      arithmetic,
      onWarning: () => undefined,
    });
    return [...(await base.forward({ inputIds })).logits.data];
  };
  const [exactly, fast] = [await scores("float32"), await scores("int8")];
  const norm = (values: readonly number[]): number => Math.hypot(...values);
  const error = norm(fast.map((value, i) => value - exactly[i]!)) / norm(exactly);
  expect(error).toBeLessThan(0.15);
  const engine = await createEngine();
  if ((await largestExactInt8(engine)) !== undefined) expect(error).toBeGreaterThan(0);
  await engine.close();
});

describe.each(["ort-native", "ort-node"] as const)("training in int8 on %s", (name) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createEngine({ engine: name });
  });
  afterAll(() => engine.close());

  // Linear layers keep W as (out, in), those of GPT-2 as (in, out); the blocks of a GGUF file are decoded first.
  test.each(["llama/model", "gpt2/model", "gguf/llama.gguf"])(
    "%s: loss and gradients are near those of float32, and only the adapter moves",
    async (model) => {
      // A processor without the instructions has weights of 7 bits, or computes in float32, which is near itself.
      const largest = await largestExactInt8(engine);
      const run = async (arithmetic: "float32" | "int8") => {
        const warnings: string[] = [];
        await using base = await AutoModelForCausalLM.fromPretrained(fixture(model), {
          engine,
          arithmetic,
          onWarning: (text) => warnings.push(text),
        });
        const adapted = await getPeftModel(base, {
          peftType: "LORA",
          initLoraWeights: false,
          targetModules: "all-linear",
        });
        const optimizer = new AdamW(adapted.trainableParameters(), { learningRate: 1e-3 });
        const before = takeSnapshot(adapted);
        const { loss } = await adapted.backward(batch);
        const gradient = adapted.trainableParameters().flatMap(({ grad }) => [...grad!]);
        await optimizer.step();
        expect(verifyOnlyAdapterMoved(adapted, before)).toMatchObject({ ok: true, baseChanged: [] });
        return { loss, gradient, warnings };
      };
      const [exactly, fast] = [await run("float32"), await run("int8")];
      expect(fast.warnings.length > 0).toBe(largest !== 127);
      expect(Math.abs(fast.loss - exactly.loss)).toBeLessThan(0.02 * exactly.loss);
      expect(fast.gradient.length).toBe(exactly.gradient.length);
      const dot = (a: readonly number[], b: readonly number[]): number =>
        a.reduce((sum, value, i) => sum + value * b[i]!, 0);
      const norm = (a: readonly number[]): number => Math.sqrt(dot(a, a));
      const cosine = dot(fast.gradient, exactly.gradient) / (norm(fast.gradient) * norm(exactly.gradient));
      expect(cosine).toBeGreaterThan(0.98);
      if (largest !== undefined) expect(fast.loss).not.toBe(exactly.loss);
    },
  );
});
