import { decoderFromConfig } from "../nn/decoder-config.js";
import { decoderHeads } from "../nn/decoder-heads.js";
import type { RawConfig } from "../nn/raw-config.js";
import { ropeContextLength } from "../nn/rope.js";
import { defineModel } from "./model.js";

/** A cap: 0 and null switch it off, an absent key means the usual one. */
const cap = (config: RawConfig, key: string, usual: number): number | undefined => {
  const value = key in config.values ? config.optional(key) : usual;
  return value === 0 ? undefined : value;
};

/**
 * Gemma 2: Gemma with norms behind attention and feed-forward too, capped scores, and a sliding window in every other layer.
 *
 * @see Gemma Team, "Gemma 2: Improving Open Language Models at a Practical Size", arXiv:2408.00118, §2
 */
export const gemma2 = defineModel({
  modelType: "gemma2",
  title: "Gemma 2",
  prefix: "model",
  body(config) {
    const bias = config.flag("attention_bias", false);
    const types = config.values["layer_types"];
    return decoderFromConfig(config, {
      family: "Gemma2",
      projectionBias: bias,
      outputBias: bias,
      feedForwardBias: false,
      queryKeyNorm: false,
      activationKey: "hidden_activation",
      activations: ["gelu_pytorch_tanh", "gelu_new", "gelu"],
      scaledEmbeddings: true,
      normOffset: 1,
      normsBehind: true,
      headDim: 256,
      attentionScale: 1 / Math.sqrt(config.number("query_pre_attn_scalar", 256)),
      attentionCap: cap(config, "attn_logit_softcapping", 50),
      window: "sliding_window" in config.values ? config.optional("sliding_window") : 4096,
      windowLayers: (layer) =>
        Array.isArray(types) ? types[layer] === "sliding_attention" : layer % 2 === 0,
    });
  },
  heads: decoderHeads("Gemma2", {
    tied: true,
    cap: (config) => cap(config, "final_logit_softcapping", 30),
  }),
  defaultTargets: {
    TRAINABLE_TOKENS: ["embed_tokens"],
    LORA: ["q_proj", "v_proj"],
    IA3: ["q_proj", "v_proj", "down_proj"],
    IA3_FEEDFORWARD: ["down_proj"],
    LN_TUNING: [
      "input_layernorm",
      "post_attention_layernorm",
      "pre_feedforward_layernorm",
      "post_feedforward_layernorm",
      "norm",
    ],
  },
  contextLength: (config) => ropeContextLength(config.values, 8192),
});
