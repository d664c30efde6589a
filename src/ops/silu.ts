import { unarySteps } from "../steps/elementwise.js";
import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/**
 * y = x · σ(x), also called swish.
 *
 * @see Elfwing et al., "Sigmoid-Weighted Linear Units", arXiv:1702.03118, eq. 7
 */
export const silu: Op<1> = defineOp({
  name: "silu",
  arity: 1,
  infer: ([x]) => x,
  // dx = dy ⊙ (σ + y ⊙ (1 − σ)), y = x σ
  gradient({ f, dy, y, inputs: [x] }) {
    const s = f.sigmoid(x);
    return [f.mul(dy, f.add(s, f.sub(y, f.mul(y, s))))];
  },
  lower: ({ emit, inputs }) =>
    emit.node("QuickGelu", inputs, { domain: "com.microsoft", attributes: { alpha: { float: 1 } } }),
  steps: ({ emit, inputs: [x] }) => unarySteps(emit, "silu", x),
  evaluate: ([x]) => unaryMap(x, (v) => v / (1 + Math.exp(-v))),
  float32Only: true,
  samples: [{ inputs: [{ shape: [3, 5] }], attrs: {} }],
});
