/** What a model answered for one row, and what was right. */
export interface Answer {
  readonly predicted: readonly number[];
  readonly expected: readonly number[];
}

/**
 * Answers that can be measured: one class, several as 0 and 1, a number, the tag of each token, a span of tokens, or the tokens of a
 * text.
 */
export interface Answers {
  readonly kind: "class" | "classes" | "number" | "tags" | "span" | "tokens";
  readonly labels: readonly string[];
  readonly rows: readonly Answer[];
}

/** The place of the largest of `width` scores from `start`. */
export function likeliest(scores: ArrayLike<number>, start: number, width: number): number {
  let best = 0;
  for (let i = 1; i < width; i += 1) if (scores[start + i]! > scores[start + best]!) best = i;
  return best;
}
