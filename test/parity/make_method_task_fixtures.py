"""Makes test/fixtures/method-tasks: what Hugging Face's peft computes with every method that adapts modules, on encoders with a head.

From the root of the repository, in the environment of make_fixtures.py, after make_model_fixtures.py (a minute, two cores):
    python test/parity/make_method_task_fixtures.py [CASE ...]
Two runs write the same bytes. The models are those of test/fixtures/tasks. A case is a folder: adapter/ as save_pretrained writes it
before training, facts.json (with the losses of five steps) and expected.safetensors with
  fresh.NAME      outputs with the adapter
  grad.NAME       gradients of adapter and head before the first step
  trained.NAME    both after five AdamW steps
  merged.NAME     outputs after merging the trained adapter
"""
import json
import shutil
import sys
import warnings

import torch
from peft import (
    AdaLoraConfig, BOFTConfig, FourierFTConfig, HRAConfig, IA3Config, LNTuningConfig, LoHaConfig, LoKrConfig, LoraConfig, OFTConfig,
    ShiraConfig, TrainableTokensConfig, VeraConfig, get_peft_model,
)
from peft.tuners.boft import layer as boft_layer
from safetensors.torch import save_file

from make_method_fixtures import LEARNING_RATE, STEPS, WEIGHT_DECAY, save_adapter
from make_prompt_task_fixtures import ROOT, load_base, make_batch, outputs_of

OUT = ROOT / "method-tasks"
# Modules that cases adapt, by model.
BASES = {
    "bert-sequence": dict(
        two=["layer.0.attention.self.query", "layer.1.output.dense"], attention=["query", "value"],
        norms=["attention.output.LayerNorm"], ia3=["key", "output.dense"], feedforward=["output.dense"]),
    "distilbert-number": dict(
        two=["layer.0.attention.q_lin", "layer.1.ffn.lin2"], attention=["q_lin", "v_lin"], norms=["sa_layer_norm"],
        ia3=["k_lin", "lin2"], feedforward=["lin2"]),
}


def cases(names):
    QV, ODD = names["attention"], names["two"]
    yield "lora-dora", LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules=ODD)
    yield "lora-biases", LoraConfig(r=2, bias="all", target_modules=QV)
    yield "lora-tokens", LoraConfig(r=2, trainable_token_indices=[50, 3, 7], target_modules=QV)
    yield "ln-tuning", LNTuningConfig(target_modules=names["norms"])
    yield "trainable-tokens", TrainableTokensConfig(token_indices=[50, 3, 7], target_modules=["word_embeddings"])
    yield "ia3", IA3Config(target_modules=names["ia3"], feedforward_modules=names["feedforward"])
    yield "loha", LoHaConfig(r=2, alpha=4, target_modules=ODD)
    yield "lokr", LoKrConfig(r=2, alpha=3, target_modules=ODD)
    yield "vera", VeraConfig(r=6, target_modules=ODD)
    yield "hra", HRAConfig(r=4, target_modules=ODD)
    yield "oft", OFTConfig(oft_block_size=4, target_modules=ODD)
    yield "boft", BOFTConfig(boft_block_size=4, target_modules=ODD)
    yield "fourierft", FourierFTConfig(n_frequency=40, target_modules=ODD)
    yield "shira", ShiraConfig(r=2, target_modules=ODD, random_seed=5)
    yield "adalora", AdaLoraConfig(init_r=4, target_r=2, tinit=1, tfinal=1, deltaT=2, total_step=STEPS, lora_alpha=6,
                                   target_modules=ODD)


def measure(model, trained, batch, folder, facts):
    """Outputs, gradients and what five steps make of the trained parameters."""
    with torch.no_grad():
        found, _ = outputs_of(model, "SEQ_CLS", batch, 0)
    expected = {f"fresh.{key}": value for key, value in found.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    losses = []
    for step in range(STEPS):
        _, loss = outputs_of(model, "SEQ_CLS", batch, 0)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            expected.update({f"grad.{key}": p.grad.clone() for key, p in trained.items()})
        optimizer.step()
        if hasattr(getattr(model, "base_model", None), "update_and_allocate"):
            model.base_model.update_and_allocate(step + 1)
        optimizer.zero_grad()
    expected.update({f"trained.{key}": p.detach().clone() for key, p in trained.items()})
    settings = dict(task="SEQ_CLS", losses=losses, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY,
                    batch={key: value.tolist() for key, value in batch.items()})
    (folder / "facts.json").write_text(json.dumps(facts | settings))
    return expected


def finish(model, batch, folder, expected):
    with torch.no_grad():
        merged, _ = outputs_of(model, "SEQ_CLS", batch, 0)
    expected.update({f"merged.{key}": value for key, value in merged.items()})
    save_file({key: value.detach().float().contiguous() for key, value in expected.items()}, folder / "expected.safetensors")


def fresh_folder(name):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder, torch.Generator().manual_seed(sum(map(ord, name)))


def fixture(base, name, config):
    folder, generator = fresh_folder(name)
    torch.manual_seed(len(name))
    config.task_type = "SEQ_CLS"
    model = get_peft_model(load_base(base, "SEQ_CLS"), config).eval()
    batch = make_batch(generator, base, "SEQ_CLS")
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    for p in trained.values():
        p.data.add_(torch.randn(p.shape, generator=generator) * 0.1)
    with torch.no_grad():
        # Some methods bring their parameters into bounds when they run.
        model(**batch)
    save_adapter(model, folder / "adapter")
    expected = measure(model, trained, batch, folder, dict(base=base, peft_type=config.peft_type.value))
    finish(model.merge_and_unload(), batch, folder, expected)


def bitfit(base, name):
    """BitFit, which the reference does not have: the model itself with its biases trained, and its head."""
    folder, generator = fresh_folder(name)
    model = load_base(base, "SEQ_CLS").eval()
    batch = make_batch(generator, base, "SEQ_CLS")
    heads = [key for key in ("pre_classifier", "classifier") if hasattr(model, key)]
    trained, saved = {}, {}
    for key, p in model.named_parameters():
        module, name = key.rsplit(".", 1)
        p.requires_grad_(module in heads or name == "bias")
        if p.requires_grad:
            p.data.add_(torch.randn(p.shape, generator=generator) * 0.1)
            live = f"{module}.modules_to_save.default.{name}" if module in heads else f"{module}.bitfit_bias.default"
            trained[f"base_model.model.{live}"] = p
            saved[f"base_model.model.{key if module in heads else module + '.bitfit_bias'}"] = p.detach().clone()
    (folder / "adapter").mkdir()
    save_file(saved, folder / "adapter" / "adapter_model.safetensors")
    config = dict(peft_type="BITFIT", task_type="SEQ_CLS", target_modules=None, base_model_name_or_path=None, modules_to_save=heads)
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    finish(model, batch, folder, measure(model, trained, batch, folder, dict(base=base, peft_type="BITFIT")))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    boft_layer.get_fbd_cuda = lambda: False
    chosen = sys.argv[1:]
    for base, names in BASES.items():
        family = base.split("-")[0]
        made = [(f"{name}-{family}", config) for name, config in cases(names)] + [(f"bitfit-{family}", None)]
        for name, config in made:
            if chosen and name not in chosen:
                continue
            fixture(base, name, config) if config is not None else bitfit(base, name)
            print(name)
