import { likeliest } from "../auto/answers.js";
import { ClozeClassifier } from "../auto/cloze-classifier.js";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import { bestSpan, QuestionAnswerer } from "../auto/question-answerer.js";
import { SequenceClassifier } from "../auto/sequence-classifier.js";
import { TokenClassifier } from "../auto/token-classifier.js";
import { ConfigError } from "../base/errors.js";
import { encodeClozeDataset } from "../text/cloze-dataset.js";
import type { Dataset } from "../text/dataset.js";
import { frame } from "../text/encode-task.js";
import type { Columns, Row } from "../text/rows.js";
import { encodeTaskDataset } from "../text/task-dataset.js";
import type { TaskSet } from "../text/task-ids.js";
import type { Tokenizer } from "../text/tokenizer.js";

/** A model that labels texts, parts of them, or finds answers in them. */
export type LabellingModel = SequenceClassifier | TokenClassifier | QuestionAnswerer | ClozeClassifier;

export const isLabelling = (base: PretrainedModel): base is LabellingModel =>
  base instanceof SequenceClassifier ||
  base instanceof TokenClassifier ||
  base instanceof QuestionAnswerer ||
  base instanceof ClozeClassifier;

export interface LabellingOptions {
  readonly maxLength: number;
  /** The task of a text, for adapters that have tasks. */
  readonly taskIds: readonly number[] | undefined;
}

type Tokens = Parameters<SequenceClassifier["forward"]>[0];

/** A text, or a question and a text, as a batch of one. */
function encode(
  tokenizer: Tokenizer,
  texts: readonly string[],
  { maxLength, taskIds }: LabellingOptions,
): Tokens & { start: number } {
  const pieces = texts.map((text) => tokenizer.encode(text, { addSpecialTokens: false }));
  const { inputIds, tokenTypeIds, starts } = frame(
    tokenizer,
    pieces,
    texts,
    maxLength,
    texts.length > 1 ? 1 : undefined,
  );
  return { inputIds: [inputIds], tokenTypeIds: [tokenTypeIds], taskIds, start: starts[texts.length - 1]! };
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function softmax(scores: readonly number[]): number[] {
  const top = Math.max(...scores);
  const shares = scores.map((score) => Math.exp(score - top));
  const total = shares.reduce((sum, value) => sum + value, 0);
  return shares.map((value) => value / total);
}

/** What a cloze says of a text. */
async function findWord(model: ClozeClassifier, text: string, options: LabellingOptions): Promise<string> {
  const [column, other] = model.cloze.columns;
  if (other !== undefined) {
    throw new ConfigError({
      code: "cloze",
      summary: `The template shows ${model.cloze.columns.length} columns, ${model.cloze.columns.join(", ")}; a text alone is one.`,
      fixes: ["give rows with all of them: --dataset test.jsonl"],
      fields: { columns: model.cloze.columns },
    });
  }
  const [answer] = await model.classify([{ [column!]: text }], options);
  return `${answer!.label}  ${percent(answer!.probability)}`;
}

/** What a classifier says of a text. */
async function classify(model: SequenceClassifier, tokens: Tokens): Promise<string> {
  const scores = [...(await model.forward(tokens)).logits.data];
  const { labels, problemType } = model;
  if (problemType === "regression" || scores.length === 1)
    return scores.map((score) => score.toFixed(4)).join("  ");
  if (problemType === "multi_label_classification") {
    const chosen = scores.flatMap((score, i) =>
      score > 0 ? [`${labels[i]} ${percent(1 / (1 + Math.exp(-score)))}`] : [],
    );
    return chosen.join(", ") || "none";
  }
  const best = likeliest(scores, 0, scores.length);
  return `${labels[best]}  ${percent(softmax(scores)[best]!)}`;
}

/** The tags of the tokens of a text. */
async function tag(model: TokenClassifier, tokenizer: Tokenizer, tokens: Tokens): Promise<string> {
  const { data, dims } = (await model.forward({ ...tokens, labels: undefined })).logits;
  const width = dims[2]!;
  return [...Array.from(tokens.inputIds[0]!).entries()]
    .map(([i, id]) => `${tokenizer.tokenOf(id)}/${model.labels[likeliest(data, i * width, width)]}`)
    .join(" ");
}

/** The answer that a text holds. */
async function answer(
  model: QuestionAnswerer,
  tokenizer: Tokenizer,
  tokens: Tokens & { start: number },
): Promise<string> {
  const { startLogits, endLogits } = await model.forward({
    inputIds: tokens.inputIds,
    tokenTypeIds: tokens.tokenTypeIds,
    taskIds: tokens.taskIds,
  });
  const ids = Array.from(tokens.inputIds[0]!);
  const pairs = ids.flatMap((_, i) => [startLogits.data[i]!, endLogits.data[i]!]);
  const [from, to] = bestSpan(pairs, tokens.start, ids.length);
  return tokenizer.decode(ids.slice(from, to + 1));
}

/** What a model says of a text. */
export async function predictText(
  base: LabellingModel,
  tokenizer: Tokenizer,
  text: string,
  { question, ...options }: LabellingOptions & { readonly question: string | undefined },
): Promise<string> {
  if (base instanceof ClozeClassifier) return findWord(base, text, options);
  if (base instanceof SequenceClassifier) return classify(base, encode(tokenizer, [text], options));
  if (base instanceof TokenClassifier) return tag(base, tokenizer, encode(tokenizer, [text], options));
  if (question !== undefined) return answer(base, tokenizer, encode(tokenizer, [question, text], options));
  throw new ConfigError({
    code: "option_missing",
    summary: `${base.name} finds answers, and no question was given.`,
    fixes: ['--question "Who wrote it?"'],
  });
}

/** Rows with labels as a model is measured on them. */
export function labelledDataset(
  base: LabellingModel,
  tokenizer: Tokenizer,
  rows: readonly Row[],
  options: {
    readonly maxLength: number;
    readonly columns: Columns;
    readonly tasks: TaskSet | undefined;
  },
): Dataset {
  if (base instanceof ClozeClassifier) return encodeClozeDataset(rows, base.cloze, options);
  const regression = base instanceof SequenceClassifier && base.labels.length === 1;
  const several = base instanceof SequenceClassifier && base.problemType === "multi_label_classification";
  const kind = regression
    ? "regression"
    : several
      ? "multi_label_classification"
      : "single_label_classification";
  return encodeTaskDataset(rows, tokenizer, {
    task: base.taskType,
    labels: { kind, names: base.labels },
    ...options,
  });
}
