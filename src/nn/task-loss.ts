/** A loss summed over rows, what it is summed over, and its slope. */
export interface SummedLoss {
  readonly sum: number;
  /** Rows that counted. */
  readonly count: number;
  /** d sum / d scores, in the layout of the scores. */
  readonly gradient: Float32Array;
}

/** Label of a row that does not count. */
export const NO_LABEL = -100;

/** ln Σ e^x and the shares e^x / Σ, over `width` scores from `start`. */
function softmax(
  scores: ArrayLike<number>,
  start: number,
  width: number,
): { log: number; shares: Float64Array } {
  let top = -Infinity;
  for (let i = 0; i < width; i += 1) top = Math.max(top, scores[start + i]!);
  const shares = new Float64Array(width);
  let total = 0;
  for (let i = 0; i < width; i += 1) total += shares[i] = Math.exp(scores[start + i]! - top);
  for (let i = 0; i < width; i += 1) shares[i]! /= total;
  return { log: top + Math.log(total), shares };
}

/**
 * Σ over rows of ln Σ_j e^(x_j) − x_label; rows with label −100 do not count.
 *
 * Shapes: scores (R, C), labels (R).
 */
export function crossEntropyLoss(scores: Float32Array, labels: ArrayLike<number>): SummedLoss {
  const width = labels.length === 0 ? 0 : scores.length / labels.length;
  const gradient = new Float32Array(scores.length);
  let sum = 0;
  let count = 0;
  for (let row = 0; row < labels.length; row += 1) {
    const label = labels[row]!;
    if (label === NO_LABEL) continue;
    const start = row * width;
    const { log, shares } = softmax(scores, start, width);
    sum += log - scores[start + label]!;
    count += 1;
    for (let i = 0; i < width; i += 1) gradient[start + i] = shares[i]! - (i === label ? 1 : 0);
  }
  return { sum, count, gradient };
}

/**
 * Σ over rows of the mean over labels of −y ln σ(x) − (1 − y) ln(1 − σ(x)): every label is a question of its own.
 *
 * Shapes: scores (R, C), targets (R · C) from 0 to 1.
 */
export function binaryCrossEntropyLoss(
  scores: Float32Array,
  targets: ArrayLike<number>,
  rows: number,
): SummedLoss {
  const width = scores.length / rows;
  const gradient = new Float32Array(scores.length);
  let sum = 0;
  for (let i = 0; i < scores.length; i += 1) {
    const [x, y] = [scores[i]!, targets[i]!];
    sum += (Math.max(x, 0) - x * y + Math.log1p(Math.exp(-Math.abs(x)))) / width;
    gradient[i] = (1 / (1 + Math.exp(-x)) - y) / width;
  }
  return { sum, count: rows, gradient };
}

/** Σ over rows of the mean over outputs of (x − y)². Shapes: scores (R, C), targets (R · C). */
export function squaredErrorLoss(scores: Float32Array, targets: ArrayLike<number>, rows: number): SummedLoss {
  const width = scores.length / rows;
  const gradient = new Float32Array(scores.length);
  let sum = 0;
  for (let i = 0; i < scores.length; i += 1) {
    const gap = scores[i]! - targets[i]!;
    sum += (gap * gap) / width;
    gradient[i] = (2 * gap) / width;
  }
  return { sum, count: rows, gradient };
}

/**
 * Σ over rows of the mean of two cross-entropies over the tokens of the row: where an answer starts, where it ends. A row whose
 * answer is not in it (−100) does not count.
 *
 * Shapes: scores (N, 2), starts and ends (B), counted over the batch.
 */
export function spanLoss(
  scores: Float32Array,
  rowOffsets: Int32Array,
  starts: ArrayLike<number>,
  ends: ArrayLike<number>,
): SummedLoss {
  const gradient = new Float32Array(scores.length);
  let sum = 0;
  let count = 0;
  for (let row = 0; row + 1 < rowOffsets.length; row += 1) {
    if (starts[row] === NO_LABEL || ends[row] === NO_LABEL) continue;
    const from = rowOffsets[row]!;
    const length = rowOffsets[row + 1]! - from;
    count += 1;
    for (const [column, target] of [starts[row]!, ends[row]!].entries()) {
      const line = Float64Array.from({ length }, (_, i) => scores[2 * (from + i) + column]!);
      const { log, shares } = softmax(line, 0, length);
      sum += 0.5 * (log - scores[2 * target + column]!);
      for (let i = 0; i < length; i += 1) {
        gradient[2 * (from + i) + column] = 0.5 * (shares[i]! - (from + i === target ? 1 : 0));
      }
    }
  }
  return { sum, count, gradient };
}
