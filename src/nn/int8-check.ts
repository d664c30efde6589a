import { hostTensor, zeros } from "../base/host-tensor.js";
import { inputValue } from "../graph/value.js";
import { lowerGraph } from "../onnx/lower.js";
import { ops } from "../ops/index.js";
import type { Engine } from "../runtime/engine.js";

const WIDTH = 64;

/**
 * Whether products of bytes are exact on this machine: processors without instructions of their own for them add pairs in 16
 * bits, where large values are cut off, and the runtime says nothing.
 */
export async function hasExactInt8(engine: Engine): Promise<boolean> {
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
  const codes = hostTensor("int8", [WIDTH, WIDTH], new Int8Array(WIDTH * WIDTH).fill(127));
  const y = zeros("float32", [1, WIDTH]);
  await session.run([hostTensor("float32", [1, WIDTH], ones.data), codes, ones, codes, ones], [y]);
  await session.close();
  return [...(y.data as Float32Array)].every((value) => Math.abs(value - 127 * WIDTH) < 1);
}
