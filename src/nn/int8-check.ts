import { hostTensor, zeros } from "../base/host-tensor.js";
import { inputValue } from "../graph/value.js";
import { lowerGraph } from "../onnx/lower.js";
import { ops } from "../ops/index.js";
import type { Engine } from "../runtime/engine.js";
import type { LargestInt8 } from "../steps/to-int8.js";

const WIDTH = 64;

/**
 * The largest code of weights whose products with bytes this machine adds exactly; undefined where there is none. Processors without
 * instructions of their own for it add pairs in 16 bits, where sums are cut off, and the runtime says nothing: 2 · 255 · 64 still fits.
 */
export async function largestExactInt8(engine: Engine): Promise<LargestInt8 | undefined> {
  const type = { dtype: "int8", shape: [WIDTH, WIDTH] } as const;
  const real = { dtype: "float32", shape: [WIDTH] } as const;
  const inputs = [
    inputValue("x", { dtype: "float32", shape: [1, WIDTH] }),
    inputValue("codes", type),
    inputValue("scales", real),
    inputValue("turned", type),
    inputValue("turnedScales", real),
  ] as const;
  const graph = { name: "int8 check", inputs, outputs: [ops.int8Matmul(...inputs)] };
  const session = await engine.compile(lowerGraph(graph, engine.capabilities), { name: graph.name });
  const ones = hostTensor("float32", [WIDTH], new Float32Array(WIDTH).fill(1));
  const x = hostTensor("float32", [1, WIDTH], ones.data);
  const isExact = async (code: number): Promise<boolean> => {
    const codes = hostTensor("int8", [WIDTH, WIDTH], new Int8Array(WIDTH * WIDTH).fill(code));
    const y = zeros("float32", [1, WIDTH]);
    await session.run([x, codes, ones, codes, ones], [y]);
    return [...(y.data as Float32Array)].every((value) => Math.abs(value - code * WIDTH) < 1);
  };
  const largest = (await isExact(127)) ? 127 : (await isExact(64)) ? 64 : undefined;
  await session.close();
  return largest;
}

/** Whether this machine adds products of blocks in codes of 8 bits exactly, be it one row or several; the runtime has kernels of their own for each. */
export async function addsByteBlocks(engine: Engine): Promise<boolean> {
  const codes = inputValue("codes", { dtype: "uint8", shape: [WIDTH, 1, WIDTH] });
  const scales = inputValue("scales", { dtype: "float32", shape: [WIDTH, 1] });
  const x = inputValue("x", { dtype: "float32", shape: ["N", WIDTH] });
  const graph = {
    name: "byte check",
    inputs: [x, codes, scales],
    outputs: [ops.byteMatmul(x, codes, scales)],
  };
  const extremes = [0, 255, 128, 1];
  const constants = new Map([
    [
      codes,
      hostTensor(
        "uint8",
        codes.type.shape as number[],
        Uint8Array.from({ length: WIDTH * WIDTH }, (_, i) => extremes[Math.floor(i / WIDTH) % 4]!),
      ),
    ],
    [scales, hostTensor("float32", [WIDTH, 1], new Float32Array(WIDTH).fill(1))],
  ]);
  const options = { name: graph.name, prepack: true };
  const session = await engine.compile(lowerGraph(graph, engine.capabilities, constants), options);
  let exact = true;
  for (const rows of [1, 8]) {
    for (const value of [1, -1]) {
      const input = hostTensor("float32", [rows, WIDTH], new Float32Array(rows * WIDTH).fill(value));
      const y = zeros("float32", [rows, WIDTH]);
      await session.run([input], [y]);
      exact &&= [...(y.data as Float32Array)].every(
        (sum, i) => Math.abs(sum - value * WIDTH * (extremes[i % 4]! - 128)) < 1,
      );
    }
  }
  await session.close();
  return exact;
}
