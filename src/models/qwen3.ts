import { decoderFromConfig, windowTraits } from "../nn/decoder-config.js";
import { decoderHeads } from "../nn/decoder-heads.js";
import { ropeContextLength } from "../nn/rope.js";
import { defineModel } from "./model.js";

/**
 * Qwen3: Llama with RMS norms over each query and key head.
 *
 * @see Yang et al., "Qwen3 Technical Report", arXiv:2505.09388, §2
 */
export const qwen3 = defineModel({
  modelType: "qwen3",
  title: "Qwen3",
  prefix: "model",
  body: (config) => {
    const bias = config.flag("attention_bias", false);
    return decoderFromConfig(config, {
      family: "Qwen3",
      projectionBias: bias,
      outputBias: bias,
      feedForwardBias: false,
      queryKeyNorm: true,
      ...windowTraits(config),
    });
  },
  heads: decoderHeads("Qwen3", { questionPrefix: "transformer" }),
  defaultTargets: {
    TRAINABLE_TOKENS: ["embed_tokens"],
    LORA: ["q_proj", "v_proj"],
    IA3: ["q_proj", "v_proj", "down_proj"],
    IA3_FEEDFORWARD: ["down_proj"],
    LN_TUNING: ["post_attention_layernorm"],
  },
  contextLength: (config) => ropeContextLength(config.values, 32_768),
});
