import type { DecoderOptions } from "./decoder-layer.js";
import { DecoderForCausalLM } from "./decoder-model.js";
import type { RawConfig } from "./raw-config.js";
import { readRope } from "./rope.js";

/** What sets the members of the family apart. */
export type DecoderTraits = Pick<
  DecoderOptions,
  "family" | "projectionBias" | "outputBias" | "feedForwardBias" | "queryKeyNorm" | "window" | "windowLayers"
> & {
  /** Whether the head shares the embedding where the config does not say. */
  readonly tiedHead?: boolean;
};

/** Builds a decoder from the keys that all configs of the family share. */
export function decoderFromConfig(config: RawConfig, traits: DecoderTraits): DecoderForCausalLM {
  const width = config.count("hidden_size");
  const heads = config.count("num_attention_heads");
  const keyValueHeads = config.count("num_key_value_heads", heads);
  const headDim = config.count("head_dim", width / heads);
  config.choice("hidden_act", ["silu", "swish"], "silu");
  if (heads % keyValueHeads !== 0) {
    config.fault(`num_attention_heads ${heads} is not a multiple of num_key_value_heads ${keyValueHeads}`);
  }
  const options = {
    ...traits,
    width,
    heads,
    keyValueHeads,
    headDim,
    layers: config.count("num_hidden_layers"),
    feedForward: config.count("intermediate_size"),
    vocabularySize: config.count("vocab_size"),
    epsilon: config.number("rms_norm_eps", 1e-6),
    tiedHead: config.flag("tie_word_embeddings", traits.tiedHead ?? false),
  };
  config.count("max_position_embeddings", 2048);
  config.check();
  return new DecoderForCausalLM(options, readRope(config.values, headDim));
}

/** The sliding window of configs that name it per layer or say from which layer on it holds. */
export function windowTraits(config: RawConfig): Pick<DecoderTraits, "window" | "windowLayers"> {
  const types = config.values["layer_types"];
  const first = config.optional("max_window_layers") ?? 28;
  const window = config.flag("use_sliding_window", false) ? config.optional("sliding_window") : undefined;
  const windowLayers = (layer: number): boolean =>
    Array.isArray(types) ? types[layer] === "sliding_attention" : layer >= first;
  return { window, windowLayers };
}
