import { decoderFromConfig } from "../nn/decoder-config.js";
import { decoderHeads } from "../nn/decoder-heads.js";
import { ropeContextLength } from "../nn/rope.js";
import { defineModel } from "./model.js";

/**
 * Mistral: Llama with a sliding window.
 *
 * @see Jiang et al., "Mistral 7B", arXiv:2310.06825, §2
 */
export const mistral = defineModel({
  modelType: "mistral",
  title: "Mistral",
  prefix: "model",
  body: (config) =>
    decoderFromConfig(config, {
      family: "Mistral",
      projectionBias: false,
      outputBias: false,
      feedForwardBias: false,
      queryKeyNorm: false,
      window: "sliding_window" in config.values ? config.optional("sliding_window") : 4096,
    }),
  heads: decoderHeads("Mistral", { questionPrefix: "model" }),
  defaultTargets: {
    TRAINABLE_TOKENS: ["embed_tokens"],
    LORA: ["q_proj", "v_proj"],
    IA3: ["k_proj", "v_proj", "down_proj"],
    IA3_FEEDFORWARD: ["down_proj"],
    LN_TUNING: ["input_layernorm", "post_attention_layernorm", "norm"],
  },
  contextLength: (config) => ropeContextLength(config.values, 131_072),
});
