import type { LabelWords } from "./cloze-words.js";

/** A token of a word: which of the rows of scores it is read from, and its column there. */
export interface PlacedToken {
  readonly read: number;
  readonly column: number;
}

/** A hidden row that scores are read from: behind `offset` tokens of a continuation of the prompt. */
export interface WordRead {
  readonly continuation: number;
  readonly offset: number;
}

/** What is run and read to score the words of all classes. */
export interface WordPlan {
  /** Tokens behind the prompt, one list for every row that has to be run; a single empty one where all words are one token. */
  readonly continuations: readonly (readonly number[])[];
  readonly reads: readonly WordRead[];
  /** The token of each column of the scores. */
  readonly columns: readonly number[];
  /** Tokens by class and word. */
  readonly classes: readonly (readonly (readonly PlacedToken[])[])[];
}

const beginsWith = (list: readonly number[], start: readonly number[]): boolean =>
  start.every((id, i) => list[i] === id);

/**
 * Plans how words are scored. A token is predicted from all that stands before it, so a word of L tokens is read behind its first
 * 0 … L − 1 tokens. Words share the rows that begin alike: where every word is one token the prompt is run once.
 */
export function planWords(labels: readonly LabelWords[]): WordPlan {
  const words = labels.flatMap((one) => one.words.map(({ ids }) => ids));
  const starts = [...new Map(words.map((ids) => [ids.slice(0, -1).join(), ids.slice(0, -1)])).values()];
  const continuations = starts.filter(
    (start) => !starts.some((other) => other.length > start.length && beginsWith(other, start)),
  );
  const columns = [...new Set(words.flat())];
  const reads: WordRead[] = [];
  const known = new Map<string, number>();
  const readBehind = (start: readonly number[]): number => {
    const key = start.join();
    let read = known.get(key);
    if (read === undefined) {
      const continuation = continuations.findIndex((one) => beginsWith(one, start));
      read = reads.push({ continuation, offset: start.length }) - 1;
      known.set(key, read);
    }
    return read;
  };
  const classes = labels.map((one) =>
    one.words.map(({ ids }) =>
      ids.map((id, i) => ({ read: readBehind(ids.slice(0, i)), column: columns.indexOf(id) })),
    ),
  );
  return { continuations, reads, columns, classes };
}

/** Tokens that the longest continuation puts behind a prompt. */
export const longestContinuation = ({ continuations }: WordPlan): number =>
  continuations.reduce((most, one) => Math.max(most, one.length), 0);
