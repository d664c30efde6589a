import { type EncodedExample, IGNORED } from "./encode-example.js";
import { type LabelSet, labelId, labelNumber } from "./label-set.js";
import type { TaskExample } from "./task-rows.js";
import type { Tokenizer } from "./tokenizer.js";

/** A text, or a pair of texts, as tokens with the special ones around them. */
interface Framed {
  readonly inputIds: number[];
  readonly tokenTypeIds: number[];
  readonly truncated: number;
  /** Where the tokens of the first and of the second text begin. */
  readonly starts: readonly [number, number];
}

function find(ids: readonly number[], part: readonly number[], from: number): number {
  for (let at = from; at + part.length <= ids.length; at += 1)
    if (part.every((id, i) => ids[at + i] === id)) return at;
  return from;
}

/** Sizes of one or two pieces in `room` tokens: the shorter one stays whole if it can, an odd token goes to the longer one. */
function fit([a, b]: readonly number[], room: number): number[] {
  if (b === undefined) return [Math.min(a!, room)];
  const [short, long] = a! <= b ? [a!, b] : [b, a!];
  if (short + long <= room) return [a!, b];
  const half = Math.floor(room / 2);
  const [small, large] = short <= half ? [short, room - short] : [half, room - half];
  return a! <= b ? [small, large] : [large, small];
}

/**
 * Puts the special tokens of the tokenizer around pieces that are cut to fit: the longer one as far as needed, as Hugging Face's
 * `longest_first` does it, or only the second where `cut` says so.
 */
export function frame(
  tokenizer: Tokenizer,
  pieces: readonly (readonly number[])[],
  texts: readonly string[],
  maxLength: number,
  cut?: 1,
): Framed {
  const whole = tokenizer.encodePair(texts[0]!, texts[1]);
  const a = find(whole.ids, pieces[0]!, 0);
  const endA = a + pieces[0]!.length;
  const b = pieces[1] === undefined ? endA : find(whole.ids, pieces[1], endA);
  const special = whole.ids.length - pieces.reduce((sum, piece) => sum + piece.length, 0);
  const sizes = pieces.map(({ length }) => length);
  const room = Math.max(0, maxLength - special);
  const [first, second = 0] = sizes as [number, number?];
  const lengths = cut === undefined ? fit(sizes, room) : [first, Math.min(second, Math.max(0, room - first))];
  const truncated = sizes.reduce((sum, size, i) => sum + size - lengths[i]!, 0);
  const endB = b + (pieces[1]?.length ?? 0);
  const keep = (_: number, i: number): boolean =>
    !(i >= a + lengths[0]! && i < endA) && !(pieces[1] !== undefined && i >= b + lengths[1]! && i < endB);
  return {
    inputIds: whole.ids.filter(keep),
    tokenTypeIds: whole.typeIds.filter(keep),
    truncated,
    starts: [a, b - (pieces[0]!.length - lengths[0]!)],
  };
}

const withTypes = (types: readonly number[]): { tokenTypeIds?: readonly number[] } =>
  types.some((type) => type !== 0) ? { tokenTypeIds: types } : {};

function encodeSequence(
  example: Extract<TaskExample, { task: "SEQ_CLS" }>,
  tokenizer: Tokenizer,
  labels: LabelSet,
  maxLength: number,
): EncodedExample {
  const texts = [example.text, ...(example.pair === undefined ? [] : [example.pair])];
  const pieces = texts.map((text) => tokenizer.encode(text, { addSpecialTokens: false }));
  const { inputIds, tokenTypeIds, truncated } = frame(tokenizer, pieces, texts, maxLength);
  const { source, label } = example;
  const list = Array.isArray(label) ? (label as unknown[]) : [label];
  const target =
    labels.kind === "regression"
      ? [labelNumber(label, source)]
      : labels.kind === "single_label_classification"
        ? [labelId(label, labels.names, source)]
        : labels.names.map(() => 0);
  if (labels.kind === "multi_label_classification")
    for (const one of list) target[labelId(one, labels.names, source)] = 1;
  return { source, inputIds, ...withTypes(tokenTypeIds), labels: target, truncated, trained: 1 };
}

/** Words one by one; the first token of a word carries its label. */
function encodeTokens(
  { source, words, tags }: Extract<TaskExample, { task: "TOKEN_CLS" }>,
  tokenizer: Tokenizer,
  { names }: LabelSet,
  maxLength: number,
): EncodedExample {
  const ids: number[] = [];
  const marks: number[] = [];
  for (const [i, word] of words.entries()) {
    const piece = tokenizer.encode(i === 0 ? word : ` ${word}`, { addSpecialTokens: false });
    ids.push(...piece);
    marks.push(...piece.map((_, j) => (j === 0 ? labelId(tags[i], names, source) : IGNORED)));
  }
  // An empty text gives the special tokens alone: what stands before and after the words.
  const empty = tokenizer.encode("");
  const before = Math.ceil(empty.length / 2);
  const room = Math.max(0, maxLength - empty.length);
  const kept = ids.slice(0, room);
  const labels = [
    ...empty.slice(0, before).map(() => IGNORED),
    ...marks.slice(0, room),
    ...empty.slice(before).map(() => IGNORED),
  ];
  return {
    source,
    inputIds: [...empty.slice(0, before), ...kept, ...empty.slice(before)],
    labels,
    truncated: ids.length - kept.length,
    trained: labels.filter((label) => label !== IGNORED).length,
  };
}

/** The question, then the context; the answer is found by encoding the context up to its start and to its end. */
function encodeQuestion(
  example: Extract<TaskExample, { task: "QUESTION_ANS" }>,
  tokenizer: Tokenizer,
  maxLength: number,
): EncodedExample {
  const { source, question, context, answer, start } = example;
  const encode = (text: string): number[] => tokenizer.encode(text, { addSpecialTokens: false });
  const pieces = [encode(question), encode(context)];
  const framed = frame(tokenizer, pieces, [question, context], maxLength, 1);
  const common = (ids: readonly number[]): number => {
    const end = ids.findIndex((id, i) => pieces[1]![i] !== id);
    return end < 0 ? ids.length : end;
  };
  const first = common(encode(context.slice(0, start).trimEnd()));
  const last = Math.max(first, common(encode(context.slice(0, start + answer.length))) - 1);
  const offset = framed.starts[1];
  const inside = last < pieces[1]!.length - framed.truncated;
  return {
    source,
    inputIds: framed.inputIds,
    ...withTypes(framed.tokenTypeIds),
    labels: inside ? [offset + first, offset + last] : [IGNORED, IGNORED],
    truncated: framed.truncated,
    trained: inside ? 1 : 0,
  };
}

/** An example with its labels as tokens and numbers. */
export function encodeTaskExample(
  example: TaskExample,
  tokenizer: Tokenizer,
  labels: LabelSet,
  maxLength: number,
): EncodedExample {
  switch (example.task) {
    case "SEQ_CLS":
      return encodeSequence(example, tokenizer, labels, maxLength);
    case "TOKEN_CLS":
      return encodeTokens(example, tokenizer, labels, maxLength);
    case "QUESTION_ANS":
      return encodeQuestion(example, tokenizer, maxLength);
  }
}
