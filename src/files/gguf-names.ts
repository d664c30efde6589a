const PLAIN: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};

const IN_BLOCK: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/** Tensors that are part of the config: divisors of the rotary frequencies. */
export const ROPE_DIVISORS = "rope_freqs.weight";

/** The Hugging Face name of a GGUF tensor; undefined for one that has none. */
export function huggingFaceName(name: string): string | undefined {
  const match = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name);
  if (match === null) return undefined;
  const [, block, part = "", kind = ""] = match;
  if (block === undefined) return PLAIN[part] === undefined ? undefined : `${PLAIN[part]}.${kind}`;
  return IN_BLOCK[part] === undefined ? undefined : `model.layers.${block}.${IN_BLOCK[part]}.${kind}`;
}

/**
 * Puts the rows of a query or key projection back in Hugging Face's order: GGUF files of the architecture `llama` keep the two
 * halves of a rotated head interleaved.
 *
 * Shapes: rows (heads · d, width), or a bias (heads · d) with width 1.
 */
export function uninterleaveHeads(data: Float32Array, heads: number, width: number): Float32Array {
  const out = new Float32Array(data.length);
  const headDim = data.length / width / heads;
  const half = headDim / 2;
  for (let head = 0; head < heads; head += 1) {
    for (let i = 0; i < headDim; i += 1) {
      // Row 2 j + p of the file is row p · d/2 + j of the model.
      const from = (head * headDim + i) * width;
      const to = (head * headDim + (i % 2) * half + (i >> 1)) * width;
      out.set(data.subarray(from, from + width), to);
    }
  }
  return out;
}
