import { decoderFromConfig } from "../nn/decoder-config.js";
import { decoderHeads } from "../nn/decoder-heads.js";
import { ropeContextLength } from "../nn/rope.js";
import { defineModel } from "./model.js";

/**
 * Llama, SmolLM and whatever else says `model_type: "llama"`.
 *
 * @see Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", arXiv:2302.13971
 */
export const llama = defineModel({
  modelType: "llama",
  title: "Llama",
  prefix: "model",
  body(config) {
    const bias = config.flag("attention_bias", false);
    return decoderFromConfig(config, {
      family: "Llama",
      projectionBias: bias,
      outputBias: bias,
      feedForwardBias: config.flag("mlp_bias", false),
      queryKeyNorm: false,
    });
  },
  heads: decoderHeads("Llama", { questionPrefix: "transformer" }),
  defaultTargets: {
    TRAINABLE_TOKENS: ["embed_tokens"],
    LORA: ["q_proj", "v_proj"],
    IA3: ["k_proj", "v_proj", "down_proj"],
    IA3_FEEDFORWARD: ["down_proj"],
    LN_TUNING: ["input_layernorm", "post_attention_layernorm", "norm"],
  },
  contextLength: (config) => ropeContextLength(config.values, 2048),
});
