"""Makes test/fixtures/methods: what Hugging Face's peft computes with every method, on the tiny models of make_fixtures.py,
make_model_fixtures.py and make_seq2seq_fixtures.py. make_method_task_fixtures.py has the same cases on encoders with a head.

From the root of the repository, in a virtual environment with the pinned versions (about a minute, two cores, no network):
    pip install -r test/parity/requirements.txt
    python test/parity/make_method_fixtures.py [CASE ...]
Two runs write the same bytes. With names of cases only these are made anew. The fixtures are committed; the tests need no Python.

A case is a folder methods/FAMILY/CASE: the adapter as save_pretrained writes it, and expected.safetensors with
  logits          scores of the real tokens of the family's batch, with the adapter
  grad.NAME       gradients of the adapter before the first step
  trained.NAME    the adapter after five AdamW steps
  merged          scores after merging the trained adapter
Where the start took a part of the weights, converted/ has the same as an ordinary adapter.
methods/manifest.json lists versions, settings of the training, the families and the cases, with the losses of the steps.
"""
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
import transformers
from peft import (
    AdaLoraConfig, BOFTConfig, FourierFTConfig, HRAConfig, IA3Config, LNTuningConfig, LoHaConfig, LoKrConfig, LoraConfig, OFTConfig,
    ShiraConfig, TrainableTokensConfig, VeraConfig, get_peft_model,
)
from peft.tuners.boft import layer as boft_layer
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

ROOT = Path("test/fixtures")
OUT = ROOT / "methods"
AUTOS = dict(CAUSAL_LM=AutoModelForCausalLM, SEQ_2_SEQ_LM=AutoModelForSeq2SeqLM)
# GPT-2 has its weights the other way round, which not every method of the reference takes.
TURNED = {"lora-parameters", "ln-tuning", "trainable-tokens", "lora-dora", "lora-bias", "lora-pissa", "ia3", "vera", "fourierft", "adalora"}
# What make_seq2seq_fixtures.py has not.
WITH_DECODER = {"lora-parameters", "lora-dora", "loha", "lokr", "vera", "hra", "oft", "boft", "fourierft", "shira", "adalora"}
# Modules that cases adapt, by family; `only` names the cases it has, `path` is where it is if not under its name.
FAMILIES = dict(
    llama=dict(norms=["input_layernorm", "norm"], tokens=["embed_tokens"], two=["layers.0.self_attn.q_proj", "layers.2.mlp.down_proj"], attention=["q_proj", "v_proj"],
               ia3=["k_proj", "down_proj"], feedforward=["down_proj"],
               parameters=["layers.0.self_attn.q_proj.weight", "layers.2.mlp.down_proj.weight"], beside=["layers.1.mlp.up_proj"]),
    qwen2=dict(norms=["post_attention_layernorm"], tokens=["embed_tokens"], two=["layers.0.self_attn.q_proj", "layers.2.mlp.down_proj"], attention=["q_proj", "v_proj"],
               embedding=["embed_tokens"], biases=True,
               ia3=["k_proj", "down_proj"], feedforward=["down_proj"],
               parameters=["layers.0.self_attn.q_proj.weight", "embed_tokens.weight"], beside=[]),
    gpt2=dict(norms=["ln_1", "ln_f"], tokens=["wte"], two=["h.0.attn.c_attn", "h.1.mlp.c_proj"], attention=["c_attn"], biases=True,
              ia3=["c_attn", "mlp.c_proj"], feedforward=["mlp.c_proj"],
              parameters=["attn.c_attn.weight", "wpe.weight", "h.1.mlp.c_proj.weight"], beside=[], only=TURNED),
    t5=dict(norms=["final_layer_norm"], tokens=["shared"], two=["encoder.block.1.layer.0.SelfAttention.q", "decoder.block.1.layer.2.DenseReluDense.wo"],
            attention=["EncDecAttention.q", "EncDecAttention.v"], ia3=["k", "wo"], feedforward=["wo"],
            parameters=["encoder.block.0.layer.0.SelfAttention.v.weight", "decoder.block.0.layer.1.EncDecAttention.o.weight"],
            beside=["decoder.block.1.layer.2.DenseReluDense.wi"], only=WITH_DECODER, path="seq2seq/t5", task="SEQ_2_SEQ_LM"),
)
LEARNING_RATE, WEIGHT_DECAY, STEPS = 1e-2, 0.01, 5


