import type { HostTensor } from "../base/host-tensor.js";
import { type Value, withScope } from "../graph/value.js";
import { activationNames, activations } from "../nn/activation.js";
import type { Backbone } from "../nn/backbone.js";
import { linearHead } from "../nn/decoder-heads.js";
import { Embedding } from "../nn/embedding.js";
import { selfAttention } from "../nn/encoder.js";
import { int64Tensor } from "../nn/graph-runner.js";
import { LayerNorm } from "../nn/layer-norm.js";
import { Linear } from "../nn/linear.js";
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
  readonly activation: string;
}

const EPSILON = 1e-12;

class Embeddings extends Module {
  readonly kind = "Embeddings";
  readonly word_embeddings: Embedding;
  readonly position_embeddings: Embedding;
  readonly LayerNorm: LayerNorm;

  constructor({ vocabularySize, positions, width }: Options) {
    super();
    this.word_embeddings = new Embedding(vocabularySize, width);
    this.position_embeddings = new Embedding(positions, width);
    this.LayerNorm = new LayerNorm(width, EPSILON);
  }

  forward(t: Trace): Value {
    const ids = (name: string): Value => t.batch(name, { dtype: "int64", shape: [TOKENS] });
    const words = this.word_embeddings.forward(t, ids("tokens")); // (N, D)
    return this.LayerNorm.forward(t, t.f.add(words, this.position_embeddings.forward(t, ids("positions"))));
  }
}

class Attention extends Module {
  readonly kind = "DistilBertSelfAttention";
  readonly q_lin: Linear;
  readonly k_lin: Linear;
  readonly v_lin: Linear;
  readonly out_lin: Linear;

  constructor({ width }: Options) {
    super();
    const square = (): Linear => new Linear(width, width, { bias: true });
    [this.q_lin, this.k_lin, this.v_lin, this.out_lin] = [square(), square(), square(), square()];
  }
}

class FeedForward extends Module {
  readonly kind = "FFN";
  readonly lin1: Linear;
  readonly lin2: Linear;

  constructor(readonly options: Options) {
    super();
    this.lin1 = new Linear(options.width, options.feedForward, { bias: true });
    this.lin2 = new Linear(options.feedForward, options.width, { bias: true });
  }

  forward(t: Trace, x: Value): Value {
    return this.lin2.forward(t, activations[this.options.activation]!(t.f, this.lin1.forward(t, x)));
  }
}

class Block extends Module {
  readonly kind = "TransformerBlock";
  readonly attention: Attention;
  readonly sa_layer_norm: LayerNorm;
  readonly ffn: FeedForward;
  readonly output_layer_norm: LayerNorm;

  constructor(
    readonly options: Options,
    layer: number,
  ) {
    super();
    const { width } = options;
    this.attention = new Attention(options);
    this.sa_layer_norm = new LayerNorm(options.width, EPSILON);
    this.ffn = new FeedForward(options);
    this.output_layer_norm = new LayerNorm(options.width, EPSILON);
    this.attention.joins = { position: "attention", layer, width, normed: true, slot: "attention_adapters" };
    this.ffn.joins = { position: "output", layer, width, normed: true, slot: "output_adapters" };
  }

  stages(layer: number): Stage[] {
    const { width, heads } = this.options;
    const { q_lin, k_lin, v_lin, out_lin } = this.attention;
    return [
      ...selfAttention(layer, heads, width, { query: q_lin, key: k_lin, value: v_lin }),
      {
        kind: "tokens",
        name: `layer.${layer}.attention_out_mlp`,
        reads: { hidden: width, context: width },
        writes: { hidden: width },
        trace: (t, { hidden, context }) =>
          withScope("layer", () => {
            const attended = t.join(this.attention, out_lin.forward(t, context!), hidden!, (sum) =>
              this.sa_layer_norm.forward(t, sum),
            ); // (N, D)
            return {
              hidden: t.join(this.ffn, this.ffn.forward(t, attended), attended, (sum) =>
                this.output_layer_norm.forward(t, sum),
              ),
            };
          }),
      },
    ];
  }
}

class Layers extends Module {
  readonly kind = "Transformer";
  readonly layer: Block[];

