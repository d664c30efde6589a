"""Makes test/fixtures/gguf with the Python package gguf: blocks of every type with their decoded values, and a small model.

Run after make_fixtures.py, in a virtual environment with gguf installed, from the root of the repository.
"""
import base64
import json
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize, quantize
from safetensors.numpy import load_file

ROOT = Path("test/fixtures/gguf")
T = gguf.GGMLQuantizationType
# Where the float16 scales of a block stand: random bytes there could be infinite.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.F16: [0], T.BF16: [], T.F32: []}


def text(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def blocks():
    rng = np.random.default_rng(0)
    made = {}
    for kind, scales in SCALES.items():
        values, size = gguf.GGML_QUANT_SIZES[kind]
        data = rng.integers(0, 256, (3, size), dtype=np.uint8)
        for at in scales:
            data[:, at:at + 2] = rng.normal(size=(3, 1)).astype(np.float16).view(np.uint8)
        if kind in (T.F32, T.BF16):
            data = quantize(rng.normal(size=(3, 4)).astype(np.float32), kind).view(np.uint8) if kind == T.BF16 else \
                rng.normal(size=(3, 1)).astype(np.float32).view(np.uint8)
        decoded = dequantize(data.reshape(3, -1), kind) if kind != T.F32 else data.view(np.float32)
        made[kind.name] = dict(type=int(kind), bytes=text(data), values=text(decoded.astype(np.float32)))
    return made


def permute(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def model():
    weights = load_file("test/fixtures/llama/model/model.safetensors")
    config = json.loads(Path("test/fixtures/llama/model/config.json").read_text())
    writer = gguf.GGUFWriter(ROOT / "llama.gguf", "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    alphabet = [chr(c) for c in range(33, 127)] + ["Ġ", "<|end|>", "ab"]
    writer.add_token_list(alphabet)
    writer.add_token_types([1] * 95 + [3, 1])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(95)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    names = dict(input_layernorm="attn_norm", post_attention_layernorm="ffn_norm")
    names |= {f"self_attn.{a}_proj": f"attn_{b}" for a, b in [("q", "q"), ("k", "k"), ("v", "v"), ("o", "output")]}
    names |= {f"mlp.{a}_proj": f"ffn_{a}" for a in ["gate", "up", "down"]}
    for key, w in weights.items():
        w = w.astype(np.float32)
        if key == "model.embed_tokens.weight":
            writer.add_tensor("token_embd.weight", w.astype(np.float16))
        elif key == "model.norm.weight":
            writer.add_tensor("output_norm.weight", w)
        elif key.startswith("model.layers."):
            _, _, layer, *rest = key.split(".")
            part = names[".".join(rest[:-1])]
            if part in ("attn_q", "attn_k"):
                heads = config["num_attention_heads" if part == "attn_q" else "num_key_value_heads"]
                w = permute(w, heads)
            name = f"blk.{layer}.{part}.weight"
            if part in ("ffn_gate", "ffn_up"):
                writer.add_tensor(name, quantize(w, T.Q8_0), raw_dtype=T.Q8_0)
            else:
                writer.add_tensor(name, w)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    ROOT.mkdir(parents=True, exist_ok=True)
    (ROOT / "blocks.json").write_text(json.dumps(blocks()))
    model()
