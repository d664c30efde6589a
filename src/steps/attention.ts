import { type Cells, rowsOf, widthOf } from "./cells.js";
import { NoSteps, type StepEmitter } from "./emitter.js";

interface AttentionOptions {
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly scale: number;
  readonly cap?: number | undefined;
  readonly window?: number | undefined;
}

/** What attention reads: a new token a row, and the cache that it is put into. */
export interface AttentionCells {
  readonly query: Cells;
  readonly key: Cells;
  readonly value: Cells;
  /** (B, K, C, d) */
  readonly keys: Cells;
  readonly values: Cells;
  /** Place of the new token in each row. */
  readonly places: Cells;
  /** Tables of the angles that queries and keys are turned by. */
  readonly tables?: readonly [cos: Cells, sin: Cells] | undefined;
}

/** Puts keys and values of a new token a row into the cache, and attends over what every row holds then. */
export function attentionSteps(
  emit: StepEmitter,
  { query, key, value, keys, values, places, tables }: AttentionCells,
  { heads, keyValueHeads, scale, cap = 0, window = 0 }: AttentionOptions,
): Cells {
  const [rows, , C, d] = keys.dims as [number, number, number, number];
  if (query.dims[0] !== rows || d % 8 !== 0) throw new NoSteps("more than one token a row");
  const [cos, sin] = tables ?? [];
  const angles = [cos?.address ?? 0, sin?.address ?? 0];
  const read = tables ?? [];
  emit.step("append", {
    reads: [key, value, places, ...read],
    writes: [keys, values],
    words: [
      key.address,
      key.stride,
      value.address,
      value.stride,
      keys.address,
      values.address,
      places.address,
      ...angles,
      keyValueHeads,
      C,
      d,
    ],
    units: rows * keyValueHeads,
    cost: d,
  });
  const y = emit.cells(query.dims);
  const room = emit.cells([rows * heads, C + d]);
  emit.step("attend", {
    reads: [query, keys, values, places, ...read],
    writes: [y, room],
    words: [
      query.address,
      query.stride,
      keys.address,
      values.address,
      places.address,
      ...angles,
      y.address,
      room.address,
      heads,
      keyValueHeads,
      C,
      d,
      { real: scale },
      { real: cap },
      window,
    ],
    units: rows * heads,
    // About half of the places are filled.
    cost: C * d,
  });
  return y;
}

/** Turns the heads of x by the positions of its rows: x, cos and sin, positions. */
export function rotarySteps(
  emit: StepEmitter,
  [x, cos, sin, positions]: readonly [Cells, Cells, Cells, Cells],
  heads: number,
): Cells {
  const width = widthOf(x) / heads;
  if (width % 8 !== 0) throw new NoSteps(`heads of ${width} numbers`);
  const y = emit.cells(x.dims);
  emit.step("rotate", {
    reads: [x, cos, sin, positions],
    writes: [y],
    words: [x.address, x.stride, cos.address, sin.address, positions.address, y.address, heads, width],
    units: rowsOf(x),
    cost: widthOf(x),
  });
  return y;
}
