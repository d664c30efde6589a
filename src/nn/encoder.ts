import type { HostTensor } from "../base/host-tensor.js";
import { type Value, withScope } from "../graph/value.js";
import { activations } from "./activation.js";
import type { Backbone } from "./backbone.js";
import { Embedding } from "./embedding.js";
import { int64Tensor } from "./graph-runner.js";
import { LayerNorm } from "./layer-norm.js";
import { Linear } from "./linear.js";
import { Module } from "./module.js";
import type { Stage, TokenBatch } from "./stage.js";
import { TOKENS, type Trace } from "./trace.js";

/** Sizes and switches of an encoder of the BERT kind. */
export interface EncoderOptions {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly feedForward: number;
  readonly vocabularySize: number;
  readonly positions: number;
  readonly tokenTypes: number;
  readonly epsilon: number;
  readonly activation: string;
  /** Class name stem, as Hugging Face shows it: `Bert`, `Roberta`. */
  readonly family: string;
  /** The number of the first position. */
  readonly firstPosition: number;
  /** Whether the first token of a row is pooled. */
  readonly pooler: boolean;
}

class Embeddings extends Module {
  readonly kind: string;
  readonly word_embeddings: Embedding;
  readonly position_embeddings: Embedding;
  readonly token_type_embeddings: Embedding;
  readonly LayerNorm: LayerNorm;

  constructor({ width, vocabularySize, positions, tokenTypes, epsilon, family }: EncoderOptions) {
    super();
    this.kind = `${family}Embeddings`;
    this.word_embeddings = new Embedding(vocabularySize, width);
    this.position_embeddings = new Embedding(positions, width);
    this.token_type_embeddings = new Embedding(tokenTypes, width);
    this.LayerNorm = new LayerNorm(width, epsilon);
  }

  forward(t: Trace): Value {
    const ids = (name: string): Value => t.batch(name, { dtype: "int64", shape: [TOKENS] });
    const words = this.word_embeddings.forward(t, ids("tokens")); // (N, D)
    const typed = t.f.add(words, this.token_type_embeddings.forward(t, ids("tokenTypes")));
    const placed = t.f.add(typed, this.position_embeddings.forward(t, ids("positions")));
    return this.LayerNorm.forward(t, placed);
  }
}

class Projections extends Module {
  readonly kind: string;
  readonly query: Linear;
  readonly key: Linear;
  readonly value: Linear;

  constructor({ width, family }: EncoderOptions) {
    super();
    this.kind = `${family}SelfAttention`;
    this.query = new Linear(width, width, { bias: true });
    this.key = new Linear(width, width, { bias: true });
    this.value = new Linear(width, width, { bias: true });
  }
}

/** y = norm(dense(x) + residual). */
class Output extends Module {
  readonly kind: string;
  readonly dense: Linear;
  readonly LayerNorm: LayerNorm;

  constructor(inner: number, { width, epsilon, family }: EncoderOptions, stem: string) {
    super();
    this.kind = `${family}${stem}`;
    this.dense = new Linear(inner, width, { bias: true });
    this.LayerNorm = new LayerNorm(width, epsilon);
  }

  forward(t: Trace, x: Value, residual: Value): Value {
    return t.join(this, this.dense.forward(t, x), residual, (sum) => this.LayerNorm.forward(t, sum));
  }
}

class Attention extends Module {
  readonly kind: string;
  readonly self: Projections;
  readonly output: Output;

  constructor(options: EncoderOptions) {
    super();
    this.kind = `${options.family}Attention`;
    this.self = new Projections(options);
    this.output = new Output(options.width, options, "SelfOutput");
  }
}

class Intermediate extends Module {
  readonly kind: string;
  readonly dense: Linear;

  constructor({ width, feedForward, family }: EncoderOptions) {
    super();
    this.kind = `${family}Intermediate`;
    this.dense = new Linear(width, feedForward, { bias: true });
  }
}

/** One block: norm(h + attention(h)), then norm(h + mlp(h)). */
class EncoderLayer extends Module {
  readonly kind: string;
  readonly attention: Attention;
  readonly intermediate: Intermediate;
  readonly output: Output;

