import { ShapeError } from "../base/errors.js";
import { toSnakeCase } from "../base/spelling.js";
import type { Value } from "../graph/value.js";
import { headZeros, TaskHead } from "../nn/task-head.js";
import { crossEntropyLoss, NO_LABEL } from "../nn/task-loss.js";
import type { Trace } from "../nn/trace.js";
import { classScores, tokenSlopes, type WordCombination } from "../nn/word-scores.js";
import { type Cloze, type ClozeForm, labelsOf, makeCloze } from "../text/cloze.js";
import { readClozeValues } from "../text/cloze-dataset.js";
import { clozeError } from "../text/cloze-fault.js";
import { type ClozeOptions } from "../text/cloze-options.js";
import { longestContinuation } from "../text/cloze-plan.js";
import { type PackedTokens, packTokens, type TokenInputs } from "../text/collate.js";
import { continueRows } from "../text/continue-rows.js";
import { encodeCloze } from "../text/encode-cloze.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { likeliest } from "./answers.js";
import { HeadedModel, type Judge, type PreparedBatch } from "./headed-model.js";
import type { ForwardOptions, ModelOutput, PretrainedModelParts } from "./pretrained-model.js";
import type { ClassifierOutput } from "./sequence-classifier.js";

/** Rows in their template, with their classes. */
export interface ClozeBatch extends TokenInputs {
  /** Class numbers (B), in the order of the verbalizer; −100 leaves a row out. */
  readonly labels?: ArrayLike<number> | undefined;
  /** Columns of the masks (B); the only mask of each row where absent. A model that completes has none. */
  readonly maskPositions?: ArrayLike<number> | undefined;
}

/** A label of a row with its share of the probability of all labels. */
export interface ClozePrediction {
  readonly label: string;
  readonly probability: number;
  /** Probabilities of all labels. */
  readonly probabilities: Readonly<Record<string, number>>;
}

/** The task of the head that finds words in each way. */
const TASKS = { mask: "MASKED_LM", completion: "CAUSAL_LM" } as const;

/**
 * Classifies texts with the head that a language model was trained with: a template makes the class a word to be found.
 *
 * P(class | text) = softmax over classes of the score of its words. A masked model scores a word with its logit at the mask, a causal
 * one with the sum of the log-probabilities of its tokens behind the prompt. Scores of several words of a class are averaged, or their
 * probabilities added. Nothing is new, so that it predicts without any training.
 *
 * @example
 * const [answer] = await model.classify([{ text: "The best coffee I ever had." }]);
 * @see Schick and Schütze, "Exploiting Cloze Questions for Few Shot Text Classification and Natural Language Inference",
 * arXiv:2001.07676, §3.1; Gao et al., "Making Pre-trained Language Models Better Few-shot Learners", arXiv:2012.15723, §3.1
 */
export class ClozeClassifier extends HeadedModel<ClozeBatch, ClassifierOutput> {
  readonly taskType: (typeof TASKS)[ClozeForm];
  /** Template and words. */
  readonly cloze: Cloze;

  /** @throws {@link ConfigError} `cloze` with every fault of template and verbalizer */
  constructor(
    parts: PretrainedModelParts,
    options: ClozeOptions & { readonly form: ClozeForm; readonly tokenizer: Tokenizer },
  ) {
    super(parts);
    const { form, tokenizer, ...settings } = options;
    this.taskType = TASKS[form];
    this.cloze = makeCloze(settings, tokenizer, form);
  }

  override get labels(): string[] {
    return labelsOf(this.cloze);
  }

  /** Template and words as the file `cloze.json` has them. */
  override sidecars(): Readonly<Record<string, unknown>> {
    const settings = Object.entries(this.cloze.settings);
    return { "cloze.json": Object.fromEntries(settings.map(([key, value]) => [toSnakeCase(key), value])) };
  }

  /**
   * The likeliest label of every row, from the columns that the template shows.
   *
   * @throws {@link ConfigError} `cloze` for a row without one of them
   */
  async classify(
    rows: readonly Readonly<Record<string, unknown>>[],
    options: ForwardOptions & {
      readonly maxLength?: number;
      /** Number of the task of each row, for adapters that have tasks. */
      readonly taskIds?: readonly number[] | undefined;
    } = {},
  ): Promise<ClozePrediction[]> {
    const { maxLength = Infinity, taskIds, ...rest } = options;
    const { cloze, labels } = this;
    const encoded = rows.map((row, i) => {
      const values = readClozeValues(cloze, row);
      if (typeof values === "string") throw clozeError([{ where: "rows", text: `row ${i}: ${values}` }]);
      return encodeCloze(cloze, values, Math.min(maxLength, this.contextLength));
    });
    const masked = cloze.form === "mask";
    const { logits } = await this.forward(
      {
        inputIds: encoded.map(({ inputIds }) => inputIds),
        tokenTypeIds: encoded.map(({ inputIds, tokenTypeIds }) => tokenTypeIds ?? inputIds.map(() => 0)),
        taskIds,
        ...(masked ? { maskPositions: encoded.map(({ maskAt }) => maskAt!) } : {}),
      },
      rest,
    );
    return rows.map((_, row) => {
      const scores = logits.data.subarray(row * labels.length, (row + 1) * labels.length);
      const top = Math.max(...scores);
      const shares = Array.from(scores, (score) => Math.exp(score - top));
      const total = shares.reduce((sum, share) => sum + share, 0);
      const best = likeliest(scores, 0, labels.length);
      return {
        label: labels[best]!,
        probability: shares[best]! / total,
        probabilities: Object.fromEntries(labels.map((label, i) => [label, shares[i]! / total])),
      };
    });
  }

