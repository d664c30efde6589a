"""Makes the fixtures of weights in codes: what bitsandbytes stores, and what transformers and peft compute with it on a CPU.

From the root of the repository, in the environment of make_fixtures.py (which makes the models that are quantised here):
    python test/parity/make_bnb_fixtures.py
A case of test/fixtures/bnb is a folder: model/ as save_pretrained writes a quantised model, adapter/, facts.json (the model it is made
from, the batch) and expected.safetensors: logits of the base, logits, loss and gradients with an adapter, and weights after merging it.
blocks.safetensors has values of several sizes with the codes and scales that bitsandbytes makes of them, and its 8-bit maps.
"""
import json
import shutil
import sys
from pathlib import Path

import bitsandbytes.functional as F
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.integrations import dequantize_bnb_weight
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, BitsAndBytesConfig

sys.path.insert(0, str(Path(__file__).parent))
from make_fixtures import ROOT, save_adapter

OUT = ROOT / "bnb"


def flat(codes, state, **_):
    """The rule of its GPU kernels. The CPU kernel of bitsandbytes 0.50.2 takes blocks to end with rows, which those of tiny models do not."""
    absmax = state.absmax
    if state.nested:
        absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
    return _dequantize_4bit_compute(codes.reshape(-1), absmax, state.code, state.blocksize, state.shape, state.dtype)


F.dequantize_4bit = flat
NESTED = dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype="float32")
PLAIN = dict(load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_compute_dtype="float32")
CASES = {
    "llama-nf4": ("llama", NESTED, ["q_proj", "down_proj"]),
    "llama-fp4": ("llama-bfloat16", PLAIN, ["v_proj", "up_proj"]),
    "gpt2-nf4": ("gpt2", NESTED, ["c_attn", "c_proj"]),
    "t5-nf4": ("seq2seq/t5", NESTED, ["q", "wi"]),
    "llama-int8": ("llama", dict(load_in_8bit=True, llm_int8_threshold=0.0), ["q_proj", "down_proj"]),
}


def blocks():
    """Codes and scales of values of several sizes."""
    generator = torch.Generator().manual_seed(4)
    tensors = {"map.signed": F.create_dynamic_map(True), "map.unsigned": F.create_dynamic_map(False)}
    for name, size, kind in [("a", 64 * 12, "nf4"), ("b", 64 * 5 + 7, "nf4"), ("c", 64 * 300, "nf4"), ("d", 64 * 12, "fp4"), ("e", 991, "fp4")]:
        values = torch.randn(size, generator=generator) * 0.05
        values[64:128] = 0
        codes, state = F.quantize_4bit(values, blocksize=64, quant_type=kind)
        tensors |= {f"{name}.{kind}.values": values, f"{name}.{kind}.codes": codes.flatten(), f"{name}.{kind}.absmax": state.absmax,
                    f"{name}.{kind}.decoded": F.dequantize_4bit(codes, state).flatten()}
    save_file(tensors, OUT / "blocks.safetensors")


def decoded(module):
    """What the codes of a layer stand for, (out, in), in float32 whatever the model computes in."""
    if isinstance(module, Linear4bit):
        module.weight.quant_state.dtype = torch.float32
    return dequantize_bnb_weight(module.weight, state=getattr(module, "state", None)).float()


def batch_of(source):
    facts = json.loads((ROOT / source / "facts.json").read_text())
    return {key: torch.tensor(value) for key, value in facts["batch"].items()}


def case(name, source, config, targets):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    seq2seq = source.startswith("seq2seq")
    opens = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    path = ROOT / source / "model"
    dtype = torch.bfloat16 if source.endswith("bfloat16") else torch.float32
    opened = lambda: opens.from_pretrained(path, quantization_config=BitsAndBytesConfig(**config), dtype=dtype, device_map="cpu").eval()
    model = opened()
    model.save_pretrained(folder / "model")
    (folder / "model" / "generation_config.json").unlink(missing_ok=True)
    # What the codes stand for, in float32 arithmetic: 16-bit models compute in 16 bits, and LLM.int8() rounds what it is given.
    whole = opens.from_pretrained(path, dtype=torch.float32).eval()
    for key, module in model.named_modules():
        if isinstance(module, (Linear4bit, Linear8bitLt)):
            weight = decoded(module)
            twin = whole.get_submodule(key)
            twin.weight.data.copy_(weight.T if type(twin).__name__ == "Conv1D" else weight)
        elif dtype is not torch.float32 and getattr(module, "weight", None) is not None:
            whole.get_submodule(key).weight.data.copy_(module.weight.data.float())
    batch = batch_of(source)
    expected = {}
    with torch.no_grad():
        out = whole(**batch)
        expected["base.logits"], expected["base.loss"] = out.logits, out.loss.reshape(1)
    torch.manual_seed(2)
    lora = LoraConfig(task_type="SEQ_2_SEQ_LM" if seq2seq else "CAUSAL_LM", r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False)
    wrapped = get_peft_model(whole, lora)
    save_adapter(wrapped, folder / "adapter")
    out = wrapped(**batch)
    out.loss.backward()
    expected["adapter.logits"], expected["adapter.loss"] = out.logits.detach(), out.loss.detach().reshape(1)
    for key, p in wrapped.named_parameters():
        if p.requires_grad:
            expected["adapter.grad." + key.replace(".default", "")] = p.grad.clone()
    merged = PeftModel.from_pretrained(opened(), folder / "adapter").merge_and_unload()
    for key, module in merged.named_modules():
        if isinstance(module, (Linear4bit, Linear8bitLt)) and key.split(".")[-1] in targets:
            expected[f"merged.{key}.weight"] = decoded(module)
    save_file({key: value.contiguous() for key, value in expected.items()}, folder / "expected.safetensors")
    facts = dict(source=source, batch={key: value.tolist() for key, value in batch.items()}, targets=targets,
                 codes=sum(isinstance(m, (Linear4bit, Linear8bitLt)) for m in model.modules()))
    (folder / "facts.json").write_text(json.dumps(facts))
    print(name, facts["codes"], "layers in codes")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    blocks()
    for name, given in CASES.items():
        case(name, *given)
