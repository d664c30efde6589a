import { suggest } from "../base/suggest.js";
import type { ClozeFault } from "./cloze-fault.js";
import type { Verbalizer } from "./cloze-options.js";
import type { Tokenizer } from "./tokenizer.js";

/** A word that stands for a class, as the tokens it has where it is to be found. */
export interface LabelWord {
  readonly text: string;
  readonly ids: readonly number[];
}

/** A class with its words. */
export interface LabelWords {
  readonly label: string;
  readonly words: readonly LabelWord[];
}

/** Where words are to be found. */
export interface WordPlace {
  /** What stands before the word, without the space between. */
  readonly before: string;
  /** The space before the word, which some tokenizers make a part of it. */
  readonly space: string;
  /** Whether a word has to be one token. */
  readonly single: boolean;
}

const quoted = (text: string): string => JSON.stringify(text);

/** Tokens as they read, without the marks that tokenizers put at the start and within words. */
const plainToken = (token: string): string => token.replace(/^(Ġ|▁)/, "");

/** Words that are one token and spelt most like this one. */
function nearWords(word: string, tokenizer: Tokenizer): string[] {
  const first = word[0]!.toLowerCase();
  const known: string[] = [];
  for (let id = 0; id < tokenizer.vocabularySize; id += 1) {
    const token = plainToken(tokenizer.tokenOf(id) ?? "");
    // Far fewer are compared where the first letter has to agree.
    if (token.length > 2 && token[0]!.toLowerCase() === first && /^\p{L}+$/u.test(token)) known.push(token);
  }
  return suggest(word, known);
}

/** The tokens of a word at its place; undefined where its first token would hold some of what stands before it. */
function tokensAt(word: string, { before, space }: WordPlace, tokenizer: Tokenizer): number[] | undefined {
  const encode = (text: string): number[] => tokenizer.encode(text, { addSpecialTokens: false });
  const start = before === "" ? [] : encode(before);
  const whole = encode(`${before}${space}${word}`);
  return start.every((id, i) => whole[i] === id) ? whole.slice(start.length) : undefined;
}

/** The tokens of a word, or what is wrong with it. */
function readWord(
  label: string,
  text: string,
  place: WordPlace,
  tokenizer: Tokenizer,
): LabelWord | ClozeFault {
  const fault = (what: string, cure?: string): ClozeFault => ({ where: "verbalizer", text: what, cure });
  const word = text.trim();
  if (word === "") return fault(`${quoted(label)} has an empty word`, `give ${quoted(label)} a word`);
  const ids = tokensAt(word, place, tokenizer);
  if (ids === undefined || ids.length === 0)
    return fault(
      `${quoted(word)} of ${quoted(label)} runs into what stands before it`,
      "put a space before {mask} in the template",
    );
  const { unkTokenId } = tokenizer;
  if (unkTokenId !== undefined && ids.includes(unkTokenId))
    return fault(`${quoted(word)} of ${quoted(label)} is not in the vocabulary`, "choose another word");
  if (ids.length === 1 || !place.single) return { text: word, ids };
  const pieces = ids.map((id) => tokenizer.tokenOf(id) ?? String(id)).join(" ");
  const near = nearWords(word, tokenizer);
  const hint = near.length === 0 ? "" : `; nearest that is one: ${near.join(", ")}`;
  return fault(
    `${quoted(word)} of ${quoted(label)} is ${ids.length} tokens, ${pieces}, and one mask stands for one${hint}`,
    "choose words that are one token, or a causal model, which takes several",
  );
}

/** Words that would be counted twice, or that a shorter one always stands before. */
function* clashes(classes: readonly LabelWords[], longerMayWin: boolean): Generator<ClozeFault> {
  const all = classes.flatMap(({ label, words }) => words.map((word) => ({ label, ...word })));
  for (const [i, a] of all.entries()) {
    for (const b of all.slice(i + 1)) {
      const [short, long] = a.ids.length <= b.ids.length ? [a, b] : [b, a];
      if (!short.ids.every((id, at) => long.ids[at] === id)) continue;
      const same = short.ids.length === long.ids.length;
      if (!same && (short.label === long.label || longerMayWin)) continue;
      const both = `${quoted(short.text)} of ${quoted(short.label)}`;
      yield {
        where: "verbalizer",
        text: same
          ? `${both} is the same as ${quoted(long.text)} of ${quoted(long.label)}`
          : `${both} begins ${quoted(long.text)} of ${quoted(long.label)}, which can never be likelier`,
        cure: "give each class words of its own",
      };
    }
  }
}

/** The words of all classes as tokens, with everything that is wrong with them. */
export function readWords(
  verbalizer: Verbalizer,
  place: WordPlace,
  tokenizer: Tokenizer,
  options: { readonly lengthNormalization: boolean },
): { readonly classes: readonly LabelWords[]; readonly faults: readonly ClozeFault[] } {
  const faults: ClozeFault[] = [];
  const classes = Object.entries(verbalizer).map(([label, given]): LabelWords => {
    const texts = typeof given === "string" ? [given] : given;
    if (texts.length === 0) {
      const text = `${quoted(label)} has no word`;
      faults.push({ where: "verbalizer", text, cure: `give ${quoted(label)} a word` });
    }
    const words = texts.map((text) => readWord(label, text, place, tokenizer));
    faults.push(...words.flatMap((word) => ("where" in word ? [word] : [])));
    return { label, words: words.flatMap((word) => ("where" in word ? [] : [word])) };
  });
  if (classes.length < 2) {
    const text = `has ${classes.length === 0 ? "no class" : "one class"}, and at least two can be told apart`;
    faults.push({ where: "verbalizer", text, cure: '{ "great": "great", "other": "bad" }' });
  }
  faults.push(...clashes(classes, options.lengthNormalization));
  return { classes, faults };
}
