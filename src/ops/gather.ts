import { isHalf, rowsOf, widthOf } from "../steps/cells.js";
import { ndArray } from "../graph/nd-array.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/**
 * Rows of a table: y[…] = x[index[…]].
 *
 * Shapes: x (V, D), index (…) int64 → (…, D).
 */
export const gather: Op<2> = defineOp({
  name: "gather",
  arity: 2,
  infer([x, index]) {
    if (x.shape.length !== 2 || index.dtype !== "int64") {
      throw shapeMismatch("gather", "takes a table (V, D) and int64 row numbers", [x, index]);
    }
    return { dtype: x.dtype, shape: [...index.shape, x.shape[1]!] };
  },
  gradient: ({ f, dy, inputs: [x, index] }) => [() => f.scatterRows(dy, index, x), undefined],
  lower: ({ emit, inputs }) => emit.node("Gather", inputs, { attributes: { axis: 0 } }),
  steps({ emit, inputs: [x, index], dims }) {
    const y = emit.cells(dims);
    const [width, units] = [widthOf(x), rowsOf(y)];
    const words = [x.address, x.stride, index.address, y.address, width];
    const rest = { reads: [x, index], writes: [y], units, cost: width / 4 };
    if (isHalf(x)) emit.step("gatherHalf", { ...rest, words: [...words, Number(x.dtype === "bfloat16")] });
    else emit.step("gather", { ...rest, words });
    return y;
  },
  evaluate([x, index]) {
    const width = x.dims[1]!;
    const y = ndArray([...index.dims, width]);
    index.data.forEach((row, i) => y.data.set(x.data.subarray(row * width, (row + 1) * width), i * width));
    return y;
  },
  table: 0,
  samples: [
    { inputs: [{ shape: [5, 3] }, { shape: [2, 4], kind: "index", below: 5, dtype: "int64" }], attrs: {} },
  ],
});
