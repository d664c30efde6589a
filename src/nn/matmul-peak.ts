import { hostTensor, zeros } from "../base/host-tensor.js";
import { inputValue } from "../graph/value.js";
import { lowerGraph } from "../onnx/lower.js";
import { ops } from "../ops/index.js";
import type { Engine } from "../runtime/engine.js";

const [M, K, N] = [512, 576, 1536];

/** Floating-point operations a second of the fastest of a few float32 matrix products, (512, 576) by (576, 1536). */
export async function matmulPeak(engine: Engine): Promise<number> {
  const a = inputValue("a", { dtype: "float32", shape: [M, K] });
  const b = inputValue("b", { dtype: "float32", shape: [K, N] });
  const graph = { name: "matmul_peak", inputs: [a, b], outputs: [ops.matmul(a, b, {})] };
  const session = await engine.compile(lowerGraph(graph, engine.capabilities));
  const filled = (rows: number, columns: number) =>
    hostTensor("float32", [rows, columns], new Float32Array(rows * columns).fill(0.5));
  const [left, right, product] = [filled(M, K), filled(K, N), zeros("float32", [M, N])];
  let best = Infinity;
  for (let i = 0; i < 12; i += 1) {
    const start = performance.now();
    await session.run([left, right], [product]);
    best = Math.min(best, performance.now() - start);
  }
  await session.close();
  return (2 * M * K * N) / (best / 1000);
}
