import type { HostTensor } from "../base/host-tensor.js";
import { TaskHead } from "../nn/task-head.js";
import type { SummedLoss } from "../nn/task-loss.js";
import type { PackedTokens, TokenInputs } from "../text/collate.js";
import { HeadedModel, type Judge, padScores, type PreparedBatch, readRows } from "./headed-model.js";
import type { ForwardOptions, ModelOutput, PlainTensor, PretrainedModelParts } from "./pretrained-model.js";

/** How the hidden states of a text become one vector: their mean, the first (CLS) or the last. */
export type Pooling = "mean" | "cls" | "last";

export interface EmbedOptions extends ForwardOptions {
  /** @defaultValue "mean" */
  readonly pooling?: Pooling | undefined;
  /** Scales vectors to length 1. @defaultValue false */
  readonly normalize?: boolean | undefined;
}

/**
 * A loss over the hidden states (N, D) of the tokens of a batch without padding, row i from rowOffsets[i] to rowOffsets[i + 1] − 1,
 * with its slope.
 */
export type FeatureLoss = (hidden: Float32Array, rowOffsets: Int32Array, width: number) => SummedLoss;

export interface FeatureBatch extends TokenInputs {
  /** A body has no loss of its own; this one is trained on. */
  readonly lossOf?: FeatureLoss | undefined;
}

export interface FeatureOutput extends ModelOutput {
  /** Hidden states (B, T, D) in the padded shape of the batch; rows of padding are zero. */
  readonly lastHiddenState: PlainTensor;
  /** What the pooler makes of first tokens (B, D), where the model has one. */
  readonly poolerOutput: PlainTensor | undefined;
}

/** A body without a head: hidden states and embeddings of texts. */
export class FeatureExtractor extends HeadedModel<FeatureBatch, FeatureOutput> {
  readonly taskType = "FEATURE_EXTRACTION";
  readonly #pool: TaskHead | undefined;

  constructor(parts: PretrainedModelParts) {
    super(parts);
    const { pool } = parts.module;
    this.#pool = pool && new TaskHead(this.runner, pool);
  }

  override structureChanged(): void {
    super.structureChanged();
    this.#pool?.invalidate();
  }

  /**
   * One vector (B, D) for every text.
   *
   * @example
   * const { data, dims } = await model.embed({ inputIds: [[101, 7592, 102]] }, { pooling: "mean", normalize: true });
   */
  async embed(inputs: TokenInputs, options: EmbedOptions = {}): Promise<PlainTensor> {
    const { pooling = "mean", normalize = false, signal } = options;
    const { lastHiddenState } = await this.forward(inputs, { signal });
    const [rows, padded, width] = lastHiddenState.dims as [number, number, number];
    const data = new Float32Array(rows * width);
    for (let row = 0; row < rows; row += 1) {
      const mask = inputs.attentionMask?.[row];
      const columns = Array.from({ length: inputs.inputIds[row]!.length }, (_, t) => t).filter(
        (t) => mask === undefined || Number(mask[t]) !== 0,
      );
      const chosen = pooling === "mean" ? columns : [columns.at(pooling === "cls" ? 0 : -1)!];
      const vector = data.subarray(row * width, (row + 1) * width);
      for (const t of chosen) {
        const from = (row * padded + t) * width;
        for (let i = 0; i < width; i += 1) vector[i]! += lastHiddenState.data[from + i]! / chosen.length;
      }
      const length = normalize ? Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0)) : 1;
      if (length > 0 && length !== 1) for (let i = 0; i < width; i += 1) vector[i]! /= length;
    }
    return { data, dims: [rows, width] };
  }

  protected override judge({ lossOf }: FeatureBatch, { rowOffsets }: PackedTokens): Judge | undefined {
    return lossOf && { loss: (hidden) => lossOf(hidden, rowOffsets, this.module.hidden.width) };
  }

  protected override async output(
    { packed }: PreparedBatch,
    scores: Float32Array,
    outcome: ModelOutput,
    hidden: HostTensor,
  ): Promise<FeatureOutput> {
    const { width } = this.module.hidden;
    const pooled = await this.#pool?.forward(hidden, readRows("first", packed, this.insertedTokens));
    return {
      lastHiddenState: padScores(packed, scores, width),
      poolerOutput: pooled && { data: pooled, dims: [packed.rows, width] },
      ...outcome,
    };
  }
}
