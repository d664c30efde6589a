import type { Value } from "../graph/value.js";
import { activations } from "../nn/activation.js";
import { Embedding } from "../nn/embedding.js";
import { Linear } from "../nn/linear.js";
import { Module } from "../nn/module.js";
import { RMSNorm } from "../nn/rms-norm.js";
import type { Trace } from "../nn/trace.js";

/** Sizes and switches of a T5. */
export interface T5Options {
  readonly width: number;
  readonly heads: number;
  readonly headDim: number;
  readonly feedForward: number;
  readonly layers: number;
  readonly decoderLayers: number;
  readonly vocabularySize: number;
  readonly buckets: number;
  readonly maxDistance: number;
  readonly epsilon: number;
  /** Whether the feed-forward layers have a gate. */
  readonly gated: boolean;
  readonly activation: string;
}

export const norm = ({ width, epsilon }: T5Options): RMSNorm =>
  new RMSNorm(width, epsilon, { kind: "T5LayerNorm" });

export class Attention extends Module {
  readonly kind = "T5Attention";
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly o: Linear;
  readonly relative_attention_bias?: Embedding;

  constructor({ width, heads, headDim, buckets }: T5Options, hasBias: boolean) {
    super();
    const inner = heads * headDim;
    this.q = new Linear(width, inner);
    this.k = new Linear(width, inner);
    this.v = new Linear(width, inner);
    this.o = new Linear(inner, width);
    if (hasBias) this.relative_attention_bias = new Embedding(buckets, heads);
  }
}

export class SelfAttention extends Module {
  readonly kind = "T5LayerSelfAttention";
  readonly SelfAttention: Attention;
  readonly layer_norm: RMSNorm;

  constructor(options: T5Options, hasBias: boolean) {
    super();
    this.SelfAttention = new Attention(options, hasBias);
    this.layer_norm = norm(options);
  }
}

export class CrossAttention extends Module {
  readonly kind = "T5LayerCrossAttention";
  readonly EncDecAttention: Attention;
  readonly layer_norm: RMSNorm;

  constructor(options: T5Options) {
    super();
    this.EncDecAttention = new Attention(options, false);
    this.layer_norm = norm(options);
  }
}

/** y = wo(act(wi(x))), or wo(act(wi_0(x)) ⊙ wi_1(x)) with a gate. */
class Dense extends Module {
  readonly kind: string;
  readonly wi?: Linear;
  readonly wi_0?: Linear;
  readonly wi_1?: Linear;
  readonly wo: Linear;

  constructor(readonly options: T5Options) {
    super();
    const { width, feedForward, gated } = options;
    this.kind = gated ? "T5DenseGatedActDense" : "T5DenseActDense";
    if (gated) {
      this.wi_0 = new Linear(width, feedForward);
      this.wi_1 = new Linear(width, feedForward);
    } else {
      this.wi = new Linear(width, feedForward);
    }
    this.wo = new Linear(feedForward, width);
  }

  forward(t: Trace, x: Value): Value {
    const act = activations[this.options.activation]!;
    const inner =
      this.wi === undefined
        ? t.f.mul(act(t.f, this.wi_0!.forward(t, x)), this.wi_1!.forward(t, x))
        : act(t.f, this.wi.forward(t, x)); // (N, F)
    return this.wo.forward(t, inner); // (N, D)
  }
}

export class FeedForward extends Module {
  readonly kind = "T5LayerFF";
  readonly DenseReluDense: Dense;
  readonly layer_norm: RMSNorm;

  constructor(options: T5Options) {
    super();
    this.DenseReluDense = new Dense(options);
    this.layer_norm = norm(options);
  }

  /** h + dense(norm(h)). */
  forward(t: Trace, hidden: Value): Value {
    return t.join(this, this.DenseReluDense.forward(t, this.layer_norm.forward(t, hidden)), hidden);
  }
}
