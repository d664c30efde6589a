import type { PackedTokens } from "./collate.js";

/**
 * Every row once for each continuation, with its tokens behind it: row · continuations + continuation. Positions go on from the last
 * one of the row, and so does the part of a pair.
 */
export function continueRows(
  packed: PackedTokens,
  continuations: readonly (readonly number[])[],
): PackedTokens {
  if (continuations.every(({ length }) => length === 0) && continuations.length === 1) return packed;
  const { rowOffsets, tokenTypes, taskIds } = packed;
  const tokens: number[] = [];
  const positions: number[] = [];
  const types: number[] = [];
  const tasks: number[] = [];
  const offsets = [0];
  for (let row = 0; row < packed.rows; row += 1) {
    const [start, end] = [rowOffsets[row]!, rowOffsets[row + 1]!];
    for (const continuation of continuations) {
      tokens.push(...packed.tokens.subarray(start, end), ...continuation);
      const behind = continuation.map((_, i) => packed.positions[end - 1]! + 1 + i);
      positions.push(...packed.positions.subarray(start, end), ...behind);
      if (tokenTypes !== undefined)
        types.push(...tokenTypes.subarray(start, end), ...continuation.map(() => tokenTypes[end - 1]!));
      if (taskIds !== undefined) tasks.push(taskIds[row]!);
      offsets.push(tokens.length);
    }
  }
  const padded = offsets.reduce((most, end, i) => Math.max(most, end - (offsets[i - 1] ?? 0)), 0);
  const columns = offsets
    .slice(0, -1)
    .flatMap((start, row) => Array.from({ length: offsets[row + 1]! - start }, (_, i) => row * padded + i));
  return {
    rows: offsets.length - 1,
    padded,
    tokens: Int32Array.from(tokens),
    rowOffsets: Int32Array.from(offsets),
    positions: Int32Array.from(positions),
    ...(tokenTypes === undefined ? {} : { tokenTypes: Int32Array.from(types) }),
    ...(taskIds === undefined ? {} : { taskIds: Int32Array.from(tasks) }),
    paddedIndex: Int32Array.from(columns),
  };
}
