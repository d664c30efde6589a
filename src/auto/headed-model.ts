import type { HostTensor } from "../base/host-tensor.js";
import type { Answers } from "./answers.js";
import type { SummedLoss } from "../nn/task-loss.js";
import { TaskHead } from "../nn/task-head.js";
import { type LabelledTokens, type PackedTokens, packTokens, type TokenInputs } from "../text/collate.js";
import {
  type BackwardOptions,
  type BackwardOutput,
  type Evaluation,
  type ForwardOptions,
  type ModelOutput,
  PretrainedModel,
  type PretrainedModelParts,
} from "./pretrained-model.js";

/** What a batch has labels for. */
export interface Judge {
  /** The loss, once the scores are there. */
  readonly loss: (scores: Float32Array) => SummedLoss;
  /** What the scores answer, beside what is right; absent where nothing but the loss is measured. */
  readonly answers?: (scores: Float32Array) => Answers;
}

/** A batch that is ready to be run. */
export interface PreparedBatch {
  readonly packed: PackedTokens;
  /** Hidden rows that the head reads. */
  readonly rows: Int32Array;
  /** Absent where the batch has no labels. */
  readonly judge: Judge | undefined;
}

/** A model whose head scores a few hidden rows, with a loss over these scores. */
export abstract class HeadedModel<
  Inputs extends TokenInputs,
  Output extends ModelOutput,
> extends PretrainedModel {
  readonly head: TaskHead;

  constructor(parts: PretrainedModelParts) {
    super(parts);
    this.head = this.makeHead();
  }

  /** The head that scores hidden rows: that of the model's task. */
  protected makeHead(): TaskHead {
    return new TaskHead(this.runner, (t, hidden) => this.module.head(t, hidden));
  }

  /** A batch without padding. */
  protected tokens(inputs: Inputs): PackedTokens {
    this.assertOpen();
    const vocabularySize = this.module.inputEmbedding?.vocabularySize ?? Infinity;
    return packTokens(inputs, { vocabularySize, maxLength: this.contextLength });
  }

  /** The hidden rows that the head reads. */
  protected readRows(_inputs: Inputs, packed: PackedTokens): Int32Array {
    return readRows(this.module.reads, packed, this.insertedTokens);
  }

  /** What the labels of a batch, which are checked first, say about its scores. */
  protected abstract judge(inputs: Inputs, packed: PackedTokens): Judge | undefined;

  /** The answer of `forward`. */
  protected abstract output(
    prepared: PreparedBatch,
    scores: Float32Array,
    outcome: ModelOutput,
    hidden: HostTensor,
  ): Output | Promise<Output>;

  override structureChanged(): void {
    super.structureChanged();
    this.head.invalidate();
  }

  /** Names of the outputs: those of the config, else `LABEL_0`, `LABEL_1` … */
  get labels(): string[] {
    const named = (this.config.values["id2label"] ?? {}) as Readonly<Record<string, unknown>>;
    return Array.from({ length: this.config.labelCount() }, (_, i) => String(named[i] ?? `LABEL_${i}`));
  }

  override pack(inputs: Inputs): LabelledTokens {
    return this.tokens(inputs);
  }

  #prepare(inputs: Inputs): PreparedBatch {
    const packed = this.tokens(inputs);
    return { packed, rows: this.readRows(inputs, packed), judge: this.judge(inputs, packed) };
  }

  /**
   * Scores, and the mean loss where there are labels, without dropout and without gradients.
   *
   * @throws {@link ShapeError} for tokens or labels that do not fit, naming the row
   */
  override async forward(inputs: Inputs, options: ForwardOptions = {}): Promise<Output> {
    const prepared = this.#prepare(inputs);
    const pass = await this.runner.forward(prepared.packed, { signal: options.signal });
    try {
      const scores = await this.head.forward(pass.hidden, prepared.rows, options);
      const { sum, count } = prepared.judge?.loss(scores) ?? { sum: 0, count: 0 };
      const loss = prepared.judge === undefined ? undefined : sum / count;
      return await this.output(prepared, scores, { loss, supervisedTokens: count }, pass.hidden);
    } finally {
      pass.release();
    }
  }

  override async evaluate(inputs: Inputs, options: ForwardOptions = {}): Promise<Evaluation> {
    const { packed, rows, judge } = this.#prepare(inputs);
    if (judge === undefined) return { loss: 0, supervisedTokens: 0 };
    const pass = await this.runner.forward(packed, { signal: options.signal });
    try {
      const scores = await this.head.forward(pass.hidden, rows, options);
      const { sum, count } = judge.loss(scores);
      return { loss: sum, supervisedTokens: count, answers: judge.answers?.(scores) };
    } finally {
      pass.release();
    }
  }

  override async backward(inputs: Inputs, options: BackwardOptions = {}): Promise<BackwardOutput> {
    const { packed, rows, judge } = this.#prepare(inputs);
    const tokens = packed.tokens.length;
    if (judge === undefined) return { loss: 0, supervisedTokens: 0, tokens };
    const run = { training: true, seed: options.seed, signal: options.signal };
    const pass = await this.runner.forward(packed, { ...run, gradients: true });
    try {
      const { sum, count, gradient } = judge.loss(await this.head.forward(pass.hidden, rows, run));
      if (count === 0) return { loss: 0, supervisedTokens: 0, tokens };
      const weight = 1 / (options.normalizer ?? count);
      const slope = gradient.map((value) => value * weight);
      const hiddenGradient = pass.plan.hiddenWanted;
      const dHidden = await this.head.backward(pass.hidden, rows, slope, { ...run, hiddenGradient });
      if (dHidden !== undefined) await pass.backward(dHidden);
      return { loss: sum * weight, supervisedTokens: count, tokens };
    } finally {
      pass.release();
    }
  }
}

/**
 * The hidden rows that a head reads: those of all tokens, or the first or last of each row. A row with virtual tokens in its input
 * starts with the first of them; theirs lie behind those of all tokens.
 */
export function readRows(
  reads: "each" | "first" | "last",
  { rows, tokens, rowOffsets }: PackedTokens,
  inserted: number,
): Int32Array {
  if (reads === "each") return Int32Array.from(tokens, (_, i) => i);
  if (reads === "first" && inserted > 0)
    return Int32Array.from({ length: rows }, (_, row) => tokens.length + row * inserted);
  if (reads === "first") return rowOffsets.slice(0, -1);
  return rowOffsets.slice(1).map((end) => end - 1);
}

/** Scores of tokens in the padded shape of their batch, `blank` where there is padding: (B, T, width). */
export function padScores(
  { rows, padded, paddedIndex }: PackedTokens,
  scores: Float32Array,
  width: number,
  blank = 0,
): { data: Float32Array; dims: number[] } {
  const data = new Float32Array(rows * padded * width).fill(blank);
  for (const [i, at] of paddedIndex.entries())
    data.set(scores.subarray(i * width, (i + 1) * width), at * width);
  return { data, dims: [rows, padded, width] };
}
