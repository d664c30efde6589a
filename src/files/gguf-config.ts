import { CheckpointError } from "../base/errors.js";
import { suggest } from "../base/suggest.js";
import type { GgufHeader, GgufValue } from "./gguf-header.js";
import { ropeScalingFromDivisors } from "./gguf-rope.js";

/** Keys of a Hugging Face config, by the key of GGUF after the architecture's prefix. */
const KEYS: Readonly<Record<string, string>> = {
  block_count: "num_hidden_layers",
  context_length: "max_position_embeddings",
  embedding_length: "hidden_size",
  feed_forward_length: "intermediate_size",
  "attention.head_count": "num_attention_heads",
  "attention.head_count_kv": "num_key_value_heads",
  "attention.key_length": "head_dim",
  "attention.layer_norm_rms_epsilon": "rms_norm_eps",
  "attention.sliding_window": "sliding_window",
  "rope.freq_base": "rope_theta",
};

const CLASSES: Readonly<Record<string, string>> = {
  llama: "Llama",
  mistral: "Mistral",
  qwen2: "Qwen2",
  qwen3: "Qwen3",
};

function ropeScaling(
  get: (key: string) => GgufValue | undefined,
  divisors: Float32Array | undefined,
  path: string,
): Record<string, unknown> {
  const kind = get("rope.scaling.type");
  if (kind === undefined || kind === "none") {
    if (divisors === undefined) return {};
    const scaling = ropeScalingFromDivisors(divisors, Number(get("rope.freq_base") ?? 10_000), path);
    return scaling === undefined ? {} : { rope_scaling: scaling };
  }
  return {
    rope_scaling: {
      rope_type: kind,
      factor: get("rope.scaling.factor"),
      original_max_position_embeddings: get("rope.scaling.original_context_length"),
    },
  };
}

/** The `generation_config.json` that belongs to a GGUF file: above all the tokens that end an answer. */
export function ggufGenerationConfig({ metadata }: GgufHeader): Record<string, unknown> | undefined {
  const id = (key: string): GgufValue | undefined => metadata.get(`tokenizer.ggml.${key}_token_id`);
  const ends = new Set([id("eos"), id("eot"), id("eom")].filter((value) => typeof value === "number"));
  if (ends.size === 0) return undefined;
  const bos = id("bos");
  return {
    ...(bos === undefined ? {} : { bos_token_id: bos }),
    eos_token_id: ends.size === 1 ? [...ends][0] : [...ends],
  };
}

/**
 * The `config.json` that belongs to a GGUF file, made from its metadata.
 *
 * @param ropeDivisors - the tensor `rope_freqs.weight`, where the file has one
 * @throws {@link CheckpointError} `gguf_architecture` where the architecture is none that can be read;
 * {@link UnsupportedError} `gguf_rope`
 */
export function ggufConfig(
  { metadata, tensors }: GgufHeader,
  path: string,
  ropeDivisors?: Float32Array,
): Record<string, unknown> {
  const architecture = String(metadata.get("general.architecture"));
  const family = CLASSES[architecture];
  if (family === undefined) {
    const near = suggest(architecture, Object.keys(CLASSES));
    throw new CheckpointError({
      code: "gguf_architecture",
      summary: `GGUF architecture "${architecture}" of ${path} is not supported.`,
      facts: [
        ...(near.length > 0 ? [["nearest", near.join(", ")] as const] : []),
        ["supported", Object.keys(CLASSES).join(", ")],
      ],
      fixes: ["use a model of one of these architectures"],
      fields: { path, architecture },
    });
  }
  const get = (key: string): GgufValue | undefined => metadata.get(`${architecture}.${key}`);
  const embedding = tensors.find(({ name }) => name === "token_embd.weight");
  const has = (name: string): boolean => tensors.some((tensor) => tensor.name === name);
  const config: Record<string, unknown> = {
    architectures: [`${family}ForCausalLM`],
    model_type: architecture,
    hidden_act: "silu",
    vocab_size: embedding?.shape[0],
    tie_word_embeddings: !has("output.weight"),
    bos_token_id: metadata.get("tokenizer.ggml.bos_token_id"),
    eos_token_id: metadata.get("tokenizer.ggml.eos_token_id"),
    pad_token_id: metadata.get("tokenizer.ggml.padding_token_id"),
    ...(architecture === "llama"
      ? { attention_bias: has("blk.0.attn_q.bias"), mlp_bias: has("blk.0.ffn_up.bias") }
      : {}),
    ...ropeScaling(get, ropeDivisors, path),
  };
  for (const [key, name] of Object.entries(KEYS)) {
    const value = get(key);
    if (value !== undefined) config[name] = value;
  }
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
}
