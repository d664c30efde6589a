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
 * The row of the file that a row of a query or key projection of Hugging Face's lies in: GGUF files of the architecture `llama` keep the
 * two halves of a rotated head interleaved.
 */
export function interleavedRow(row: number, headDim: number): number {
  const half = headDim / 2;
  const i = row % headDim;
  // Row p · d/2 + j of the model is row 2 j + p of the file.
  return row - i + 2 * (i % half) + Math.floor(i / half);
}
