"""Makes the fixtures of the further architectures: tiny random models with their heads, and what transformers and peft compute.

From the root of the repository, in the environment of make_fixtures.py:
    python test/parity/make_model_fixtures.py
Two runs write the same bytes. Causal language models are cases like those of make_fixtures.py, listed in test/fixtures/models.json.
"""
import json
import sys
from pathlib import Path

import torch
from transformers import (
    Gemma2Config, Gemma2ForCausalLM, GemmaConfig, GemmaForCausalLM, GPT2Config, GPT2LMHeadModel, Phi3Config, Phi3ForCausalLM,
)

sys.path.insert(0, str(Path(__file__).parent))
from make_fixtures import ALL, ROOT, SIZES, fixture

TINY = dict(vocab_size=97, initializer_range=0.25, bos_token_id=1, eos_token_id=2, pad_token_id=0)
GPT2 = dict(n_embd=32, n_head=4, n_layer=2, n_positions=64, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **TINY)
GEMMA = dict(**{**SIZES, "num_hidden_layers": 2}, head_dim=16)
# As in Phi-3 with 128k tokens, but trained on 8: the longest row of the batch is beyond, the others alone would not be.
LONG = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.1, 1.3, 1.2], long_factor=[1.7, 2.9, 4.1],
            original_max_position_embeddings=8, partial_rotary_factor=0.75)


def causal_cases():
    yield "gpt2", GPT2LMHeadModel(GPT2Config(**GPT2)), dict(r=4, lora_alpha=8), dict(absolute=True)
    yield ("gpt2-scaled", GPT2LMHeadModel(GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True, activation_function="relu",
                                                     n_inner=40, tie_word_embeddings=False)),
           dict(r=4, lora_alpha=8, target_modules=["c_attn", "c_proj", "c_fc", "wpe"]), dict(absolute=True))
    yield "gemma", GemmaForCausalLM(GemmaConfig(**GEMMA)), dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"]), {}
    yield ("gemma2", Gemma2ForCausalLM(Gemma2Config(**GEMMA, sliding_window=4, query_pre_attn_scalar=24,
                                                    attn_logit_softcapping=2.0, final_logit_softcapping=3.0)),
           dict(r=4, lora_alpha=8, target_modules=ALL), {})
    yield "phi3", Phi3ForCausalLM(Phi3Config(**SIZES)), dict(r=4, lora_alpha=8, target_modules=["qkv_proj", "gate_up_proj"]), {}
    yield ("phi3-long", Phi3ForCausalLM(Phi3Config(**{**SIZES, "num_hidden_layers": 2, "max_position_embeddings": 32},
                                                   sliding_window=6, original_max_position_embeddings=8, rope_parameters=LONG)),
           dict(r=4, lora_alpha=8, target_modules="all-linear"), {})


if __name__ == "__main__":
    torch.manual_seed(0)
    made = [fixture(*case) for case in causal_cases()]
    (ROOT / "models.json").write_text(json.dumps(dict(cases=made), indent=1))
    print([case["case"] for case in made])
