import { type HostTensor, hostTensor, zeros } from "../base/host-tensor.js";
import { encodeModel, type OnnxModel } from "../onnx/model.js";
import type { Engine } from "../runtime/engine.js";
import type { Flops } from "./flops.js";

const [M, K, N] = [512, 576, 1536];
const RUNS = 12;

const product: Omit<OnnxModel, "nodes" | "constants" | "inputs"> = {
  name: "matmul_peak",
  outputs: [["y", { dtype: "float32", shape: [M, N] }]],
};

const float32Product: OnnxModel = {
  ...product,
  nodes: [{ opType: "MatMul", name: "y", domain: "", inputs: ["a", "b"], outputs: ["y"], attributes: {} }],
  constants: [],
  inputs: [
    ["a", { dtype: "float32", shape: [M, K] }],
    ["b", { dtype: "float32", shape: [K, N] }],
  ],
};

const int8Product: OnnxModel = {
  ...product,
  nodes: [
    {
      opType: "MatMulIntegerToFloat",
      name: "y",
      domain: "com.microsoft",
      inputs: ["a", "b", "one", "one", "zero"],
      outputs: ["y"],
      attributes: {},
    },
  ],
  constants: [
    { name: "one", dtype: "float32", dims: [], values: [1] },
    { name: "zero", dtype: "uint8", dims: [], values: [128] },
  ],
  inputs: [
    ["a", { dtype: "uint8", shape: [M, K] }],
    ["b", { dtype: "int8", shape: [K, N] }],
  ],
};

async function peakOf(engine: Engine, model: OnnxModel, inputs: readonly HostTensor[]): Promise<number> {
  const session = await engine.compile(encodeModel(model));
  const y = zeros("float32", [M, N]);
  let best = Infinity;
  for (let i = 0; i < RUNS; i += 1) {
    const start = performance.now();
    await session.run(inputs, [y]);
    best = Math.min(best, performance.now() - start);
  }
  await session.close();
  return (2 * M * K * N) / (best / 1000);
}

/** Operations a second of the fastest of a few matrix products, (512, 576) by (576, 1536), of float32 and of 8-bit integers. */
export async function matmulPeaks(engine: Engine): Promise<Flops> {
  const float32 = await peakOf(engine, float32Product, [
    hostTensor("float32", [M, K], new Float32Array(M * K).fill(0.5)),
    hostTensor("float32", [K, N], new Float32Array(K * N).fill(0.5)),
  ]);
  const int8 = await peakOf(engine, int8Product, [
    hostTensor("uint8", [M, K], new Uint8Array(M * K).fill(131)),
    hostTensor("int8", [K, N], new Int8Array(K * N).fill(5)),
  ]);
  return { float32, int8 };
}
