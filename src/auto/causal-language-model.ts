import { LanguageHead, type Supervision } from "../nn/language-head.js";
import { type Batch, packBatch, type PackedBatch } from "../text/collate.js";
import { IGNORED } from "../text/encode-example.js";
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

/** What `forward` answers. */
export interface CausalOutput extends ModelOutput {
  /** Scores (B, T, V) in the padded shape of the batch; rows of padding are zero. */
  readonly logits: PlainTensor;
  /** Mean cross-entropy of the supervised tokens; undefined without labels. */
  readonly loss: number | undefined;
}

/** A causal language model that can run. */
export class CausalLanguageModel extends PretrainedModel {
  readonly taskType = "CAUSAL_LM";
  readonly head: LanguageHead;

  constructor(parts: PretrainedModelParts) {
    super(parts);
    this.head = new LanguageHead(this.runner);
  }

  override structureChanged(): void {
    super.structureChanged();
    this.head.invalidate();
  }

  /** Token ids that end an answer: those of the generation config, else of the config and the tokenizer. */
  get endTokenIds(): number[] {
    const named = this.generationConfig["eos_token_id"] ?? this.config.values["eos_token_id"];
    const ids = Array.isArray(named) ? named : [named];
    const known = ids.filter((id): id is number => typeof id === "number");
    return [...new Set([...known, ...(this.tokenizer?.eosTokenIds ?? [])])];
  }

  pack(batch: Batch | PackedBatch): PackedBatch {
    this.assertOpen();
    return "rowOffsets" in batch
      ? batch
      : packBatch(batch, { vocabularySize: this.head.vocabularySize, maxLength: this.contextLength });
  }

  /**
   * Scores and loss, without dropout and without gradients.
   *
   * @example
   * const { logits, loss } = await model.forward({ inputIds: [[1, 2, 3]], labels: [[1, 2, 3]] });
   */
  async forward(batch: Batch | PackedBatch, options: ForwardOptions = {}): Promise<CausalOutput> {
    const packed = this.pack(batch);
    const pass = await this.runner.forward(packed, { signal: options.signal });
    try {
      const width = this.head.vocabularySize;
      const real = await this.head.logits(pass.hidden, 0, packed.tokens.length, options);
      const data = new Float32Array(packed.rows * packed.padded * width);
      for (const [i, at] of packed.paddedIndex.entries()) {
        data.set(real.subarray(i * width, (i + 1) * width), at * width);
      }
      const loss =
        packed.labels === undefined ? undefined : await this.#meanLoss(packed, pass.hidden, options);
      return { logits: { data, dims: [packed.rows, packed.padded, width] }, loss };
    } finally {
      pass.release();
    }
  }

  /** What is predicted from which row of the hidden states; the last virtual token of the input predicts the first real one. */
  #supervision({ rows, tokens, rowOffsets, labels, supervised, supervisedLabels }: PackedBatch): Supervision {
    if (labels === undefined || !this.predictsFirstToken) {
      return { rows: supervised, labels: supervisedLabels };
    }
    const count = this.virtualTokens;
    const first = Array.from({ length: rows }, (_, row) => ({
      row: tokens.length + (row + 1) * count - 1,
      label: labels[rowOffsets[row]!]!,
    })).filter(({ label }) => label !== IGNORED);
    return {
      rows: Int32Array.from([...supervised, ...first.map(({ row }) => row)]),
      labels: Int32Array.from([...supervisedLabels, ...first.map(({ label }) => label)]),
    };
  }

  async #meanLoss(
    packed: PackedBatch,
    hidden: Parameters<LanguageHead["loss"]>[0],
    options: ForwardOptions,
  ): Promise<number> {
    const supervision = this.#supervision(packed);
    const { loss } = await this.head.loss(hidden, supervision, 1 / supervision.rows.length, {
      ...options,
      gradients: false,
      hiddenGradient: false,
    });
    return loss;
  }

  /** Summed loss of a batch and the number of tokens it is summed over, without gradients. */
  async evaluate(batch: Batch | PackedBatch, options: ForwardOptions = {}): Promise<Evaluation> {
    const packed = this.pack(batch);
    const pass = await this.runner.forward(packed, { signal: options.signal });
    try {
      const supervisedTokens = this.#supervision(packed).rows.length;
      const mean = await this.#meanLoss(packed, pass.hidden, options);
      return { loss: supervisedTokens === 0 ? 0 : mean * supervisedTokens, supervisedTokens };
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
  async backward(batch: Batch | PackedBatch, options: BackwardOptions = {}): Promise<BackwardOutput> {
    const packed = this.pack(batch);
    const supervision = this.#supervision(packed);
    const supervisedTokens = supervision.rows.length;
    const tokens = packed.tokens.length;
    if (supervisedTokens === 0) return { loss: 0, supervisedTokens, tokens };
    const weight = 1 / (options.normalizer ?? supervisedTokens);
    const { signal, seed } = options;
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
      return { loss, supervisedTokens, tokens };
    } finally {
      pass.release();
    }
  }
}
