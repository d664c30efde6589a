import { type Cells, rowsOf, widthOf } from "./cells.js";
import type { StepEmitter } from "./emitter.js";

/** Rows of x over their root mean square, or less their mean and over their deviation where there is a bias. */
export function normSteps(
  emit: StepEmitter,
  [x, weight, bias]: readonly [x: Cells, weight: Cells, bias?: Cells],
  epsilon: number,
): Cells {
  const y = emit.cells(x.dims);
  const width = widthOf(x);
  emit.step("norm", {
    reads: bias === undefined ? [x, weight] : [x, weight, bias],
    writes: [y],
    words: [
      x.address,
      x.stride,
      weight.address,
      bias?.address ?? 0,
      y.address,
      width,
      { real: epsilon },
      Number(bias !== undefined),
    ],
    units: rowsOf(x),
    cost: width,
  });
  return y;
}

/** Sums over the last axis. */
export function sumSteps(emit: StepEmitter, x: Cells, dims: readonly number[]): Cells {
  const dense = emit.dense(x);
  const y = emit.cells(dims);
  emit.step("sums", {
    reads: [dense],
    writes: [y],
    words: [dense.address, y.address, widthOf(x)],
    units: rowsOf(x),
    cost: widthOf(x) / 4,
  });
  return y;
}
