import { decoderFromConfig, windowTraits } from "../nn/decoder-config.js";
import { decoderHeads } from "../nn/decoder-heads.js";
import { ropeContextLength } from "../nn/rope.js";
import { defineModel } from "./model.js";

/**
 * Qwen2: Llama with biases on query, key and value; layers from `max_window_layers` on may have a sliding window.
 *
 * @see Yang et al., "Qwen2 Technical Report", arXiv:2407.10671, §2.2
 */
export const qwen2 = defineModel({
  modelType: "qwen2",
  title: "Qwen2",
  prefix: "model",
  body: (config) =>
    decoderFromConfig(config, {
      family: "Qwen2",
      projectionBias: true,
      outputBias: false,
      feedForwardBias: false,
      queryKeyNorm: false,
      ...windowTraits(config),
    }),
  heads: decoderHeads("Qwen2", { questionPrefix: "transformer" }),
  defaultTargets: {
    TRAINABLE_TOKENS: ["embed_tokens"],
    LORA: ["q_proj", "v_proj"],
    IA3: ["q_proj", "v_proj", "down_proj"],
    IA3_FEEDFORWARD: ["down_proj"],
    LN_TUNING: ["post_attention_layernorm"],
  },
  contextLength: (config) => ropeContextLength(config.values, 32_768),
});
