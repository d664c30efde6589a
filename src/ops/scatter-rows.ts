import { ndArray } from "../graph/nd-array.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/**
 * The transpose of `gather`: y has the shape of `like` and y[index[i]] += x[i].
 *
 * Shapes: x (N, D), index (N) int64, like (V, D) → (V, D).
 */
export const scatterRows: Op<3> = defineOp({
  name: "scatterRows",
  arity: 3,
  infer([x, index, like]) {
    if (
      x.shape.length !== index.shape.length + 1 ||
      like.shape.length !== 2 ||
      x.shape.at(-1) !== like.shape[1]
    ) {
      throw shapeMismatch("scatterRows", "takes rows (N, D), row numbers (N) and a table (V, D)", [
        x,
        index,
        like,
      ]);
    }
    return { dtype: x.dtype, shape: like.shape };
  },
  gradient: ({ f, dy, inputs: [, index] }) => [f.gather(dy, index), undefined, undefined],
  lower({ emit, inputs: [x, index, like], type }) {
    const zero = emit.node("Expand", [emit.constant(type.dtype, [], [0]), emit.node("Shape", [like])]);
    const rows = emit.node("Unsqueeze", [index, emit.constant("int64", [1], [-1])]);
    return emit.node("ScatterND", [zero, rows, x], { attributes: { reduction: "add" } });
  },
  evaluate([x, index, like]) {
    const width = like.dims[1]!;
    const y = ndArray(like.dims);
    index.data.forEach((row, i) => {
      for (let j = 0; j < width; j += 1) y.data[row * width + j]! += x.data[i * width + j]!;
    });
    return y;
  },
  sumsRows: true,
  table: 2,
  samples: [
    {
      inputs: [{ shape: [6, 3] }, { shape: [6], kind: "index", below: 4, dtype: "int64" }, { shape: [4, 3] }],
      attrs: {},
    },
  ],
});
