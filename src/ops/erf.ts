import { erf as erfOf } from "../base/erf.js";
import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = erf x = 2/√π ∫₀ˣ e^(−t²) dt. */
export const erf: Op<1> = defineOp({
  name: "erf",
  arity: 1,
  infer: ([x]) => x,
  // dx = dy ⊙ 2/√π e^(−x²)
  gradient: ({ f, dy, inputs: [x] }) => [
    f.mul(dy, f.scale(f.exp(f.neg(f.mul(x, x))), { by: 2 / Math.sqrt(Math.PI) })),
  ],
  lower: ({ emit, inputs }) => emit.node("Erf", inputs),
  evaluate: ([x]) => unaryMap(x, erfOf),
  float32Only: true,
  samples: [{ inputs: [{ shape: [3, 4] }], attrs: {} }],
});
