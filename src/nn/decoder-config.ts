import type { DecoderOptions } from "./decoder-layer.js";
import { Decoder } from "./decoder-model.js";
import type { RawConfig } from "./raw-config.js";
import { readRope } from "./rope.js";

/** What sets the members of the family apart. */
export type DecoderTraits = Pick<
  DecoderOptions,
  | "family"
  | "projectionBias"
  | "outputBias"
  | "feedForwardBias"
  | "queryKeyNorm"
  | "window"
  | "windowLayers"
  | "fused"
  | "normsBehind"
  | "normOffset"
  | "attentionScale"
  | "attentionCap"
> & {
  /** Activations of the feed-forward layers that the family has, the usual one first. */
  readonly activations?: readonly string[];
  /** The key that names the activation. */
  readonly activationKey?: string;
  /** Whether word embeddings are multiplied by √D. */
  readonly scaledEmbeddings?: boolean;
  /** Activations that are written under one name and meant as another. */
  readonly readAs?: Readonly<Record<string, string>>;
  /** Width of a head, and epsilon of the norms, where the config does not say. */
  readonly headDim?: number;
  readonly epsilon?: number;
};

/** Builds the body of a decoder from the keys that all configs of the family share. */
export function decoderFromConfig(config: RawConfig, traits: DecoderTraits): Decoder {
  const width = config.count("hidden_size");
  const heads = config.count("num_attention_heads");
  const keyValueHeads = config.count("num_key_value_heads", heads);
  const headDim = config.count("head_dim", traits.headDim ?? width / heads);
  const names = traits.activations ?? ["silu", "swish"];
  const named = config.choice(traits.activationKey ?? "hidden_act", names, names[0]!);
  if (heads % keyValueHeads !== 0) {
    config.fault(`num_attention_heads ${heads} is not a multiple of num_key_value_heads ${keyValueHeads}`);
  }
  const rotated = rotaryShare(config.values);
  const rotaryDim = Math.floor(headDim * rotated);
  if (!(rotated > 0 && rotated <= 1) || rotaryDim % 2 !== 0)
    config.fault(`partial_rotary_factor ${rotated} does not rotate an even part of heads of ${headDim}`);
  const options = {
    ...traits,
    width,
    heads,
    keyValueHeads,
    headDim,
    rotaryDim,
    activation: traits.readAs?.[named] ?? named,
    embeddingScale: traits.scaledEmbeddings === true ? Math.fround(Math.sqrt(width)) : 1,
    layers: config.count("num_hidden_layers"),
    feedForward: config.count("intermediate_size"),
    vocabularySize: config.count("vocab_size"),
    epsilon: config.number("rms_norm_eps", traits.epsilon ?? 1e-6),
  };
  config.count("max_position_embeddings", 2048);
  config.check();
  return new Decoder(options, readRope(config.values, rotaryDim));
}

/** The share of each head that positions rotate. */
function rotaryShare(values: Readonly<Record<string, unknown>>): number {
  const nested = (values["rope_parameters"] ?? {}) as Record<string, unknown>;
  const share = nested["partial_rotary_factor"] ?? values["partial_rotary_factor"] ?? 1;
  return typeof share === "number" ? share : Number.NaN;
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
