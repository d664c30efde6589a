import type { HostTensor } from "../base/host-tensor.js";
import { type Value, withScope } from "../graph/value.js";
import { activationNames, activations } from "../nn/activation.js";
import type { Backbone } from "../nn/backbone.js";
import { Conv1D } from "../nn/conv1d.js";
import { classifierDropout, languageHead, linearHead } from "../nn/decoder-heads.js";
import { Embedding } from "../nn/embedding.js";
import { int64Tensor } from "../nn/graph-runner.js";
import { LayerNorm } from "../nn/layer-norm.js";
import { Module } from "../nn/module.js";
import type { RawConfig } from "../nn/raw-config.js";
import type { Stage, TokenBatch } from "../nn/stage.js";
import { TOKENS, type Trace } from "../nn/trace.js";
import { defineModel } from "./model.js";

interface Options {
  readonly width: number;
  readonly heads: number;
  readonly layers: number;
  readonly feedForward: number;
  readonly vocabularySize: number;
  readonly positions: number;
  readonly epsilon: number;
  readonly activation: string;
  /** Scores are divided by √d, and by the number of the layer. */
  readonly scaled: boolean;
  readonly scaledByLayer: boolean;
}

class Attention extends Module {
  readonly kind = "GPT2Attention";
  readonly c_attn: Conv1D;
  readonly c_proj: Conv1D;

  constructor(readonly width: number) {
    super();
    this.c_attn = new Conv1D(width, 3 * width);
    this.c_proj = new Conv1D(width, width);
  }

  /** x (N, D) → queries, keys and values (N, D). */
  project(t: Trace, x: Value): { query: Value; key: Value; value: Value } {
    const all = this.c_attn.forward(t, x); // (N, 3 D)
    const part = (i: number): Value =>
      t.f.slice(all, { axis: 1, start: i * this.width, end: (i + 1) * this.width });
    return { query: part(0), key: part(1), value: part(2) };
  }
}

class FeedForward extends Module {
  readonly kind = "GPT2MLP";
  readonly c_fc: Conv1D;
  readonly c_proj: Conv1D;

  constructor(readonly options: Options) {
    super();
    this.c_fc = new Conv1D(options.width, options.feedForward);
    this.c_proj = new Conv1D(options.feedForward, options.width);
  }

  forward(t: Trace, x: Value): Value {
    const inner = activations[this.options.activation]!(t.f, this.c_fc.forward(t, x)); // (N, F)
    return this.c_proj.forward(t, inner);
  }
}

class Block extends Module {
  readonly kind = "GPT2Block";
  readonly ln_1: LayerNorm;
  readonly attn: Attention;
  readonly ln_2: LayerNorm;
  readonly mlp: FeedForward;

  constructor(
    readonly options: Options,
    layer: number,
  ) {
    super();
    const { width, epsilon } = options;
    this.ln_1 = new LayerNorm(width, epsilon);
    this.attn = new Attention(width);
    this.ln_2 = new LayerNorm(width, epsilon);
    this.mlp = new FeedForward(options);
    this.attn.joins = { position: "attention", layer, width, normed: false, slot: "attention_adapters" };
    this.mlp.joins = { position: "output", layer, width, normed: false, slot: "output_adapters" };
  }

  stages(layer: number): Stage[] {
    const { width, heads, scaled, scaledByLayer } = this.options;
    const headDim = width / heads;
    return [
      {
        kind: "tokens",
        name: `h.${layer}.attention_in`,
        reads: { hidden: width },
        writes: { query: width, key: width, value: width },
        trace: (t, { hidden }) =>
          withScope("layer", () => this.attn.project(t, this.ln_1.forward(t, hidden!))),
      },
      {
        kind: "attention",
        name: `h.${layer}.attention`,
        layer,
        heads,
        keyValueHeads: heads,
        headDim,
        scale: (scaled ? 1 / Math.sqrt(headDim) : 1) / (scaledByLayer ? layer + 1 : 1),
        causal: true,
      },
      {
        kind: "tokens",
        name: `h.${layer}.attention_out_mlp`,
        reads: { hidden: width, context: width },
        writes: { hidden: width },
        trace: (t, { hidden, context }) =>
          withScope("layer", () => {
            const attended = t.join(this.attn, this.attn.c_proj.forward(t, context!), hidden!); // (N, D)
            const output = this.mlp.forward(t, this.ln_2.forward(t, attended));
            return { hidden: t.join(this.mlp, output, attended) };
          }),
      },
    ];
  }
}

