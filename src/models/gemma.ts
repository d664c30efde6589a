import { decoderFromConfig } from "../nn/decoder-config.js";
import { decoderHeads } from "../nn/decoder-heads.js";
import { ropeContextLength } from "../nn/rope.js";
import { defineModel } from "./model.js";

/**
 * Gemma: Llama with GELU, word embeddings times √D, and norm weights kept as differences from one.
 *
 * @see Gemma Team, "Gemma: Open Models Based on Gemini Research and Technology", arXiv:2403.08295, §2
 */
export const gemma = defineModel({
  modelType: "gemma",
  title: "Gemma",
  prefix: "model",
  body(config) {
    const bias = config.flag("attention_bias", false);
    return decoderFromConfig(config, {
      family: "Gemma",
      projectionBias: bias,
      outputBias: bias,
      feedForwardBias: false,
      queryKeyNorm: false,
      // The first releases say "gelu" and mean its tanh approximation; `hidden_activation` came later and wins.
      activationKey:
        typeof config.values["hidden_activation"] === "string" ? "hidden_activation" : "hidden_act",
      activations: ["gelu_pytorch_tanh", "gelu", "gelu_new"],
      readAs: { gelu: "gelu_pytorch_tanh" },
      scaledEmbeddings: true,
      normOffset: 1,
      headDim: 256,
    });
  },
  heads: decoderHeads("Gemma", { tied: true }),
  defaultTargets: {
    TRAINABLE_TOKENS: ["embed_tokens"],
    LORA: ["q_proj", "v_proj"],
    IA3: ["q_proj", "v_proj", "down_proj"],
    IA3_FEEDFORWARD: ["down_proj"],
    LN_TUNING: ["input_layernorm", "post_attention_layernorm", "norm"],
  },
  contextLength: (config) => ropeContextLength(config.values, 8192),
});
