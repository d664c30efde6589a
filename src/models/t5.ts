import type { HostTensor } from "../base/host-tensor.js";
import type { Value } from "../graph/value.js";
import { activationNames } from "../nn/activation.js";
import type { Backbone } from "../nn/backbone.js";
import type { HeadBuilder } from "../nn/decoder-heads.js";
import { Embedding } from "../nn/embedding.js";
import { int64Tensor } from "../nn/graph-runner.js";
import { Linear } from "../nn/linear.js";
import { Module } from "../nn/module.js";
import type { RawConfig } from "../nn/raw-config.js";
import type { Stage, TokenBatch } from "../nn/stage.js";
import type { Trace } from "../nn/trace.js";
import { defineModel } from "./model.js";
import type { T5Options } from "./t5-layers.js";
import { T5Stack } from "./t5-stack.js";

class T5Model extends Module implements Backbone {
  readonly kind = "T5Model";
  readonly cacheLimit = Infinity;
  readonly shared: Embedding;
  readonly encoder: T5Stack;
  readonly decoder: T5Stack;
  readonly width: number;

  constructor(readonly options: T5Options) {
    super();
    this.width = options.width;
    this.shared = new Embedding(options.vocabularySize, options.width);
    this.encoder = new T5Stack(options, this.shared.weight, "encoder");
    this.decoder = new T5Stack(options, this.shared.weight, "decoder");
  }

  get stages(): Stage[] {
    const { width } = this;
    const remember: Stage = {
      kind: "tokens",
      name: "encoder.final_layer_norm",
      over: "source",
      reads: { hidden: width },
      writes: { memory: width },
      trace: (t, { hidden }) => ({ memory: this.encoder.final_layer_norm.forward(t, hidden!) }),
    };
    const { decoderLayers } = this.options;
    return [...this.encoder.stages(2 * decoderLayers), remember, ...this.decoder.stages(0)];
  }

  wordEmbeddings(): Embedding {
    return this.encoder.embed_tokens;
  }

  answerEmbeddings(): Embedding {
    return this.decoder.embed_tokens;
  }

  finish(t: Trace, hidden: Value): Value {
    return this.decoder.final_layer_norm.forward(t, hidden);
  }

  batchTensors({ tokens }: TokenBatch): Record<string, HostTensor> {
    const buckets = Int32Array.from({ length: this.options.buckets }, (_, i) => i);
    return { tokens: int64Tensor(tokens), buckets: int64Tensor(buckets) };
  }
}

/**
 * `relu`, or `gated-` before the name of an activation; `gated-gelu` means the approximation by tanh. Saved configs also hold what
 * was read from it.
 */
function readFeedForward(config: RawConfig): { gated: boolean; activation: string } {
  const names = activationNames.flatMap((name) => [name, `gated-${name}`]);
  const named = config.choice("feed_forward_proj", names, "relu");
  const activation = named === "gated-gelu" ? "gelu_new" : named.replace(/^gated-/, "");
  return {
    gated: config.flag("is_gated_act", named.startsWith("gated-")),
    activation: config.choice("dense_act_fn", activationNames, activation),
  };
}

function readOptions(config: RawConfig): T5Options {
  const layers = config.count("num_layers", 6);
  const options = {
    width: config.count("d_model", 512),
    heads: config.count("num_heads", 8),
    headDim: config.count("d_kv", 64),
    feedForward: config.count("d_ff", 2048),
    layers,
    decoderLayers: config.count("num_decoder_layers", layers),
    vocabularySize: config.count("vocab_size", 32_128),
    buckets: config.count("relative_attention_num_buckets", 32),
    maxDistance: config.count("relative_attention_max_distance", 128),
    epsilon: config.number("layer_norm_epsilon", 1e-6),
    ...readFeedForward(config),
  };
  const { buckets, maxDistance } = options;
  if (buckets < 4 || buckets % 2 !== 0)
    config.fault(`relative_attention_num_buckets ${buckets} is not an even number from 4 on`);
  if (maxDistance <= buckets / 2)
    config.fault(
      `relative_attention_max_distance ${maxDistance} is not more than half of relative_attention_num_buckets ${buckets}`,
    );
  config.check();
  return options;
}

/** Version 1.0 scales what the head reads by 1/√D, version 1.1 does not; that its head is tied is what tells them apart. */
const scalesOutputs = (config: RawConfig): boolean =>
  config.flag("scale_decoder_outputs", config.flag("tie_word_embeddings", true));

const head: HeadBuilder = (config, body) => {
  const { vocabularySize, weight } = body.wordEmbeddings();
  const shared = config.flag("tie_word_embeddings", true) ? { weight } : {};
  const lm_head = new Linear(body.width, vocabularySize, shared);
  const scale = scalesOutputs(config) ? body.width ** -0.5 : 1;
  return {
    kind: "T5ForConditionalGeneration",
    modules: { lm_head },
    reads: "each",
    score(t, hidden) {
      const finished = body.finish(t, hidden);
      return lm_head.forward(t, scale === 1 ? finished : t.f.scale(finished, { by: scale }));
    },
  };
};

/**
 * T5, T5 1.1 and FLAN-T5: an encoder and a decoder with biases by distance in place of positions.
 *
 * @see Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", arXiv:1910.10683
 */
export const t5 = defineModel({
  modelType: "t5",
  title: "T5",
  prefix: "",
  body: (config) => new T5Model(readOptions(config)),
  heads: { SEQ_2_SEQ_LM: head },
  defaultTargets: {
    LORA: ["q", "v"],
    IA3: ["k", "v", "wo"],
    IA3_FEEDFORWARD: ["wo"],
    ADALORA: ["q", "k", "v", "o", "wi", "wo"],
    LN_TUNING: ["layer_norm", "final_layer_norm"],
    TRAINABLE_TOKENS: ["shared"],
  },
  // Distances have no end: beyond the last bucket they all count the same.
  contextLength: () => Infinity,
  bodyAlone: false,
  wholeLinears: /\.wo$/,
  decimals: ["initializer_factor", "layer_norm_epsilon"],
  // A merge may take tied weights apart, which the files show by themselves, and must not change the scale.
  savedConfig: (config) => ({
    scale_decoder_outputs: scalesOutputs(config),
    tie_word_embeddings: config.flag("tie_word_embeddings", true),
  }),
});
