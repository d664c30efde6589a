import { readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gradients } from "../autodiff/gradients.js";
import { Random } from "../base/random.js";
import { interpret } from "../graph/interpret.js";
import { type NdArray, ndArray, sizeOf } from "../graph/nd-array.js";
import type { DType } from "../base/tensor-type.js";
import { inputValue, nodeValue, type Value } from "../graph/value.js";
import { lowerGraph } from "../onnx/lower.js";
import type { Engine } from "../runtime/engine.js";
import { createEngine } from "../runtime/engines.js";
import { hostTensor, viewData, zeros } from "../base/host-tensor.js";
import { ops } from "./index.js";
import { type AnyOp, type Attrs, besides, type Sample, type SampleInput } from "./op.js";

const cases = Object.values(ops).flatMap((op) => {
  const definition = op.definition as unknown as AnyOp;
  return definition.samples.map((sample, i) => ({
    title: `${definition.name} ${i}`,
    definition,
    sample: sample as Sample<Attrs>,
  }));
});

function makeInput(input: SampleInput, random: Random): NdArray {
  if (input.values !== undefined) return ndArray(input.shape, Float64Array.from(input.values));
  const draw = (): number => {
    if (input.kind === "index") return Math.floor(random.next() * input.below!);
    if (input.kind === "positive") return 0.5 + random.next();
    if (input.kind === "uniform") return random.next();
    return random.normal();
  };
  return ndArray(input.shape, Float64Array.from({ length: sizeOf(input.shape) }, draw));
}

function build(definition: AnyOp, sample: Sample<Attrs>, float: DType): { inputs: Value[]; y: Value } {
  const inputs = sample.inputs.map((input, i) =>
    inputValue(`x${i}`, { dtype: input.dtype ?? float, shape: input.shape }),
  );
  const type = definition.infer(inputs.map((input) => input.type) as never, sample.attrs);
  return { inputs, y: nodeValue(definition, inputs, sample.attrs, type) };
}

test("every file of the room is in the registry", () => {
  const files = readdirSync(import.meta.dirname).filter((name) => !/^(op|index)\.ts$|\.test\.ts$/.test(name));
  expect(Object.keys(ops)).toHaveLength(files.length);
  for (const op of Object.values(ops)) expect(op.definition.samples.length).toBeGreaterThan(0);
});

describe("gradient against central differences in float64", () => {
  test.each(cases)("$title", ({ definition, sample }) => {
    if (definition.firstOrder === true || definition.rounds === true || sample.inputs.length === 0) return;
    const random = new Random(7);
    const { inputs, y } = build(definition, sample, "float64");
    const arrays = sample.inputs.map((input) => makeInput(input, random));
    const outDims = interpret({ inputs, outputs: [y] }, arrays)[0]!.dims;
    const weights = ndArray(
      outDims,
      Float64Array.from({ length: sizeOf(outDims) }, () => random.normal()),
    );
    const dy = inputValue("dy", { dtype: y.type.dtype, shape: outDims });
    const wrt = inputs.filter((input) => input.type.dtype === "float64");
    const results = gradients(new Map([[y, dy]]), wrt);
    const loss = (): number => {
      const [out] = interpret({ inputs, outputs: [y] }, arrays);
      return out!.data.reduce((total, v, i) => total + v * weights.data[i]!, 0);
    };
    for (const [i, x] of wrt.entries()) {
      const gradient = results[i];
      if (gradient === undefined) continue;
      const [computed] = interpret({ inputs: [...inputs, dy], outputs: [gradient] }, [...arrays, weights]);
      const data = arrays[inputs.indexOf(x)]!.data;
      for (let j = 0; j < data.length; j += 1) {
        const [before, step] = [data[j]!, 1e-5];
        data[j] = before + step;
        const up = loss();
        data[j] = before - step;
        const down = loss();
        data[j] = before;
        expect(computed!.data[j]!, `d/d${x.name}[${j}]`).toBeCloseTo((up - down) / (2 * step), 6);
      }
    }
  });
});

describe.each(["ort-native", "ort-node"] as const)("%s against the reference", (engineName) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createEngine({ engine: engineName });
  });
  afterAll(() => engine.close());

  describe.each(["float32", "float64"] as const)("%s", (float) => {
    test.each(cases)("$title", async ({ definition, sample }) => {
      if (float === "float64" && definition.float32Only === true) return;
      const random = new Random(11);
      const { inputs, y } = build(definition, sample, float);
      const arrays = sample.inputs.map((input) => makeInput(input, random));
      const outputs = [y, ...(definition.more === undefined ? [] : besides(y))];
      const expected = interpret({ inputs, outputs }, arrays);
      expect(outputs.map(({ type }) => type.shape)).toEqual(expected.map(({ dims }) => dims));
      const tensors = arrays.map((array, i) => {
        const dtype = inputs[i]!.type.dtype;
        const data = viewData(dtype, new ArrayBuffer(array.data.length * 8), 0, array.data.length);
        array.data.forEach((v, j) => (data[j] = dtype === "int64" ? BigInt(v) : v));
        return hostTensor(dtype, array.dims, data);
      });
      // Codes of blocks are constants of the graphs that are run, and kernels do other things with constants.
      const constant = (i: number): boolean => definition.codes === true && i > 0;
      const constants = new Map(
        inputs.flatMap((input, i) => (constant(i) ? [[input, tensors[i]!] as const] : [])),
      );
      const graph = { name: definition.name, inputs, outputs };
      const session = await engine.compile(lowerGraph(graph, engine.capabilities, constants), {
        prepack: constants.size > 0,
      });
      const results = expected.map(({ dims }) => zeros(y.type.dtype, dims));
      await session.run(
        tensors.filter((__, i) => !constant(i)),
        results,
      );
      await session.close();
      const digits = y.type.dtype === "float64" && inputs.every((x) => x.type.dtype !== "float32") ? 9 : 4;
      for (const [i, { data }] of results.entries()) {
        const of = `result ${i}, element`;
        expected[i]!.data.forEach((v, j) => expect(Number(data[j]), `${of} ${j}`).toBeCloseTo(v, digits));
      }
    });
  });
});