class GPT2Model extends Module implements Backbone {
  readonly kind = "GPT2Model";
  readonly cacheLimit = Infinity;
  readonly wte: Embedding;
  readonly wpe: Embedding;
  readonly h: Block[];
  readonly ln_f: LayerNorm;
  readonly width: number;

  constructor(options: Options) {
    super();
    const { width, vocabularySize, positions, layers, epsilon } = options;
    this.width = width;
    this.wte = new Embedding(vocabularySize, width);
    this.wpe = new Embedding(positions, width);
    this.h = Array.from({ length: layers }, (_, layer) => new Block(options, layer));
    this.ln_f = new LayerNorm(width, epsilon);
  }

  get stages(): Stage[] {
    const embed: Stage = {
      kind: "tokens",
      name: "embeddings",
      reads: {},
      writes: { hidden: this.width },
      trace: (t) => {
        const ids = (name: string): Value => t.batch(name, { dtype: "int64", shape: [TOKENS] });
        return {
          hidden: t.f.add(this.wte.forward(t, ids("tokens")), this.wpe.forward(t, ids("positions"))),
        };
      },
    };
    return [embed, ...this.h.flatMap((block, i) => block.stages(i))];
  }

  wordEmbeddings(): Embedding {
    return this.wte;
  }

  finish(t: Trace, hidden: Value): Value {
    return this.ln_f.forward(t, hidden);
  }

  batchTensors({ tokens, positions }: TokenBatch): Record<string, HostTensor> {
    return { tokens: int64Tensor(tokens), positions: int64Tensor(positions) };
  }
}

function readOptions(config: RawConfig): Options {
  const width = config.count("n_embd", 768);
  const heads = config.count("n_head", 12);
  if (width % heads !== 0) config.fault(`n_embd ${width} is not a multiple of n_head ${heads}`);
  if (config.flag("add_cross_attention", false)) config.fault("add_cross_attention is not supported");
  const options = {
    width,
    heads,
    layers: config.count("n_layer", 12),
    feedForward: config.count("n_inner", 4 * width),
    vocabularySize: config.count("vocab_size", 50_257),
    positions: config.count("n_positions", 1024),
    epsilon: config.number("layer_norm_epsilon", 1e-5),
    activation: config.choice("activation_function", activationNames, "gelu_new"),
    scaled: config.flag("scale_attn_weights", true),
    scaledByLayer: config.flag("scale_attn_by_inverse_layer_idx", false),
  };
  config.check();
  return options;
}

/**
 * GPT-2: layer norms, learned positions, and weights kept (in, out).
 *
 * @see Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, §2.3
 */
export const gpt2 = defineModel({
  modelType: "gpt2",
  title: "GPT-2",
  prefix: "transformer",
  body: (config) => new GPT2Model(readOptions(config)),
  heads: {
    CAUSAL_LM: languageHead("GPT2LMHeadModel", { tied: true }),
    SEQ_CLS: linearHead("GPT2ForSequenceClassification", "score", { reads: "last", bias: false }),
    TOKEN_CLS: linearHead("GPT2ForTokenClassification", "classifier", {
      reads: "each",
      bias: true,
      dropout: classifierDropout,
    }),
    QUESTION_ANS: linearHead("GPT2ForQuestionAnswering", "qa_outputs", {
      reads: "each",
      bias: true,
      outputs: 2,
    }),
  },
  defaultTargets: {
    TRAINABLE_TOKENS: ["wte"],
    LORA: ["c_attn"],
    IA3: ["c_attn", "mlp.c_proj"],
    IA3_FEEDFORWARD: ["mlp.c_proj"],
    LN_TUNING: ["ln_1", "ln_2", "ln_f"],
    FOURIERFT: ["mlp.c_proj"],
  },
  contextLength: (config) => config.count("n_positions", 1024),
});
