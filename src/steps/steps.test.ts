import { describe, expect, test } from "vitest";
import { bfloat16Bits, bfloat16ToFloat32, float16Bits, float16Value } from "../base/half.js";
import { Random } from "../base/random.js";
import { interpret } from "../graph/interpret.js";
import { type NdArray, ndArray, sizeOf } from "../graph/nd-array.js";
import { inputValue, nodeValue, type Value } from "../graph/value.js";
import { viewData } from "../base/host-tensor.js";
import { BYTES_PER_ELEMENT } from "../base/tensor-type.js";
import { ops } from "../ops/index.js";
import type { AnyOp, Attrs, Sample } from "../ops/op.js";
import { WorkerCrew } from "../runtime/worker-crew.js";
import { Arena } from "./arena.js";
import { arrange, type BlockTensor, filledRows } from "./arrange.js";
import type { Cells } from "./cells.js";
import { emitGraph } from "./emit-graph.js";
import { NoSteps, StepEmitter } from "./emitter.js";
import { StepProgram } from "./program.js";

const { add, byteMatmul, cast, gather, matmul, packedMatmul, packedOffsetMatmul, silu, rmsNorm } = ops;

/** Samples that have no steps, and why. */
const WITHOUT = new Map([
  ...["add 1", "sub 1", "mul 1", "div 1"].map((title) => [title, "operands do not fit"] as const),
  ["cast 0", "from float32 to float64"],
  ["slice 1", "a slice of more than two axes"],
  ["sum 0", "a sum over rows"],
  ["concat 1", "rows one below the other"],
  ["matmul 2", "the left side is turned"],
  ["matmul 3", "the left side is turned"],
  ["matmul 4", "more than two axes"],
  ["matmul 5", "more than two axes"],
]);

const cases = Object.values(ops).flatMap((op) => {
  const definition = op.definition as unknown as AnyOp;
  if (definition.steps === undefined) return [];
  return definition.samples.map((sample, i) => ({
    title: `${definition.name} ${i}`,
    definition,
    sample: sample as Sample<Attrs>,
  }));
});

/** What kernels read in the place of a tensor of a matrix in blocks. */
const blockTensor = ({ name, codes }: AnyOp, i: number): BlockTensor | undefined => {
  if (codes !== true || i === 0) return undefined;
  if (i > 1) return "numbers";
  return name === "byteMatmul" ? "bytes" : "nibbles";
};

function place(arena: Arena, array: NdArray, value: Value, kind?: BlockTensor): Cells {
  const { dtype } = value.type;
  const { dims } = array;
  const data = viewData(dtype, new ArrayBuffer(array.data.length * 8), 0, array.data.length);
  array.data.forEach((v, i) => (data[i] = dtype === "int64" ? BigInt(v) : v));
  const bytes = new Uint8Array(data.buffer, 0, data.byteLength);
  const rows = dims[0] ?? 1;
  const size = kind === undefined ? bytes.length : (bytes.length / rows) * filledRows(rows);
  const address = arena.allocate(size)!;
  if (kind === undefined) arena.bytesAt(address, size).set(bytes);
  else arrange(kind, bytes, rows, 0, arena.bytesAt(address, size));
  return { address, origin: address, dims, dtype, stride: dims.at(-1) ?? 1 };
}

/** The numbers of a value, row by row. */
function read(arena: Arena, { address, dims, stride }: Cells): number[] {
  const width = dims.at(-1) ?? 1;
  const rows = dims.reduce((a, b) => a * b, 1) / width;
  return Array.from({ length: rows }, (_, row) => [
    ...arena.floats(address + row * stride * BYTES_PER_ELEMENT.float32, width),
  ]).flat();
}

/** Results of a graph in steps, by so many threads, in its second run. */
async function runSteps(
  inputs: readonly Value[],
  y: Value,
  arrays: readonly NdArray[],
  threads: number,
  kinds: (i: number) => BlockTensor | undefined = () => undefined,
): Promise<number[]> {
  const arena = new Arena();
  const cells = new Map(inputs.map((input, i) => [input, place(arena, arrays[i]!, input, kinds(i))]));
  const emit = new StepEmitter(arena, threads);
  const [result] = emitGraph(emit, { inputs, outputs: [y] }, cells, ({ shape }) => shape as number[]);
  const crew = new WorkerCrew(arena.memory, threads);
  const program = new StepProgram(emit);
  await crew.run(program.address, 1);
  await crew.run(program.address, 2);
  const numbers = read(arena, result!);
  await crew.close();
  return numbers;
}

