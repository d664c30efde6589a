import type { WordPlan } from "../text/cloze-plan.js";

/** How the scores of words become those of classes. */
export interface WordCombination {
  readonly plan: WordPlan;
  readonly combineWords: "mean" | "sum";
  /** Whether the score of a word is divided by the number of its tokens. */
  readonly lengthNormalization: boolean;
}

/** Scores of words, and the share of each in the slope of its class. */
interface ClassScore {
  readonly score: number;
  readonly shares: readonly number[];
}

/** The mean of scores, or ln Σ e^x, with d score / d x. */
function combine(scores: readonly number[], how: WordCombination["combineWords"]): ClassScore {
  if (how === "mean") {
    const score = scores.reduce((sum, x) => sum + x, 0) / scores.length;
    return { score, shares: scores.map(() => 1 / scores.length) };
  }
  const top = Math.max(...scores);
  const shares = scores.map((x) => Math.exp(x - top));
  const total = shares.reduce((sum, x) => sum + x, 0);
  return { score: top + Math.log(total), shares: shares.map((x) => x / total) };
}

/** Every class of a row with the scores of its words. */
function classesOf(tokens: Float32Array, row: number, combination: WordCombination): ClassScore[] {
  const { plan, combineWords, lengthNormalization } = combination;
  const { reads, columns, classes } = plan;
  const start = row * reads.length;
  return classes.map((words) => {
    const scores = words.map((word) => {
      const sum = word.reduce(
        (all, one) => all + tokens[(start + one.read) * columns.length + one.column]!,
        0,
      );
      return lengthNormalization ? sum / word.length : sum;
    });
    return combine(scores, combineWords);
  });
}

/**
 * Scores of classes from those of tokens.
 *
 * s(class) = mean over its words, or ln Σ e^, of s(word) = Σ over its tokens of s(token), divided by their number where asked for.
 *
 * Shapes: tokens (B · reads, columns) → (B, C).
 */
export function classScores(tokens: Float32Array, combination: WordCombination): Float32Array {
  const { reads, columns } = combination.plan;
  const rows = tokens.length / (reads.length * columns.length);
  return Float32Array.from(
    Array.from({ length: rows }, (_, row) => classesOf(tokens, row, combination)).flatMap((all) =>
      all.map(({ score }) => score),
    ),
  );
}

/** The slope of a loss over the scores of tokens (B · reads, columns), given that over the scores of classes (B, C). */
export function tokenSlopes(
  tokens: Float32Array,
  slopes: Float32Array,
  combination: WordCombination,
): Float32Array {
  const { plan, lengthNormalization } = combination;
  const { reads, columns, classes } = plan;
  const found = new Float32Array(tokens.length);
  for (let row = 0; row < slopes.length / classes.length; row += 1) {
    for (const [i, { shares }] of classesOf(tokens, row, combination).entries()) {
      const slope = slopes[row * classes.length + i]!;
      for (const [j, word] of classes[i]!.entries()) {
        const part = (slope * shares[j]!) / (lengthNormalization ? word.length : 1);
        for (const { read, column } of word)
          found[(row * reads.length + read) * columns.length + column]! += part;
      }
    }
  }
  return found;
}
