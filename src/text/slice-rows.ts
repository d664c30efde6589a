import type { PackedBatch, PackedTokens } from "./collate.js";

/** Rows from … to − 1 of tokens without padding. */
function sliceTokens(packed: PackedTokens, from: number, to: number): PackedTokens {
  const { rowOffsets, padded, tokenTypes, taskIds, source } = packed;
  const [start, end] = [rowOffsets[from]!, rowOffsets[to]!];
  return {
    rows: to - from,
    padded,
    tokens: packed.tokens.subarray(start, end),
    rowOffsets: rowOffsets.slice(from, to + 1).map((offset) => offset - start),
    positions: packed.positions.subarray(start, end),
    tokenTypes: tokenTypes?.subarray(start, end),
    taskIds: taskIds?.subarray(from, to),
    paddedIndex: packed.paddedIndex.slice(start, end).map((at) => at - from * padded),
    source: source === undefined ? undefined : sliceTokens(source, from, to),
  };
}

/** Rows from … to − 1 of a batch, with what they have to predict. */
export function sliceRows(packed: PackedBatch, from: number, to: number): PackedBatch {
  const [start, end] = [packed.rowOffsets[from]!, packed.rowOffsets[to]!];
  const inside = [...packed.supervised.keys()].filter(
    (i) => packed.supervised[i]! >= start && packed.supervised[i]! < end,
  );
  return {
    ...sliceTokens(packed, from, to),
    labels: packed.labels?.subarray(start, end),
    supervised: Int32Array.from(inside, (i) => packed.supervised[i]! - start),
    supervisedLabels: Int32Array.from(inside, (i) => packed.supervisedLabels[i]!),
  };
}

/** Tokens of each row, those of its source included. */
const rowTokens = ({ rowOffsets, source }: PackedTokens, row: number): number =>
  rowOffsets[row + 1]! - rowOffsets[row]! + (source === undefined ? 0 : rowTokens(source, row));

/**
 * A batch in parts of whole rows with at most so many tokens, in order; a longer row is a part by itself. Parts are of like size, so
 * that each finds the memory of the last one fitting.
 */
export function splitRows(packed: PackedBatch, limit: number): PackedBatch[] {
  let total = 0;
  for (let row = 0; row < packed.rows; row += 1) total += rowTokens(packed, row);
  const most = Math.min(limit, total / Math.ceil(total / limit));
  const cuts = [0];
  let tokens = 0;
  for (let row = 0; row < packed.rows; row += 1) {
    const length = rowTokens(packed, row);
    if (tokens > 0 && tokens + length > most) {
      cuts.push(row);
      tokens = 0;
    }
    tokens += length;
  }
  if (cuts.length === 1) return [packed];
  return cuts.map((from, i) => sliceRows(packed, from, cuts[i + 1] ?? packed.rows));
}