/** Numbers as samples ask for them. */
function sampled(sample: Sample<Attrs>, random: Random): NdArray[] {
  return sample.inputs.map(({ shape, kind, below, values }) => {
    const draw = (): number => {
      if (kind === "index") return Math.floor(random.next() * below!);
      if (kind === "positive") return 0.5 + random.next();
      return kind === "uniform" ? random.next() : random.normal();
    };
    return ndArray(shape, Float64Array.from(values ?? Array.from({ length: sizeOf(shape) }, draw)));
  });
}

/** x Wᵀ of an op that rounds x: what it gives for rows of the unit matrix, which it does not round, tells W. */
function unrounded(definition: AnyOp, arrays: readonly NdArray[], attrs: Attrs): number[] {
  const [x, ...rest] = arrays as [NdArray, ...NdArray[]];
  const [rows, width] = x.dims as [number, number];
  const unit = ndArray([width, width]);
  for (let i = 0; i < width; i += 1) unit.data[i * width + i] = 1;
  const turned = definition.evaluate([unit, ...rest], attrs);
  const out = turned.dims[1]!;
  return Array.from({ length: rows * out }, (_, i) => {
    const [row, column] = [Math.floor(i / out), i % out];
    let sum = 0;
    for (let k = 0; k < width; k += 1) sum += x.data[row * width + k]! * turned.data[k * out + column]!;
    return sum;
  });
}

describe("steps against the reference", () => {
  test.each(cases)("$title", async ({ title, definition, sample }) => {
    const arrays = sampled(sample, new Random(11));
    const inputs = sample.inputs.map(({ shape, dtype = "float32" }, i) =>
      inputValue(`x${i}`, { dtype, shape }),
    );
    const type = definition.infer(inputs.map((input) => input.type) as never, sample.attrs);
    const y = nodeValue(definition, inputs, sample.attrs, type);
    const run = runSteps(inputs, y, arrays, 1, (i) => blockTensor(definition, i));
    const layout = sample.inputs.at(-1)?.shape.join() === "3" ? sample.inputs.at(-1) : sample.inputs[7];
    const manyTokens = definition.name.startsWith("cached") && layout?.values?.[1] !== 1;
    const why = manyTokens ? "more than one token a row" : WITHOUT.get(title);
    if (why !== undefined) {
      await expect(run).rejects.toThrow(NoSteps);
      await expect(run).rejects.toThrow(why);
      return;
    }
    const expected =
      definition.rounds === true
        ? unrounded(definition, arrays, sample.attrs)
        : [...interpret({ inputs, outputs: [y] }, arrays)[0]!.data];
    const actual = await run;
    expect(actual).toHaveLength(expected.length);
    const largest = Math.max(...expected.map(Math.abs));
    // Products of blocks are of numbers of 16 bits.
    const near = definition.codes === true ? 1e-4 : 1e-6;
    expected.forEach((v, i) =>
      expect(Math.abs(actual[i]! - v), `element ${i}`).toBeLessThan(near * (1 + largest)),
    );
  });

  test("what is said to have no steps has samples", () => {
    for (const title of WITHOUT.keys()) expect(cases.map((one) => one.title)).toContain(title);
  });
});