  constructor(
    readonly options: EncoderOptions,
    layer: number,
  ) {
    super();
    const { width } = options;
    this.kind = `${options.family}Layer`;
    this.attention = new Attention(options);
    this.intermediate = new Intermediate(options);
    this.output = new Output(options.feedForward, options, "Output");
    this.attention.output.joins = { position: "attention", layer, width, normed: true };
    this.output.joins = { position: "output", layer, width, normed: true };
  }

  stages(layer: number): Stage[] {
    const { width, heads, activation } = this.options;
    const { query, key, value } = this.attention.self;
    return [
      ...selfAttention(layer, heads, width, { query, key, value }),
      {
        kind: "tokens",
        name: `layer.${layer}.attention_out_mlp`,
        reads: { hidden: width, context: width },
        writes: { hidden: width },
        trace: (t, { hidden, context }) =>
          withScope("layer", () => {
            const attended = this.attention.output.forward(t, context!, hidden!); // (N, D)
            const inner = activations[activation]!(t.f, this.intermediate.dense.forward(t, attended)); // (N, F)
            return { hidden: this.output.forward(t, inner, attended) };
          }),
      },
    ];
  }
}

/** Queries, keys and values of a layer's input, and the attention of every token to the whole of its row. */
export function selfAttention(
  layer: number,
  heads: number,
  width: number,
  { query, key, value }: Readonly<Record<"query" | "key" | "value", Linear>>,
): Stage[] {
  const headDim = width / heads;
  return [
    {
      kind: "tokens",
      name: `layer.${layer}.attention_in`,
      reads: { hidden: width },
      writes: { query: width, key: width, value: width },
      trace: (t, { hidden }) =>
        withScope("layer", () => ({
          query: query.forward(t, hidden!),
          key: key.forward(t, hidden!),
          value: value.forward(t, hidden!),
        })),
    },
    {
      kind: "attention",
      name: `layer.${layer}.attention`,
      layer,
      heads,
      keyValueHeads: heads,
      headDim,
      scale: 1 / Math.sqrt(headDim),
      causal: false,
    },
  ];
}

class Layers extends Module {
  readonly kind: string;
  readonly layer: EncoderLayer[];

  constructor(options: EncoderOptions) {
    super();
    this.kind = `${options.family}Encoder`;
    this.layer = Array.from({ length: options.layers }, (_, layer) => new EncoderLayer(options, layer));
  }
}

class Pooler extends Module {
  readonly kind: string;
  readonly dense: Linear;

  constructor({ width, family }: EncoderOptions) {
    super();
    this.kind = `${family}Pooler`;
    this.dense = new Linear(width, width, { bias: true });
  }
}

/** The body of the BERT kind: embeddings, blocks, and a pooler over the first token where asked for. */
export class Encoder extends Module implements Backbone {
  readonly kind: string;
  readonly cacheLimit = Infinity;
  readonly embeddings: Embeddings;
  readonly encoder: Layers;
  readonly pooler?: Pooler;
  readonly width: number;

  constructor(readonly options: EncoderOptions) {
    super();
    this.kind = `${options.family}Model`;
    this.width = options.width;
    this.embeddings = new Embeddings(options);
    this.encoder = new Layers(options);
    if (options.pooler) this.pooler = new Pooler(options);
  }

  get stages(): Stage[] {
    const embed: Stage = {
      kind: "tokens",
      name: "embeddings",
      reads: {},
      writes: { hidden: this.width },
      trace: (t) => ({ hidden: this.embeddings.forward(t) }),
    };
    return [embed, ...this.encoder.layer.flatMap((layer, i) => layer.stages(i))];
  }

  wordEmbeddings(): Embedding {
    return this.embeddings.word_embeddings;
  }

  finish(_t: Trace, hidden: Value): Value {
    return hidden;
  }

  /** tanh(dense(h)) of first tokens (R, D). */
  get pool(): ((t: Trace, hidden: Value) => Value) | undefined {
    const { pooler } = this;
    return pooler && ((t, hidden) => t.f.tanh(pooler.dense.forward(t, hidden)));
  }

  batchTensors({ tokens, positions, tokenTypes }: TokenBatch): Record<string, HostTensor> {
    const { firstPosition } = this.options;
    return {
      tokens: int64Tensor(tokens),
      positions: int64Tensor(positions.map((position) => position + firstPosition)),
      tokenTypes: int64Tensor(tokenTypes ?? new Int32Array(tokens.length)),
    };
  }
}