def cases(names):
    """Name, config and what differs from the rule. Targets are few, so that files stay small; `needs` is what a family has to have."""
    QV, ODD = names["attention"], names["two"]
    # A table that is tied to the head is merged into both by the reference, so only the untied one is adapted.
    yield "lora-dora", LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules=ODD + names.get("embedding", [])), {}
    # Merging needs layers that have a bias.
    yield "lora-bias", LoraConfig(r=3, lora_alpha=5, lora_bias=True, target_modules=QV), dict(needs="biases")
    yield ("lora-pissa", LoraConfig(r=3, lora_alpha=6, init_lora_weights="pissa", target_modules=ODD, rank_pattern={ODD[1]: 2}),
           dict(convert=True))
    yield ("lora-olora", LoraConfig(r=3, lora_alpha=2, init_lora_weights="olora", target_modules=ODD, use_rslora=True),
           dict(convert=True))
    yield ("lora-tokens", LoraConfig(r=2, trainable_token_indices=[50, 3, 7], target_modules=QV), {})
    # Keys of patterns are names of what is adapted, here of parameters.
    yield ("lora-parameters", LoraConfig(r=3, lora_alpha=5, bias="lora_only", target_modules=names["beside"], target_parameters=names["parameters"],
                                         rank_pattern={names["parameters"][-1]: 2}, alpha_pattern={names["parameters"][0]: 4}), {})
    yield "lora-biases", LoraConfig(r=2, bias="all", target_modules=QV), dict(needs="biases")
    yield "vera-biases", VeraConfig(r=4, bias="vera_only", target_modules=QV), dict(needs="biases")
    yield "ln-tuning", LNTuningConfig(target_modules=names["norms"]), {}
    yield "trainable-tokens", TrainableTokensConfig(token_indices=[50, 3, 7], target_modules=names["tokens"]), {}
    yield "ia3", IA3Config(target_modules=names["ia3"], feedforward_modules=names["feedforward"]), {}
    yield "loha", LoHaConfig(r=2, alpha=4, target_modules=ODD), {}
    yield "loha-dense", LoHaConfig(r=5, alpha=4, target_modules=ODD, rank_pattern={ODD[1]: 6}), {}
    yield "lokr", LoKrConfig(r=2, alpha=3, target_modules=QV), {}
    yield "lokr-both", LoKrConfig(r=1, alpha=3, target_modules=ODD, decompose_both=True, decompose_factor=6), {}
    yield "vera", VeraConfig(r=6, target_modules=ODD), {}
    yield "vera-unsaved", VeraConfig(r=6, target_modules=ODD, save_projection=False, projection_prng_key=7, d_initial=0.3), {}
    yield "hra", HRAConfig(r=5, target_modules=ODD), {}
    yield "hra-orthogonal", HRAConfig(r=3, target_modules=ODD, apply_GS=True, init_weights=False), {}
    yield "oft", OFTConfig(oft_block_size=8, target_modules=ODD), {}
    yield "oft-exact", OFTConfig(r=4, oft_block_size=0, target_modules=ODD, use_cayley_neumann=False), {}
    yield "oft-shared", OFTConfig(oft_block_size=7, target_modules=ODD, block_share=True, num_cayley_neumann_terms=6), {}
    yield "oft-constrained", OFTConfig(oft_block_size=8, target_modules=ODD, coft=True, eps=0.3), {}
    yield "boft", BOFTConfig(boft_block_size=4, target_modules=ODD), {}
    yield "boft-butterfly", BOFTConfig(boft_block_size=4, boft_n_butterfly_factor=names.get("butterfly", 3), target_modules=ODD), dict(butterfly=True)
    yield "boft-number", BOFTConfig(boft_block_size=0, boft_block_num=2, target_modules=QV[:1]), {}
    yield "fourierft", FourierFTConfig(n_frequency=40, target_modules=ODD, n_frequency_pattern={ODD[1]: 15}), {}
    yield "shira", ShiraConfig(r=2, target_modules=ODD, random_seed=5), {}
    yield ("adalora", AdaLoraConfig(init_r=4, target_r=2, tinit=1, tfinal=1, deltaT=2, total_step=STEPS, lora_alpha=6,
                                    target_modules=ODD), {})


def save_adapter(model, folder, **options):
    """As save_pretrained does it, without the model card and with lists that come from sets in a fixed order."""
    model.save_pretrained(folder, **options)
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    for key in ["target_modules", "feedforward_modules", "exclude_modules"]:
        if isinstance(config.get(key), list):
            config[key].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def cases_of(names):
    """The cases that a family has."""
    for name, config, extra in cases(names):
        if name in names.get("only", {name}) and extra.get("needs") in {None, *names}:
            yield name, config, extra


def open_family(family):
    """Where it is, its task, its batch and which of the places with scores are no padding."""
    names = FAMILIES[family]
    path, task = ROOT / names.get("path", family), names.get("task", "CAUSAL_LM")
    batch = {key: torch.tensor(value) for key, value in json.loads((path / "facts.json").read_text())["batch"].items()}
    if task == "CAUSAL_LM":
        return path, task, batch, batch["attention_mask"].bool()
    # All up to the last label that counts.
    return path, task, batch, (batch["labels"] != -100).flip(1).cumsum(1).flip(1) > 0


class BlockDiagonal:
    """What BOFT's compiled extension computes, which more than one factor needs."""

    @staticmethod
    def apply(blocks):
        return torch.stack([torch.block_diag(*factor) for factor in blocks])


