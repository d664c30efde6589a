import { type Cells, isDense, rowsOf, widthOf } from "./cells.js";
import { NoSteps, type StepEmitter } from "./emitter.js";
import { BINARY, type BinaryName, UNARY, type UnaryName } from "./kernels.js";

/** Multiplications that a function of one number takes, more or less. */
const FUNCTION_COST = 16;

/** y = f(x), number by number; `by` is the factor or summand of `scale` and `offset`. */
export function unarySteps(emit: StepEmitter, kind: UnaryName, x: Cells, by = 0): Cells {
  const y = emit.cells(x.dims);
  const flat = isDense(x);
  const width = flat ? rowsOf(x) * widthOf(x) : widthOf(x);
  // A long row is cut, so that threads can share it.
  const cut = flat && width % 256 === 0 ? 256 : width;
  const units = flat ? width / cut : rowsOf(x);
  emit.step("unary", {
    reads: [x],
    writes: [y],
    words: [UNARY.indexOf(kind), x.address, flat ? cut : x.stride, y.address, cut, { real: by }],
    units,
    cost: cut * FUNCTION_COST,
  });
  return y;
}

/** How an operand is walked along: elements from row to row, and from column to column. */
function walk(x: Cells, rows: number, width: number): readonly [row: number, column: number] {
  const fits = (size: number, all: number): boolean => size === all || size === 1;
  if (!fits(rowsOf(x), rows) || !fits(widthOf(x), width)) throw new NoSteps("operands do not fit");
  return [rowsOf(x) === rows && rows > 1 ? x.stride : 0, widthOf(x) === width && width > 1 ? 1 : 0];
}

/** y = f(a, b), number by number; rows and numbers are repeated as `dims` asks for. */
export function binarySteps(
  emit: StepEmitter,
  kind: BinaryName,
  [a, b]: readonly [Cells, Cells],
  dims: readonly number[],
): Cells {
  const y = emit.cells(dims);
  const [rows, width] = [rowsOf(y), widthOf(y)];
  emit.step("binary", {
    reads: [a, b],
    writes: [y],
    words: [
      BINARY.indexOf(kind),
      a.address,
      ...walk(a, rows, width),
      b.address,
      ...walk(b, rows, width),
      y.address,
      width,
    ],
    units: rows,
    cost: width / 4,
  });
  return y;
}
