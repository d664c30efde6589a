"""Makes test/fixtures/lora-starts: how Hugging Face's peft starts LoRA where the start looks at data or at the weights.

From the root of the repository, in a virtual environment with the pinned versions (seconds, no network):
    pip install -r test/parity/requirements.txt
    python test/parity/make_lora_start_fixtures.py
Two runs write the same bytes. The fixtures are committed; the tests need no Python. They use the tiny models of make_fixtures.py.

cases.json lists, for each case, the family, the options and what the start settled (targets, ranks, alphas). FAMILY.json has the
batches. CASE.safetensors has
  NAME.A, NAME.B    the pair as it starts
  NAME.change       what was taken off the weight (out, in), where something was
  logits            scores of the first batch after the start, all rows and columns
"""
import json
import warnings
from dataclasses import asdict
from pathlib import Path

import peft
import torch
from peft import EvaConfig, LoraConfig, LoraGAConfig, get_peft_model, initialize_lora_eva_weights
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.loraga import preprocess_loraga
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

ROOT = Path("test/fixtures")
OUT = ROOT / "lora-starts"
TARGETS = dict(llama=["q_proj", "k_proj", "v_proj", "o_proj"], gpt2=["c_attn", "attn.c_proj"])
ROWS, LENGTH, BATCHES = 4, 20, 4


def cases(targets):
    yield "eva", dict(r=8, lora_alpha=16, init_lora_weights="eva", target_modules=targets, eva_config=EvaConfig(tau=0.6))
    # The reference whitens layers that share their inputs once more for each, so only one of them is adapted here.
    yield "eva-kept", dict(r=8, init_lora_weights="eva", target_modules=[targets[0], targets[-1]],
                           eva_config=EvaConfig(rho=1.0, tau=0.6, whiten=True, use_label_mask=False))
    yield "eva-ranks", dict(r=8, lora_alpha=4, init_lora_weights="eva", target_modules=targets,
                            rank_pattern={targets[0]: 6}, alpha_pattern={targets[-1]: 3},
                            eva_config=EvaConfig(rho=2.0, tau=0.6, adjust_scaling_factors=False))
    yield "corda-ipm", dict(r=5, lora_alpha=10, init_lora_weights="corda", target_modules=targets, corda_config=CordaConfig())
    yield "corda-kpm", dict(r=4, init_lora_weights="corda", target_modules=targets[-1:], use_rslora=True,
                            corda_config=CordaConfig(corda_method="kpm"))
    # The reference takes the inputs of turned weights for their outputs where it scales, so those are not scaled here.
    scales = ["stable", "weight_svd", "gd_scale"] if targets != TARGETS["gpt2"] else ["unit", "gd_scale", "unit"]
    for direction, scale in zip(["ArB2r", "A2rBr", "ArBr"], scales):
        yield f"ga-{direction}", dict(r=8, lora_alpha=12, init_lora_weights="lora_ga", target_modules=targets[:1] + targets[-1:],
                                      lora_ga_config=LoraGAConfig(direction=direction, scale=scale, stable_gamma=64))
    yield "mica", dict(r=3, init_lora_weights="mica", target_modules=targets)


def batches(vocabulary):
    """Rows of words that come in bursts, so that inputs have directions; the first tokens of a row are not learnt."""
    generator = torch.Generator().manual_seed(11)
    result = []
    for _ in range(BATCHES):
        common = torch.randint(1, vocabulary, (ROWS, 5), generator=generator)
        pick = torch.randint(0, 5, (ROWS, LENGTH), generator=generator)
        ids = common.gather(1, pick)
        noise = torch.rand(ids.shape, generator=generator) < 0.4
        ids = torch.where(noise, torch.randint(1, vocabulary, ids.shape, generator=generator), ids)
        labels = ids.clone()
        labels[:, :4] = -100
        result.append(dict(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels))
    return result


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, sort_keys=True))


def eva(model, data):
    initialize_lora_eva_weights(model, data, show_progress_bar=False)


def start(config, base, data):
    """A model with the adapter as it starts."""
    def train_step():
        for batch in data:
            base(**batch).loss.backward()

    def run_rows():
        # One row at a time, as the covariance needs it.
        for batch in data:
            for row in batch["input_ids"]:
                base(input_ids=row[None])

    if config.init_lora_weights == "corda":
        preprocess_corda(base, config, run_model=run_rows)
    if config.init_lora_weights == "lora_ga":
        preprocess_loraga(base, config, train_step)
    model = get_peft_model(base, config)
    if config.init_lora_weights == "eva":
        eva(model, data)
    return model


def case(family, name, options, data):
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(ROOT / family / "model", dtype=torch.float32).eval()
    before = {key: p.detach().clone() for key, p in base.named_parameters()}
    config = LoraConfig(task_type="CAUSAL_LM", fan_in_fan_out=family == "gpt2", **options)
    model = start(config, base, data).eval()
    tensors = {}
    for key, module in model.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        path = key.removeprefix("base_model.model.")
        tensors[f"{path}.A"] = module.lora_A["default"].weight.detach()
        tensors[f"{path}.B"] = module.lora_B["default"].weight.detach()
        change = before[f"{path}.weight"] - module.base_layer.weight.detach()
        if change.abs().max() > 0:
            tensors[f"{path}.change"] = change.T if family == "gpt2" else change
    with torch.no_grad():
        tensors["logits"] = model(input_ids=data[0]["input_ids"]).logits
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, OUT / f"{family}-{name}.safetensors")
    written = {key: asdict(value) if key.endswith("_config") else value for key, value in options.items()}
    settled = model.peft_config["default"]
    return dict(family=family, case=name, options=written, settled=dict(
        targets=sorted({key.rsplit(".", 1)[0] for key in tensors if key.endswith(".A")}),
        rank_pattern=settled.rank_pattern, alpha_pattern=settled.alpha_pattern))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    OUT.mkdir(exist_ok=True)
    made = []
    for family, targets in TARGETS.items():
        vocabulary = json.loads((ROOT / family / "model" / "config.json").read_text())["vocab_size"]
        data = batches(vocabulary)
        write_json(OUT / f"{family}.json", [{key: value.tolist() for key, value in batch.items()} for batch in data])
        made += [case(family, name, options, data) for name, options in cases(targets)]
    write_json(OUT / "cases.json", dict(versions=dict(torch=torch.__version__, peft=peft.__version__), cases=made))
    print(len(made), "cases")
