import { activationNames } from "./activation.js";
import { Encoder } from "./encoder.js";
import type { RawConfig } from "./raw-config.js";

/** Builds the body of an encoder from the keys that configs of the BERT kind share. */
export function encoderFromConfig(
  config: RawConfig,
  traits: {
    readonly family: string;
    readonly pooler: boolean;
    /** The number of the first position, from the id of padding. */
    readonly firstPosition?: (padding: number) => number;
    readonly padding?: number;
  },
): Encoder {
  const width = config.count("hidden_size", 768);
  const heads = config.count("num_attention_heads", 12);
  if (width % heads !== 0)
    config.fault(`hidden_size ${width} is not a multiple of num_attention_heads ${heads}`);
  if (config.flag("is_decoder", false)) config.fault("is_decoder true is not supported");
  if (config.choice("position_embedding_type", ["absolute"], "absolute") !== "absolute")
    config.fault("position_embedding_type is not supported");
  const padding = config.number("pad_token_id", traits.padding ?? 0);
  const options = {
    family: traits.family,
    pooler: traits.pooler,
    firstPosition: traits.firstPosition?.(padding) ?? 0,
    width,
    heads,
    layers: config.count("num_hidden_layers", 12),
    feedForward: config.count("intermediate_size", 3072),
    vocabularySize: config.count("vocab_size", 30_522),
    positions: config.count("max_position_embeddings", 512),
    tokenTypes: config.count("type_vocab_size", 2),
    epsilon: config.number("layer_norm_eps", 1e-12),
    activation: config.choice("hidden_act", activationNames, "gelu"),
  };
  config.check();
  return new Encoder(options);
}
