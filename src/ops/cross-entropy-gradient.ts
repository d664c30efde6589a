import { UnsupportedError } from "../base/errors.js";
import { ndArray, rowsOf } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/**
 * dx = (softmax(x) − onehot(label)) · dy, row by row: the gradient of `crossEntropy`, which has none itself.
 *
 * Shapes: x (N, V), labels (N) int64, dy (N) → (N, V).
 */
export const crossEntropyGradient: Op<3> = defineOp({
  name: "crossEntropyGradient",
  arity: 3,
  infer: ([x]) => x,
  gradient() {
    throw new UnsupportedError({
      code: "second_order",
      summary: "crossEntropyGradient has no gradient: second derivatives of the loss are not computed.",
    });
  },
  lower({ emit, inputs: [x, labels, dy] }) {
    const last = emit.constant("int64", [1], [-1]);
    const column = emit.node("Unsqueeze", [labels, last]);
    // The same first nodes as crossEntropy has: the runtime computes them once for both.
    const top = emit.node("ReduceMax", [x, last], { attributes: { keepdims: 1 } });
    const shares = emit.node("Exp", [emit.node("Sub", [x, top])]);
    const total = emit.node("ReduceSum", [shares, last], { attributes: { keepdims: 1 } });
    const scale = emit.node("Div", [emit.node("Unsqueeze", [dy, last]), total]);
    const scaled = emit.node("Mul", [shares, scale]);
    const minus = emit.node("Neg", [emit.node("Unsqueeze", [dy, last])]);
    return emit.node("ScatterElements", [scaled, column, minus], {
      attributes: { axis: 1, reduction: "add" },
    });
  },
  evaluate([x, labels, dy]) {
    const y = ndArray(x.dims, x.data.slice());
    rowsOf(y).forEach((row, n) => {
      const top = Math.max(...row);
      const total = row.reduce((sum, v) => sum + Math.exp(v - top), 0);
      row.forEach((v, i) => {
        row[i] = (Math.exp(v - top) / total - (i === labels.data[n] ? 1 : 0)) * dy.data[n]!;
      });
    });
    return y;
  },
  firstOrder: true,
  samples: [
    {
      inputs: [{ shape: [4, 6] }, { shape: [4], kind: "index", below: 6, dtype: "int64" }, { shape: [4] }],
      attrs: {},
    },
  ],
});
