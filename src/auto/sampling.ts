import { integer, number, type OptionValues } from "../base/option.js";
import type { Random } from "../base/random.js";

/** How the next token is chosen. */
export const samplingOptions = {
  temperature: number({
    default: 0,
    min: 0,
    doc: "Divides the scores; 0 takes the likeliest token every time.",
  }),
  topK: integer({ default: 0, min: 0, doc: "Chooses among this many likeliest tokens; 0 means all." }),
  topP: number({
    default: 1,
    above: 0,
    max: 1,
    doc: "Chooses among the likeliest tokens that hold this share, 0 to 1.",
  }),
  repetitionPenalty: number({
    default: 1,
    above: 0,
    doc: "Divides the scores of tokens already there; 1 changes nothing.",
  }),
};

export type SamplingOptions = OptionValues<typeof samplingOptions>;

function likeliest(scores: Float32Array): number {
  let best = 0;
  for (let i = 1; i < scores.length; i += 1) if (scores[i]! > scores[best]!) best = i;
  return best;
}

/** Tokens by falling score, no more than `most`. */
function ranked(scores: Float32Array, most: number): Uint32Array {
  const order = Uint32Array.from(scores, (_, i) => i).sort((a, b) => scores[b]! - scores[a]! || a - b);
  return order.subarray(0, most);
}

/**
 * Chooses the next token from its scores, which are changed.
 *
 * @param history - tokens that the repetition penalty falls on: prompt and answer so far.
 */
export function chooseToken(
  scores: Float32Array,
  history: Iterable<number>,
  options: SamplingOptions,
  random: Random,
): number {
  const { temperature, topK, topP, repetitionPenalty } = options;
  if (repetitionPenalty !== 1) {
    for (const id of new Set(history)) {
      scores[id] = scores[id]! > 0 ? scores[id]! / repetitionPenalty : scores[id]! * repetitionPenalty;
    }
  }
  if (temperature === 0) return likeliest(scores);
  const top = scores[likeliest(scores)]!;
  const weights = scores.map((score) => Math.exp((score - top) / temperature));
  let candidates: ArrayLike<number> & Iterable<number> =
    topK === 0 && topP === 1
      ? Uint32Array.from(weights, (_, i) => i)
      : ranked(scores, topK === 0 ? scores.length : topK);
  let total = 0;
  for (const id of candidates) total += weights[id]!;
  if (topP < 1) {
    let share = 0;
    let count = 0;
    for (const id of candidates) {
      share += weights[id]! / total;
      count += 1;
      if (share >= topP) break;
    }
    candidates = (candidates as Uint32Array).subarray(0, count);
    total *= share;
  }
  let mark = random.next() * total;
  for (const id of candidates) {
    mark -= weights[id]!;
    if (mark <= 0) return id;
  }
  return candidates[candidates.length - 1]!;
}
