import { ndArray, rowsOf } from "../graph/nd-array.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/**
 * y = ln Σ_j e^(x_j) − x_label for every row.
 *
 * Shapes: x (N, V), labels (N) int64 → (N).
 */
export const crossEntropy: Op<2> = defineOp({
  name: "crossEntropy",
  arity: 2,
  infer([x, labels]) {
    if (x.shape.length !== 2 || labels.shape.length !== 1) {
      throw shapeMismatch("crossEntropy", "takes scores (N, V) and labels (N)", [x, labels]);
    }
    return { dtype: x.dtype, shape: [x.shape[0]!] };
  },
  gradient: ({ f, dy, inputs: [x, labels] }) => [f.crossEntropyGradient(x, labels, dy), undefined],
  lower({ emit, inputs: [x, labels] }) {
    // ReduceLogSumExp adds one by one and is off in the fourth digit for vocabularies of 49,152; ReduceSum is not.
    const last = emit.constant("int64", [1], [-1]);
    const top = emit.node("ReduceMax", [x, last], { attributes: { keepdims: 1 } });
    const shares = emit.node("Exp", [emit.node("Sub", [x, top])]);
    const total = emit.node("ReduceSum", [shares, last], { attributes: { keepdims: 1 } });
    const column = emit.node("Unsqueeze", [labels, last]);
    const picked = emit.node("GatherElements", [x, column], { attributes: { axis: 1 } });
    const loss = emit.node("Sub", [emit.node("Add", [emit.node("Log", [total]), top]), picked]);
    return emit.node("Squeeze", [loss, last]);
  },
  evaluate([x, labels]) {
    const losses = rowsOf(x).map((row, i) => {
      const top = Math.max(...row);
      return top + Math.log(row.reduce((sum, v) => sum + Math.exp(v - top), 0)) - row[labels.data[i]!]!;
    });
    return ndArray([x.dims[0]!], Float64Array.from(losses));
  },
  samples: [
    { inputs: [{ shape: [4, 6] }, { shape: [4], kind: "index", below: 6, dtype: "int64" }], attrs: {} },
  ],
});
