import { type EncodedExample, IGNORED } from "./encode-example.js";
import type { Tokenizer } from "./tokenizer.js";

/** A stretch of an example that is learnt as a whole, or not at all. */
export interface Stretch {
  readonly text: string;
  readonly tokens: number;
  readonly learnt: boolean;
}

/** An example as text, cut where learning starts and stops; special tokens are shown. */
export function describeExample(example: EncodedExample, tokenizer: Tokenizer): Stretch[] {
  const { inputIds, labels, labelsApart } = example;
  const stretches: { ids: number[]; learnt: boolean }[] = [];
  const marked = labelsApart === true ? [...inputIds.map(() => IGNORED), ...labels] : labels;
  for (const [i, id] of (labelsApart === true ? [...inputIds, ...labels] : inputIds).entries()) {
    const learnt = marked[i] !== IGNORED;
    const last = stretches.at(-1);
    if (last?.learnt === learnt) last.ids.push(id);
    else stretches.push({ ids: [id], learnt });
  }
  return stretches.map(({ ids, learnt }) => ({
    text: tokenizer.decode(ids, { skipSpecialTokens: false }),
    tokens: ids.length,
    learnt,
  }));
}
