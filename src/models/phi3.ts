import { decoderFromConfig } from "../nn/decoder-config.js";
import { decoderHeads } from "../nn/decoder-heads.js";
import { ropeContextLength } from "../nn/rope.js";
import { defineModel } from "./model.js";

/**
 * Phi-3: Llama with one matrix for query, key and value and one for gate and up; positions may be stretched by LongRoPE.
 * Hugging Face PEFT has no default targets for it.
 *
 * @see Abdin et al., "Phi-3 Technical Report", arXiv:2404.14219, §2
 */
export const phi3 = defineModel({
  modelType: "phi3",
  title: "Phi-3",
  prefix: "model",
  body: (config) =>
    decoderFromConfig(config, {
      family: "Phi3",
      projectionBias: false,
      outputBias: false,
      feedForwardBias: false,
      queryKeyNorm: false,
      fused: true,
      epsilon: 1e-5,
      window: config.optional("sliding_window"),
    }),
  heads: decoderHeads("Phi3"),
  defaultTargets: { TRAINABLE_TOKENS: ["embed_tokens"] },
  contextLength: (config) => ropeContextLength(config.values, 4096),
});