describe.each(["bfloat16", "float16"] as const)("weights of 16 bits: %s", (dtype) => {
  test.each([
    [1, 24, 13],
    [3, 256, 520],
    [2, 37, 6],
  ])("%s rows of %s numbers, %s rows of W", async (rows, inner, out) => {
    const random = new Random(3);
    const x = inputValue("x", { dtype: "float32", shape: [rows, inner] });
    const w = inputValue("w", { dtype, shape: [out, inner] });
    const index = inputValue("index", { dtype: "int64", shape: [rows] });
    // With the smallest numbers of float16, which have no leading one, zeros, and large ones.
    const scale = (i: number): number => [1, 1e-6, 0, 300][i % 4]!;
    const bits = Uint16Array.from({ length: out * inner }, (_, i) =>
      (dtype === "float16" ? float16Bits : bfloat16Bits)(random.normal() * scale(i)),
    );
    const values = Float64Array.from(
      dtype === "float16" ? Array.from(bits, float16Value) : bfloat16ToFloat32(bits),
    );
    const numbers = Float64Array.from({ length: rows * inner }, () => random.normal());
    const rowNumbers = Float64Array.from({ length: rows }, (_, i) => (5 * i + 1) % out);
    const arrays = [
      ndArray([rows, inner], numbers),
      ndArray([out, inner], Float64Array.from(bits)),
      ndArray([rows], rowNumbers),
    ];
    const product = matmul(x, cast(w, { to: "float32" }), { transposeB: true, alpha: 0.5 });
    for (const threads of [1, 3]) {
      const y = await runSteps([x, w], product, arrays, threads);
      for (let i = 0; i < rows * out; i += 1) {
        let [sum, size] = [0, 0];
        for (let k = 0; k < inner; k += 1) {
          const term = numbers[Math.floor(i / out) * inner + k]! * values[(i % out) * inner + k]! * 0.5;
          sum += term;
          size += Math.abs(term);
        }
        expect(Math.abs(y[i]! - sum), `element ${i}`).toBeLessThan(1e-6 * size);
      }
    }
    const gathered = await runSteps(
      [w, index],
      cast(gather(w, index), { to: "float32" }),
      arrays.slice(1),
      1,
    );
    const expected = [...rowNumbers].flatMap((row) => [...values.subarray(row * inner, (row + 1) * inner)]);
    expect(gathered).toEqual(expected);
  });

  test("other kernels do not read them", async () => {
    const x = inputValue("x", { dtype, shape: [4] });
    await expect(runSteps([x], silu(x), [ndArray([4], new Float64Array(4))], 1)).rejects.toThrow(NoSteps);
  });
});

/** A graph with products of every kind, long enough for threads to share them, and what runs between them. */
function deepGraph(rows: number): {
  inputs: Value[];
  y: Value;
  arrays: NdArray[];
  kinds: (i: number) => BlockTensor | undefined;
} {
  const random = new Random(5);
  const [width, out] = [256, 520];
  const inputs: Value[] = [];
  const arrays: NdArray[] = [];
  const kinds: (BlockTensor | undefined)[] = [];
  const input = (shape: readonly number[], kind?: BlockTensor): Value => {
    const codes = kind === "nibbles" || kind === "bytes";
    const value = inputValue(`x${inputs.length}`, { dtype: codes ? "uint8" : "float32", shape });
    const draw = (): number => (codes ? Math.floor(random.next() * 256) : random.normal() * 0.1);
    inputs.push(value);
    arrays.push(ndArray(shape, Float64Array.from({ length: sizeOf(shape) }, draw)));
    kinds.push(kind);
    return value;
  };
  let x = input([rows, width]);
  for (let layer = 0; layer < 3; layer += 1) {
    const h = rmsNorm(x, input([width]), { epsilon: 1e-5 });
    const blocks = [out, width / 32];
    const a = packedMatmul(h, input([...blocks, 16], "nibbles"), input(blocks, "numbers"));
    const offsets = input(blocks, "numbers");
    const b = packedOffsetMatmul(h, input([...blocks, 16], "nibbles"), input(blocks, "numbers"), offsets);
    const c = byteMatmul(h, input([out, width / 16, 16], "bytes"), input([out, width / 16], "numbers"));
    const sum = add(add(silu(a), b), c);
    x = add(x, matmul(sum, input([width, out]), { transposeB: true }));
  }
  return { inputs, y: x, arrays, kinds: (i) => kinds[i] };
}

describe.each([1, 2, 3])("rows: %s", (rows) => {
  test("any number of threads computes the same", async () => {
    const { inputs, y, arrays, kinds } = deepGraph(rows);
    const one = await runSteps(inputs, y, arrays, 1, kinds);
    expect(one.every(Number.isFinite)).toBe(true);
    for (const threads of [2, 5]) expect(await runSteps(inputs, y, arrays, threads, kinds)).toEqual(one);
  });
});
