import { hostTensor, zeros } from "../base/host-tensor.js";
import { inputValue } from "../graph/value.js";
import { lowerGraph } from "../onnx/lower.js";
import { ops } from "../ops/index.js";
import type { Engine } from "../runtime/engine.js";
import type { LargestInt8 } from "./int8-weights.js";

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