def measure(model, trained, batch, real, save):
    """Scores, gradients and what five steps make of the trained parameters; and the losses. `save` is called when the model has run
    once, as some methods bring their parameters into bounds there."""
    expected, losses = {}, []
    with torch.no_grad():
        expected["logits"] = model(**batch).logits[real]
    save()
    model(**batch).loss.backward()
    for key, p in trained.items():
        expected[f"grad.{key}"] = p.grad.clone()
        p.grad = None
    optimizer = torch.optim.AdamW(trained.values(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for step in range(STEPS):
        loss = model(**batch).loss
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        if hasattr(getattr(model, "base_model", None), "update_and_allocate"):
            model.base_model.update_and_allocate(step + 1)
        optimizer.zero_grad()
    with torch.no_grad():
        model(**batch)
        for key, p in trained.items():
            expected[f"trained.{key}"] = p.detach().clone()
    return expected, losses


def attach(base, config, extra, generator):
    """The model with its adapter moved off its start, the parameters that are trained, and what saves them into a folder."""
    boft_layer.get_fbd_cuda = lambda: "butterfly" in extra
    boft_layer.FastBlockDiag = BlockDiagonal
    model = get_peft_model(base, config).eval()
    if "convert" in extra:
        # The reference compares with the adapter as it started, which must not start again when it is loaded.
        start, config.init_lora_weights = config.init_lora_weights, True
        initial = tempfile.TemporaryDirectory()
        model.save_pretrained(initial.name)
        config.init_lora_weights = start
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    for p in trained.values():
        p.data.add_(torch.randn(p.shape, generator=generator) * 0.1)

    def save(folder):
        save_adapter(model, folder)
        if "convert" in extra:
            save_adapter(model, folder / "converted", path_initial_model_for_weight_conversion=initial.name)

    return model, trained, save


def bitfit(family):
    """BitFit, which the reference does not have: the model itself with nothing but its biases trained."""
    folder = OUT / family / "bitfit"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path, task, batch, real = open_family(family)
    generator = torch.Generator().manual_seed(6)
    model = AUTOS[task].from_pretrained(path / "model", dtype=torch.float32).eval()
    trained = {}
    for key, p in model.named_parameters():
        p.requires_grad_(key.endswith(".bias"))
        if p.requires_grad:
            p.data.add_(torch.randn(p.shape, generator=generator) * 0.1)
            trained[f"base_model.model.{key.removesuffix('.bias')}.bitfit_bias.default"] = p
    save_file({key.removesuffix(".default"): p.detach().clone() for key, p in trained.items()},
              folder / "adapter_model.safetensors")
    config = dict(peft_type="BITFIT", task_type=task, target_modules=None, base_model_name_or_path=None)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    expected, losses = measure(model, trained, batch, real, lambda: None)
    with torch.no_grad():
        expected["merged"] = model(**batch).logits[real]
    save_file({key: value.contiguous() for key, value in expected.items()}, folder / "expected.safetensors")
    return dict(family=family, case="bitfit", peft_type="BITFIT", losses=losses)


def case(family, name, config, extra):
    folder = OUT / family / name
    shutil.rmtree(folder, ignore_errors=True)
    path, task, batch, real = open_family(family)
    torch.manual_seed(sum(map(ord, family + name)))
    generator = torch.Generator().manual_seed(len(name))
    base = AUTOS[task].from_pretrained(path / "model", dtype=torch.float32)
    config.task_type = task
    # Parameters are adapted as they are kept.
    if family == "gpt2" and hasattr(config, "fan_in_fan_out") and not getattr(config, "target_parameters", None):
        config.fan_in_fan_out = True
    model, trained, save = attach(base, config, extra, generator)
    expected, losses = measure(model, trained, batch, real, lambda: save(folder))
    with torch.no_grad():
        expected["merged"] = model.merge_and_unload()(**batch).logits[real]
    save_file({key: value.contiguous() for key, value in expected.items()}, folder / "expected.safetensors")
    return dict(family=family, case=name, peft_type=config.peft_type.value, losses=losses)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    chosen = sys.argv[1:]
    manifest = OUT / "manifest.json"
    kept = {(entry["family"], entry["case"]): entry for entry in json.loads(manifest.read_text())["cases"]} if chosen else {}
    made = []
    for family, names in FAMILIES.items():
        for name, config, extra in cases_of(names):
            made.append(kept[family, name] if chosen and name not in chosen else case(family, name, config, extra))
    for family in ["qwen2", "gpt2"]:
        made.append(kept[family, "bitfit"] if chosen and "bitfit" not in chosen else bitfit(family))
    versions = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)
    settings = dict(learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY, steps=STEPS)
    families = {family: dict(path=names.get("path", family), task=names.get("task", "CAUSAL_LM")) for family, names in FAMILIES.items()}
    manifest.write_text(json.dumps(dict(versions=versions, settings=settings, families=families, cases=made), indent=1))
    print(versions, len(made), "cases")
