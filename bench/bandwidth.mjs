// How fast the runtime reads memory: a row times a matrix that no cache holds.
import { hostTensor, zeros } from "../dist/base/host-tensor.js";
import { encodeModel } from "../dist/onnx/model.js";

const [ROWS, COLUMNS, RUNS] = [8192, 8192, 8];

/** Bytes a second of the fastest of a few products (1, 8192) by (8192, 8192). */
export async function readBandwidth(engine) {
  const type = (...shape) => ({ dtype: "float32", shape });
  const session = await engine.compile(
    encodeModel({
      name: "bandwidth",
      nodes: [
        { opType: "MatMul", name: "y", domain: "", inputs: ["x", "w"], outputs: ["y"], attributes: {} },
      ],
      constants: [],
      inputs: [
        ["x", type(1, ROWS)],
        ["w", type(ROWS, COLUMNS)],
      ],
      outputs: [["y", type(1, COLUMNS)]],
    }),
  );
  const filled = (...dims) =>
    hostTensor("float32", dims, new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(0.5));
  const [x, w, y] = [filled(1, ROWS), filled(ROWS, COLUMNS), zeros("float32", [1, COLUMNS])];
  let best = Infinity;
  for (let i = 0; i < RUNS; i += 1) {
    const start = performance.now();
    await session.run([x, w], [y]);
    best = Math.min(best, performance.now() - start);
  }
  await session.close();
  return (4 * ROWS * COLUMNS) / (best / 1000);
}