  constructor(options: Options) {
    super();
    this.layer = Array.from({ length: options.layers }, (_, layer) => new Block(options, layer));
  }
}

class DistilBertModel extends Module implements Backbone {
  readonly kind = "DistilBertModel";
  readonly cacheLimit = Infinity;
  readonly embeddings: Embeddings;
  readonly transformer: Layers;
  readonly width: number;

  constructor(options: Options) {
    super();
    this.width = options.width;
    this.embeddings = new Embeddings(options);
    this.transformer = new Layers(options);
  }

  get stages(): Stage[] {
    const embed: Stage = {
      kind: "tokens",
      name: "embeddings",
      reads: {},
      writes: { hidden: this.width },
      trace: (t) => ({ hidden: this.embeddings.forward(t) }),
    };
    return [embed, ...this.transformer.layer.flatMap((block, i) => block.stages(i))];
  }

  wordEmbeddings(): Embedding {
    return this.embeddings.word_embeddings;
  }

  finish(_t: Trace, hidden: Value): Value {
    return hidden;
  }

  batchTensors({ tokens, positions }: TokenBatch): Record<string, HostTensor> {
    return { tokens: int64Tensor(tokens), positions: int64Tensor(positions) };
  }
}

function readOptions(config: RawConfig): Options {
  const width = config.count("dim", 768);
  const heads = config.count("n_heads", 12);
  if (width % heads !== 0) config.fault(`dim ${width} is not a multiple of n_heads ${heads}`);
  const options = {
    width,
    heads,
    layers: config.count("n_layers", 6),
    feedForward: config.count("hidden_dim", 4 * 768),
    vocabularySize: config.count("vocab_size", 30_522),
    positions: config.count("max_position_embeddings", 512),
    activation: config.choice("activation", activationNames, "gelu"),
  };
  config.check();
  return options;
}

/**
 * DistilBERT: BERT without token types and pooler. Hugging Face PEFT has no default targets for it.
 *
 * @see Sanh et al., "DistilBERT, a distilled version of BERT", arXiv:1910.01108, §3
 */
export const distilbert = defineModel({
  modelType: "distilbert",
  title: "DistilBERT",
  prefix: "distilbert",
  body: (config) => new DistilBertModel(readOptions(config)),
  heads: {
    MASKED_LM: (config, body) => {
      const { vocabularySize, weight } = body.wordEmbeddings();
      const { activation } = readOptions(config);
      const tied = config.flag("tie_word_embeddings", true) ? { weight } : {};
      const vocab_transform = new Linear(body.width, body.width, { bias: true });
      const vocab_layer_norm = new LayerNorm(body.width, EPSILON);
      const vocab_projector = new Linear(body.width, vocabularySize, { bias: true, ...tied });
      return {
        kind: "DistilBertForMaskedLM",
        modules: { vocab_transform, vocab_layer_norm, vocab_projector },
        reads: "each",
        score(t, hidden) {
          const inner = activations[activation]!(t.f, vocab_transform.forward(t, hidden));
          return vocab_projector.forward(t, vocab_layer_norm.forward(t, inner));
        },
      };
    },
    SEQ_CLS: (config, body) => {
      const pre_classifier = new Linear(body.width, body.width, { bias: true });
      const classifier = new Linear(body.width, config.labelCount(), { bias: true });
      const p = config.number("seq_classif_dropout", 0.2);
      return {
        kind: "DistilBertForSequenceClassification",
        modules: { pre_classifier, classifier },
        reads: "first",
        score: (t, hidden) =>
          classifier.forward(t, t.dropout(t.f.relu(pre_classifier.forward(t, hidden)), p)),
      };
    },
    TOKEN_CLS: linearHead("DistilBertForTokenClassification", "classifier", {
      reads: "each",
      bias: true,
      dropout: (config) => config.number("dropout", 0.1),
    }),
    QUESTION_ANS: linearHead("DistilBertForQuestionAnswering", "qa_outputs", {
      reads: "each",
      bias: true,
      outputs: 2,
      dropout: (config) => config.number("qa_dropout", 0.1),
    }),
  },
  defaultTargets: { TRAINABLE_TOKENS: ["word_embeddings"] },
  contextLength: (config) => config.count("max_position_embeddings", 512),
});
