"""Makes test/fixtures/method-tasks: what Hugging Face's peft computes with every method that adapts modules, on encoders with a head.

From the root of the repository, in the environment of make_fixtures.py, after make_model_fixtures.py (a minute, two cores):
    python test/parity/make_method_task_fixtures.py [CASE ...]
Two runs write the same bytes. The cases are those of make_method_fixtures.py, the models those of test/fixtures/tasks. A case is a folder:
adapter/ as save_pretrained writes it before training (with converted/ in it where the start took a part of the weights), facts.json (with the losses of five steps)
and expected.safetensors with
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
from safetensors.torch import save_file

from make_method_fixtures import LEARNING_RATE, WEIGHT_DECAY, attach, cases_of, measure
from make_prompt_task_fixtures import ROOT, load_base, make_batch

OUT = ROOT / "method-tasks"
# Each method, without the further options that it has elsewhere.
PLAIN = {"lora-dora", "lora-biases", "lora-tokens", "ln-tuning", "trainable-tokens", "ia3", "loha", "lokr", "vera", "hra", "oft", "boft",
         "fourierft", "shira", "adalora"}
# Modules that cases adapt, by model.
BASES = {
    "bert-sequence": dict(
        two=["layer.0.attention.self.query", "layer.1.output.dense"], attention=["query", "value"], tokens=["word_embeddings"],
        norms=["attention.output.LayerNorm"], ia3=["key", "output.dense"], feedforward=["output.dense"], biases=True,
        parameters=["layer.0.attention.self.query.weight", "embeddings.word_embeddings.weight"], beside=["pooler.dense"], butterfly=2),
    "distilbert-number": dict(
        two=["layer.0.attention.q_lin", "layer.1.ffn.lin2"], attention=["q_lin", "v_lin"], tokens=["word_embeddings"],
        norms=["sa_layer_norm"], ia3=["k_lin", "lin2"], feedforward=["lin2"], biases=True,
        parameters=["layer.0.attention.q_lin.weight"], beside=["layer.1.ffn.lin1"], only=PLAIN),
}


def write(model, trained, batch, folder, facts, save):
    """Measures, and writes expected.safetensors and facts.json."""
    expected, losses = measure(model, trained, batch, ..., save)
    expected["fresh.logits"] = expected.pop("logits")
    merged = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    with torch.no_grad():
        expected["merged.logits"] = merged(**batch).logits
    save_file({key: value.detach().float().contiguous() for key, value in expected.items()}, folder / "expected.safetensors")
    settings = dict(task="SEQ_CLS", losses=losses, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY,
                    batch={key: value.tolist() for key, value in batch.items()})
    (folder / "facts.json").write_text(json.dumps(facts | settings))


def fresh_folder(name):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder, torch.Generator().manual_seed(sum(map(ord, name)))


def fixture(base, name, config, extra):
    folder, generator = fresh_folder(name)
    torch.manual_seed(len(name))
    config.task_type = "SEQ_CLS"
    batch = make_batch(generator, base, "SEQ_CLS")
    model, trained, save = attach(load_base(base, "SEQ_CLS"), config, extra, generator)
    facts = dict(base=base, peft_type=config.peft_type.value)
    write(model, trained, batch, folder, facts, lambda: save(folder / "adapter"))


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
    write(model, trained, batch, folder, dict(base=base, peft_type="BITFIT"), lambda: None)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    chosen = sys.argv[1:]
    for base, names in BASES.items():
        family = base.split("-")[0]
        for name, config, extra in cases_of(names):
            if not chosen or name in chosen:
                fixture(base, f"{name}-{family}", config, extra)
        if not chosen or "bitfit" in chosen:
            bitfit(base, f"bitfit-{family}")
