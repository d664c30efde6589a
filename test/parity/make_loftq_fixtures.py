"""Makes test/fixtures/loftq: how Hugging Face's peft starts LoRA with LoftQ, with the rounding of bitsandbytes, on a CPU.

From the root of the repository, in the environment of make_fixtures.py (which makes the models that are quantised here):
    python test/parity/make_loftq_fixtures.py
cases.json lists the cases with their options, and what happens with turned weights. CASE.safetensors has
  NAME.A, NAME.B    the pair as it starts
  NAME.base         what the weight of the base becomes
  logits            scores of the batch after the start
"""
import importlib.util
import json
import sys
import warnings
from pathlib import Path

import peft
import torch
from bitsandbytes.nn import Params4bit
from peft import LoftQConfig, LoraConfig, PeftModel, get_peft_model, replace_lora_weights_loftq
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

sys.path.insert(0, str(Path(__file__).parent))
import make_bnb_fixtures  # noqa: F401  (blocks of 4 bits as on a GPU)
from make_fixtures import ROOT

OUT = ROOT / "loftq"
TARGETS = ["q_proj", "v_proj", "down_proj"]
CASES = {
    "bits4-iter1": dict(loftq=dict(loftq_bits=4, loftq_iter=1), r=4, lora_alpha=4),
    "bits4-iter2": dict(loftq=dict(loftq_bits=4, loftq_iter=2), r=4, lora_alpha=4),
    "bits4-iter3": dict(loftq=dict(loftq_bits=4, loftq_iter=3), r=6, lora_alpha=6, rank_pattern={"v_proj": 3}, alpha_pattern={"v_proj": 3}),
    "bits8-iter1": dict(loftq=dict(loftq_bits=8, loftq_iter=1), r=4, lora_alpha=4),
    "bits8-iter2": dict(loftq=dict(loftq_bits=8, loftq_iter=2), r=4, lora_alpha=4),
    "scaled": dict(loftq=dict(loftq_bits=4, loftq_iter=1), r=4, lora_alpha=16),
    "dora": dict(loftq=dict(loftq_bits=4, loftq_iter=1), r=4, lora_alpha=4, use_dora=True),
}


def without_gpu(plain):
    """The start moves weights to a GPU; here they stay."""
    def to(self, *args, **kwargs):
        args = ["cpu" if arg == "cuda" else arg for arg in args]
        kwargs = {key: "cpu" if value == "cuda" else value for key, value in kwargs.items()}
        return plain(self, *args, **kwargs)
    return to


for kind in (torch.Tensor, Params4bit):
    kind.to = without_gpu(kind.to)


# peft 0.21 asks for SciPy, which nothing of it reads any more.
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: True if name == "scipy" else find_spec(name, *rest)


def load(family, **more):
    return AutoModelForCausalLM.from_pretrained(ROOT / family / "model", dtype=torch.float32, **more).eval()


def pairs(model):
    for key, module in model.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            yield key.removeprefix("base_model.model."), module


def write(name, tensors):
    save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, OUT / f"{name}.safetensors")


def config(loftq=None, **options):
    start = {} if loftq is None else dict(init_lora_weights="loftq", loftq_config=LoftQConfig(**loftq))
    return LoraConfig(task_type="CAUSAL_LM", **start, **options)


def case(name, options, ids):
    torch.manual_seed(3)
    model = get_peft_model(load("llama"), config(target_modules=TARGETS, **options)).eval()
    tensors = {}
    for path, module in pairs(model):
        tensors |= {f"{path}.A": module.lora_A["default"].weight, f"{path}.B": module.lora_B["default"].weight, f"{path}.base": module.base_layer.weight}
    with torch.no_grad():
        tensors["logits"] = model(input_ids=ids).logits
    write(name, tensors)


def turned(ids):
    """What becomes of a layer that keeps its weight (in, out)."""
    model = get_peft_model(load("gpt2"), config(target_modules=["c_attn"], r=4, lora_alpha=4, fan_in_fan_out=True, loftq=CASES["bits4-iter1"]["loftq"]))
    try:
        model(input_ids=ids)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "works"


def replaced(ids):
    """The pair that is fitted to a base in 4 bits."""
    torch.manual_seed(3)
    base = load("llama", quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32))
    model = get_peft_model(base, config(target_modules=TARGETS, r=4, lora_alpha=4)).eval()
    replace_lora_weights_loftq(model, model_path=str(ROOT / "llama" / "model" / "model.safetensors"))
    tensors = {}
    for path, module in pairs(model):
        tensors |= {f"{path}.A": module.lora_A["default"].weight, f"{path}.B": module.lora_B["default"].weight}
    write("replaced", tensors)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    OUT.mkdir(exist_ok=True)
    ids = torch.tensor(json.loads((ROOT / "llama" / "facts.json").read_text())["batch"]["input_ids"])
    for name, options in CASES.items():
        case(name, options, ids)
    replaced(ids)
    facts = dict(versions=dict(torch=torch.__version__, peft=peft.__version__), input_ids=ids.tolist(), turned=turned(ids), targets=TARGETS,
                 cases={name: {key: value for key, value in options.items()} for name, options in CASES.items()})
    (OUT / "cases.json").write_text(json.dumps(facts, indent=1, sort_keys=True))
    print(len(CASES) + 1, "cases;", facts["turned"])