  protected override makeHead(): TaskHead {
    const vocabulary = this.module.inputEmbedding?.vocabularySize ?? 0;
    return new TaskHead(this.runner, (t, hidden) => this.#scoreTokens(t, hidden), vocabulary);
  }

  /**
   * Scores of the tokens that words are made of (R, W). At a mask the sum over the vocabulary is the same for all words and falls
   * out of the softmax over classes; tokens behind others need it.
   */
  #scoreTokens(t: Trace, hidden: Value): Value {
    const { f } = t;
    const { plan, form } = this.cloze;
    const logits = this.module.head(t, hidden); // (R, V)
    const tokens = f.constant({ dtype: "int64", shape: [plan.columns.length], value: plan.columns });
    const turned = f.gather(f.transpose(logits, { axes: [1, 0] }), tokens); // (W, R)
    const scores = f.transpose(turned, { axes: [1, 0] }); // (R, W)
    if (form === "mask") return scores;
    // ln Σ e^x = cross-entropy of any label + its score, without the overflow that e^x would have.
    const first = f.slice(logits, { axis: 1, start: 0, end: 1 });
    const total = f.add(f.unsqueeze(f.crossEntropy(logits, headZeros(t)), { axis: 1 }), first); // (R, 1)
    return f.sub(scores, total);
  }

  get #combination(): WordCombination {
    const { plan, settings } = this.cloze;
    return { plan, ...settings };
  }

  protected override tokens(inputs: ClozeBatch): PackedTokens {
    this.assertOpen();
    const { plan } = this.cloze;
    const vocabularySize = this.module.inputEmbedding?.vocabularySize ?? Infinity;
    const maxLength = this.contextLength - longestContinuation(plan);
    return continueRows(packTokens(inputs, { vocabularySize, maxLength }), plan.continuations);
  }

  protected override readRows(inputs: ClozeBatch, packed: PackedTokens): Int32Array {
    const { plan, form } = this.cloze;
    if (form === "mask") return this.#maskRows(inputs, packed);
    const { continuations, reads } = plan;
    return Int32Array.from(
      Array.from({ length: packed.rows / continuations.length }, (_, row) =>
        reads.map(({ continuation, offset }) => {
          const end = packed.rowOffsets[row * continuations.length + continuation + 1]!;
          return end - continuations[continuation]!.length + offset - 1;
        }),
      ).flat(),
    );
  }

  #maskRows(
    { maskPositions }: ClozeBatch,
    { rows, padded, rowOffsets, tokens, paddedIndex }: PackedTokens,
  ): Int32Array {
    if (maskPositions !== undefined && maskPositions.length !== rows)
      throw shape(`maskPositions has ${maskPositions.length} entries; the batch has ${rows} rows.`, { rows });
    const { maskTokenId, maskToken } = this.cloze.tokenizer;
    return Int32Array.from({ length: rows }, (_, row) => {
      const [start, end] = [rowOffsets[row]!, rowOffsets[row + 1]!];
      const column = maskPositions?.[row];
      const found = Array.from({ length: end - start }, (__, i) => start + i).filter((at) =>
        column === undefined ? tokens[at] === maskTokenId : paddedIndex[at] === row * padded + column,
      );
      if (found.length === 1) return found[0]!;
      throw column === undefined
        ? shape(`inputIds: row ${row} has ${found.length} tokens ${maskToken}; one was expected.`, { row })
        : shape(`maskPositions: row ${row} has no token in column ${column}.`, { row, column });
    });
  }

  protected override judge({ labels }: ClozeBatch, packed: PackedTokens): Judge | undefined {
    if (labels === undefined) return undefined;
    const rows = packed.rows / this.cloze.plan.continuations.length;
    const names = this.labels;
    if (labels.length !== rows)
      throw shape(`labels has ${labels.length} entries; the batch has ${rows} rows.`, { rows });
    const list = Array.from(labels, Number);
    const wrong = list.findIndex(
      (label) => label !== NO_LABEL && !(Number.isInteger(label) && label >= 0 && label < names.length),
    );
    if (wrong >= 0) {
      const range = `the verbalizer has classes 0 to ${names.length - 1}`;
      throw shape(`labels: row ${wrong} is ${list[wrong]}; ${range}.`, { row: wrong });
    }
    const combination = this.#combination;
    return {
      loss(tokens) {
        const { sum, count, gradient } = crossEntropyLoss(classScores(tokens, combination), list);
        return { sum, count, gradient: tokenSlopes(tokens, gradient, combination) };
      },
      answers(tokens) {
        const scores = classScores(tokens, combination);
        const counted = [...list.entries()].filter(([, label]) => label !== NO_LABEL);
        return {
          kind: "class",
          labels: names,
          rows: counted.map(([row, label]) => ({
            predicted: [likeliest(scores, row * names.length, names.length)],
            expected: [label],
          })),
        };
      },
    };
  }

  protected override output(
    _prepared: PreparedBatch,
    tokens: Float32Array,
    outcome: ModelOutput,
  ): ClassifierOutput {
    const data = classScores(tokens, this.#combination);
    const { length } = this.cloze.classes;
    return { logits: { data, dims: [data.length / length, length] }, ...outcome };
  }
}

const shape = (summary: string, fields: Readonly<Record<string, unknown>>): ShapeError =>
  new ShapeError({ code: "label", summary, fields });
