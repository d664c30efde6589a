import { LanguageHead, type Supervision } from "../nn/language-head.js";
import type { PackedBatch, PackedTokens, TokenInputs } from "../text/collate.js";
import { splitRows } from "../text/slice-rows.js";
import type { Answers } from "./answers.js";
import {
  type BackwardOptions,
  type BackwardOutput,
  type Evaluation,
  type ForwardOptions,
  type ModelOutput,
  type PlainTensor,
  PretrainedModel,
  type PretrainedModelParts,
} from "./pretrained-model.js";

/** What `forward` of a model over the vocabulary answers. */
export interface LanguageOutput extends ModelOutput {
  /** Scores (B, T, V) in the padded shape of the batch; rows of padding are zero. */
  readonly logits: PlainTensor;
  /** Mean cross-entropy of the supervised tokens; undefined without labels. */
  readonly loss: number | undefined;
}

/** Parts of a batch draw dropout masks of their own; the first draws those of an undivided batch. */
const partSeed = (seed: number | undefined, part: number): number => ((seed ?? 0) + part * 0x9e3779b1) >>> 0;

const tokenCount = ({ tokens, source }: PackedTokens): number => tokens.length + (source?.tokens.length ?? 0);

/** A model that scores the vocabulary, with the loss of the tokens it should have found. */
export abstract class VocabularyModel<Inputs extends TokenInputs = TokenInputs> extends PretrainedModel {
  readonly head: LanguageHead;

  constructor(parts: PretrainedModelParts) {
    super(parts);
    this.head = new LanguageHead(this.runner);
  }

  override structureChanged(): void {
    super.structureChanged();
    this.head.invalidate();
  }

  /** A batch without padding, with what is to be predicted. */
  abstract override pack(batch: Inputs | PackedBatch): PackedBatch;

  /** What is predicted from which row of the hidden states. */
  protected supervision({ supervised, supervisedLabels }: PackedBatch): Supervision {
    return { rows: supervised, labels: supervisedLabels };
  }

  /** What `evaluate` compares beside the loss; nothing unless said otherwise. */
  protected answers?(
    packed: PackedBatch,
    logits: (start: number, end: number) => Promise<Float32Array>,
  ): Promise<Answers>;

  /** Scores and loss, without dropout and without gradients. */
  override async forward(batch: Inputs | PackedBatch, options: ForwardOptions = {}): Promise<LanguageOutput> {
    const packed = this.pack(batch);
    const pass = await this.runner.forward(packed, { signal: options.signal });
    try {
      const width = this.head.vocabularySize;
      const real = await this.head.logits(pass.hidden, 0, packed.tokens.length, options);
      const data = new Float32Array(packed.rows * packed.padded * width);
      for (const [i, at] of packed.paddedIndex.entries()) {
        data.set(real.subarray(i * width, (i + 1) * width), at * width);
      }
      const supervision = packed.labels === undefined ? undefined : this.supervision(packed);
      const loss = supervision && (await this.#meanLoss(supervision, pass.hidden, options));
      const supervisedTokens = supervision?.rows.length ?? 0;
      return { logits: { data, dims: [packed.rows, packed.padded, width] }, loss, supervisedTokens };
    } finally {
      pass.release();
    }
  }

  async #meanLoss(
    supervision: Supervision,
    hidden: Parameters<LanguageHead["loss"]>[0],
    options: ForwardOptions,
  ): Promise<number> {
    const { loss } = await this.head.loss(hidden, supervision, 1 / supervision.rows.length, {
      ...options,
      gradients: false,
      hiddenGradient: false,
    });
    return loss;
  }

  /** Summed loss of a batch and the number of tokens it is summed over, without gradients. */
  override async evaluate(batch: Inputs | PackedBatch, options: ForwardOptions = {}): Promise<Evaluation> {
    const packed = this.pack(batch);
    const pass = await this.runner.forward(packed, { signal: options.signal });
    try {
      const supervision = this.supervision(packed);
      const supervisedTokens = supervision.rows.length;
      const mean = await this.#meanLoss(supervision, pass.hidden, options);
      const answers = await this.answers?.(packed, (start, end) =>
        this.head.logits(pass.hidden, start, end, options),
      );
      return { loss: supervisedTokens === 0 ? 0 : mean * supervisedTokens, supervisedTokens, answers };
    } finally {
      pass.release();
    }
  }

  /**
   * Loss and gradients: adds dL/dW to `parameter.grad` of every trainable parameter, with dropout on.
   *
   * @example
   * const { loss } = await model.backward({ inputIds, labels });
   */
  override async backward(
    batch: Inputs | PackedBatch,
    options: BackwardOptions = {},
  ): Promise<BackwardOutput> {
    const packed = this.pack(batch);
    const supervision = this.supervision(packed);
    const supervisedTokens = supervision.rows.length;
    const tokens = tokenCount(packed);
    if (supervisedTokens === 0) return { loss: 0, supervisedTokens, tokens };
    const weight = 1 / (options.normalizer ?? supervisedTokens);
    const longest = packed.rowOffsets.reduce(
      (most, end, i, all) => Math.max(most, end - (all[i - 1] ?? 0)),
      0,
    );
    let loss = 0;
    for (const [i, part] of splitRows(packed, await this.runner.passTokens(longest)).entries())
      loss += await this.#backwardPart(part, weight, { ...options, seed: partSeed(options.seed, i) });
    return { loss, supervisedTokens, tokens };
  }

  /** Σ loss · weight of some rows, with gradients. */
  async #backwardPart(
    packed: PackedBatch,
    weight: number,
    { signal, seed }: BackwardOptions,
  ): Promise<number> {
    const supervision = this.supervision(packed);
    if (supervision.rows.length === 0) return 0;
    const pass = await this.runner.forward(packed, { training: true, gradients: true, seed, signal });
    try {
      const hiddenGradient = pass.plan.hiddenWanted;
      const { loss, dHidden } = await this.head.loss(pass.hidden, supervision, weight, {
        training: true,
        gradients: true,
        hiddenGradient,
        signal,
      });
      if (dHidden !== undefined) await pass.backward(dHidden);
      return loss;
    } finally {
      pass.release();
    }
  }
}
