import { filledRows, TOGETHER } from "./arrange.js";
import { type Cells, isDense, isHalf, rowsOf, widthOf } from "./cells.js";
import { NoSteps, type Rounded, type StepEmitter } from "./emitter.js";

/** Columns that a thread takes together where they are walked along. */
const COLUMNS = 16;

/** Numbers of a block whose products certainly fit 32 bits: 256 · 127 · 32767 < 2³¹. */
const MOST_BLOCK = 256;

/** y = alpha x Wᵀ with W (out, in), or alpha x W with W (in, out) where it is not turned. */
export function denseSteps(
  emit: StepEmitter,
  [x, w]: readonly [Cells, Cells],
  { turned, alpha }: { readonly turned: boolean; readonly alpha: number },
): Cells {
  if (w.dims.length !== 2 || x.dims.length !== 2 || !isDense(w)) throw new NoSteps("more than two axes");
  const [rows, inner] = [rowsOf(x), widthOf(x)];
  const out = w.dims[turned ? 0 : 1]!;
  const y = emit.cells([rows, out]);
  const words = [x.address, x.stride, rows, inner, w.address, y.address, out, { real: alpha }];
  if (isHalf(w)) {
    if (!turned) throw new NoSteps("16 bits walked along columns");
    emit.step("denseHalf", {
      reads: [x, w],
      writes: [y],
      words: [...words, Number(w.dtype === "bfloat16")],
      units: out,
      cost: rows * inner,
    });
    return y;
  }
  emit.step(turned ? "dense" : "denseTurned", {
    reads: [x, w],
    writes: [y],
    words,
    units: turned ? out : Math.ceil(out / COLUMNS),
    cost: rows * inner * (turned ? 1 : COLUMNS),
  });
  return y;
}

/** Work of rounding a number, in multiplications. */
const ROUNDING_COST = 2;

/** What codes of so many bits are read less by in kernels, where bytes are signed. */
const centreOf = (bits: 4 | 8): number => (bits === 4 ? 8 : 0);

/** Blocks of x as whole numbers of 16 bits with a scale; products that read the same share them. */
function round(emit: StepEmitter, x: Cells, bits: 4 | 8, size: number): Rounded {
  const known = emit.rounded.get(x) ?? new Map<string, Rounded>();
  emit.rounded.set(x, known);
  const key = `${bits} ${size}`;
  const before = known.get(key);
  if (before !== undefined) return before;
  const [rows, width] = [rowsOf(x), widthOf(x)];
  const blocks = width / size;
  const result: Rounded = {
    // Whole numbers of 16 bits.
    codes: emit.cells([rows, 2 * width], "int8"),
    scales: emit.cells([rows, blocks]),
    starts: emit.cells([rows, blocks], "int32"),
    totals: emit.cells([rows, blocks]),
  };
  const { codes, scales, starts, totals } = result;
  const written = [codes, scales, starts, totals];
  emit.step("round", {
    reads: [x],
    writes: written,
    words: [x.address, x.stride, blocks, size, ...written.map(({ address }) => address), centreOf(bits)],
    units: rows,
    cost: width * ROUNDING_COST,
  });
  known.set(key, result);
  return result;
}

/**
 * y = x Wᵀ with W in blocks of codes of 4 bits, read less 8, or of 8 bits, read less 128, and the offsets of blocks of 4 bits; its tensors are
 * as `arrange` puts them. x is rounded to 16 bits: blocks as long as those of W to 1/32767 of their largest magnitude.
 */
export function blockSteps(
  emit: StepEmitter,
  [x, codes, scales, offsets]: readonly [x: Cells, codes: Cells, scales: Cells, offsets?: Cells],
  bits: 4 | 8,
): Cells {
  const [out, blocks, bytes] = codes.dims as [number, number, number];
  const size = (bytes * 8) / bits;
  const rows = rowsOf(x);
  if (size % 8 !== 0 || size > MOST_BLOCK || widthOf(x) !== blocks * size)
    throw new NoSteps(`blocks of ${size}`);
  const { codes: whole, scales: xScales, starts, totals } = round(emit, x, bits, size);
  // Kernels write whole groups.
  const filled = emit.cells([rows, filledRows(out)]);
  const y: Cells = { ...filled, dims: [rows, out] };
  emit.step("blocks", {
    // Weights are written by nobody.
    reads: [whole, xScales, starts, totals],
    writes: [y],
    words: [
      ...[whole, xScales, starts, totals].map(({ address }) => address),
      rows,
      blocks,
      codes.address,
      scales.address,
      y.address,
      y.stride,
      bits,
      bits === 4 ? size / 8 : size / 2,
      offsets?.address ?? 0,
    ],
    units: filledRows(out) / TOGETHER,
    cost: rows * widthOf(x) * TOGETHER,
  });
  return y;
}

/** Kinds of blocks that are brought into the order of the kernels by a kernel, by their numbers in ggml: bits of a code, and whether blocks have offsets. */
export const UNPACKED: Readonly<Record<number, { readonly bits: 4 | 8; readonly offsets: boolean }>> = {
  2: { bits: 4, offsets: false },
  3: { bits: 4, offsets: true },
  8: { bits: 8, offsets: false },
};

/** Brings rows in the blocks of a file into the order of the kernels. */
export function unpackStep(
  emit: StepEmitter,
  {
    raw,
    rows,
    firstRow,
    kind,
  }: { readonly raw: number; readonly rows: number; readonly firstRow: number; readonly kind: number },
  {
    codes,
    scales,
    offsets,
  }: { readonly codes: Cells; readonly scales: Cells; readonly offsets: Cells | undefined },
): void {
  const blocks = scales.dims[1]!;
  emit.step("unpack", {
    reads: [],
    writes: [],
    words: [raw, firstRow, blocks, kind, codes.address, scales.address, offsets?.address ?? 0],
    units: rows,
    cost: blocks * 32,
  });
}
