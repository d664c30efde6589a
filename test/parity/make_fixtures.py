"""Makes test/fixtures: tiny random models, and what Hugging Face's transformers and peft compute with them.

From the root of the repository, in a virtual environment with the pinned versions (a few seconds, two cores, no network):
    pip install -r test/parity/requirements.txt
    python test/parity/make_fixtures.py
Two runs write the same bytes. The fixtures are committed; the tests need no Python.

A case is a folder: model/ and adapter/ as save_pretrained writes them, facts.json (batches, prompts, greedy answers, losses of five
AdamW steps and their settings) and expected.safetensors. test/fixtures/manifest.json lists the versions and what each case holds;
test/fixtures/schedules.json has the learning rates of 20 steps by schedule and warm-up.
"""
import json
import shutil
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (
    LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
    Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM, get_scheduler,
)

ROOT = Path("test/fixtures")
SIZES = dict(
    vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.25, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
QV = ["q_proj", "v_proj"]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=8)


def cases():
    llama = lambda **more: LlamaForCausalLM(LlamaConfig(**{**SIZES, **more}))
    yield "llama", llama(tie_word_embeddings=True), dict(r=4, lora_alpha=8, target_modules=QV), {}
    yield ("llama-bias", llama(attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3),
           dict(r=4, lora_alpha=8, target_modules=ALL, use_rslora=True), dict(shard="20KB", clip=0.5))
    yield ("llama-linear", llama(rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=10000.0)),
           dict(r=3, lora_alpha=5, target_modules=["embed_tokens", "q_proj"]), dict(schedule="cosine"))
    yield ("llama-dynamic", llama(max_position_embeddings=6,
                                  rope_parameters=dict(rope_type="dynamic", factor=4.0, rope_theta=10000.0)),
           dict(r=2, lora_alpha=4, target_modules="all-linear"), {})
    yield "llama-bfloat16", llama().to(torch.bfloat16), dict(r=4, lora_alpha=8, target_modules=QV), {}
    yield ("llama-float16", llama().to(torch.float16),
           dict(r=4, lora_alpha=8, target_modules=QV, rank_pattern={"layers.1.self_attn.q_proj": 2},
                alpha_pattern={"v_proj": 16}), {})
    yield ("mistral", MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4, head_dim=8)),
           dict(r=4, lora_alpha=8, target_modules=["q_proj", "o_proj", "lm_head"]), {})
    yield "qwen2", Qwen2ForCausalLM(Qwen2Config(**SIZES)), dict(r=4, lora_alpha=8, target_modules=ALL), dict(schedule="linear")
    yield ("qwen3", Qwen3ForCausalLM(Qwen3Config(**{**SIZES, "head_dim": 16}, tie_word_embeddings=True)),
           dict(r=4, lora_alpha=8, target_modules=r".*\.layers\.[02]\..*(q_proj|down_proj)"), {})
    yield ("llama-save", llama(tie_word_embeddings=True),
           dict(r=4, lora_alpha=8, target_modules=QV, modules_to_save=["lm_head", "model.norm", "layers.1.mlp"]), {})
    yield ("llama-tied", llama(tie_word_embeddings=True),
           dict(r=4, lora_alpha=8, target_modules=QV, modules_to_save=["lm_head"], ensure_weight_tying=True), {})


# What the tensors of expected.safetensors are, by the beginning of their names.
HOLDS = {
    "base.": "logits and loss of the model alone, padded right and (left.) left",
    "full.grad.": "gradients of all base weights",
    "adapter.": "logits and loss with the adapter, padded right and (left.) left",
    "adapter.grad.": "gradients of the adapter before the first step",
    "trained.": "the adapter after five AdamW steps",
    "merged.": "logits after merging the trained adapter",
}


def save_adapter(model, folder):
    """As save_pretrained does it, without the model card and with target_modules, a set, in a fixed order."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def randomise(model, generator):
    """Weights on the scale of trained ones: biases and norms must not be 0 and 1, or errors in them would not show."""
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            p.data.copy_(torch.randn(p.shape, generator=generator) * 0.1)
        elif p.dim() == 1:
            p.data.copy_(1 + torch.randn(p.shape, generator=generator) * 0.1)


def make_batch(generator, left):
    ids = torch.randint(3, 97, (3, 11), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate([11, 8, 5]):
        if left:
            mask[row, : 11 - length] = 0
        else:
            mask[row, length:] = 0
    ids[mask == 0] = 0
    labels = ids.clone()
    labels[mask == 0] = -100
    labels[0, :4] = -100
    if left:
        # Nothing predicts the first token of a row; with left padding the reference would ask a padding token for it.
        for row, length in enumerate([11, 8, 5]):
            labels[row, 11 - length] = -100
    return dict(input_ids=ids, attention_mask=mask, labels=labels)


def fixture(name, model, lora, extra):
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(len(name))
    randomise(model, generator)
    model.eval()
    model.save_pretrained(folder / "model", max_shard_size=extra.get("shard", "5GB"))
    stored = next(model.parameters()).dtype
    # Loaded anew: casting a model would also round its rotary frequencies.
    model = type(model).from_pretrained(folder / "model", dtype=torch.float32).eval()
    batch = make_batch(generator, left=False)
    padded_left = make_batch(generator, left=True)
    # Learned positions would be counted from the padding; here they are counted from the first token of a row.
    where = dict(position_ids=(padded_left["attention_mask"].cumsum(1) - 1).clamp(min=0)) if "absolute" in extra else {}
    expected = {}
    with torch.no_grad():
        out = model(**batch)
        expected["base.logits"], expected["base.loss"] = out.logits, out.loss
        out = model(**padded_left, **where)
        expected["base.left.logits"], expected["base.left.loss"] = out.logits, out.loss
    if name in ("llama", "qwen2"):
        model(**batch).loss.backward()
        for key, p in model.named_parameters():
            expected[f"full.grad.{key}"] = p.grad.clone()
        model.zero_grad()
    prompts = [batch["input_ids"][0, :6], batch["input_ids"][1, :4]]

    def greedy(m):
        answers = []
        with torch.no_grad():
            for prompt in prompts:
                ids = prompt[None]
                for _ in range(8):
                    ids = torch.cat([ids, m(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
                answers.append(ids[0, len(prompt):].tolist())
        return answers

    answers = dict(base=greedy(model))
    wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **lora))
    for key, p in wrapped.named_parameters():
        if "lora_" in key:
            p.data.copy_(torch.randn(p.shape, generator=generator) * 0.15)
        elif "modules_to_save" in key:
            p.data.add_(torch.randn(p.shape, generator=generator) * 0.05)
    wrapped.eval()
    save_adapter(wrapped, folder / "adapter")
    with torch.no_grad():
        out = wrapped(**batch)
        expected["adapter.logits"], expected["adapter.loss"] = out.logits, out.loss
        out = wrapped(**padded_left, **where)
        expected["adapter.left.logits"], expected["adapter.left.loss"] = out.logits, out.loss
    answers["adapter"] = greedy(wrapped)
    trained = {k: p for k, p in wrapped.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=0.01)
    scheduler = get_scheduler(extra["schedule"], optimizer, 2, 5) if "schedule" in extra else None
    losses = []
    for step in range(5):
        loss = wrapped(**batch).loss
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            for key, p in trained.items():
                expected[f"adapter.grad.{key}"] = p.grad.clone()
        if "clip" in extra:
            torch.nn.utils.clip_grad_norm_(trained.values(), extra["clip"])
        optimizer.step()
        if scheduler:
            scheduler.step()
        optimizer.zero_grad()
    for key, p in trained.items():
        expected[f"trained.{key}"] = p.detach().clone()
    with torch.no_grad():
        expected["merged.logits"] = wrapped.merge_and_unload()(**batch).logits
    save_file({k: v.detach().float().contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    facts = dict(
        batch={k: v.tolist() for k, v in batch.items()},
        left={k: v.tolist() for k, v in padded_left.items()},
        prompts=[p.tolist() for p in prompts], answers=answers, losses=losses,
        learning_rate=1e-2, weight_decay=0.01, clip=extra.get("clip"), schedule=extra.get("schedule"),
        stored_dtype=str(stored).removeprefix("torch."),
    )
    (folder / "facts.json").write_text(json.dumps(facts))
    return dict(case=name, model_type=model.config.model_type, stored_dtype=facts["stored_dtype"], lora=lora, **extra,
                holds={kind: what for kind, what in HOLDS.items() if any(key.startswith(kind) for key in expected)})


def schedules():
    rates = {}
    for name in ["linear", "cosine", "constant", "constant_with_warmup"]:
        for warmup in [0, 4]:
            optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
            scheduler = get_scheduler(name, optimizer, warmup, 20)
            rates[f"{name}/{warmup}"] = []
            for _ in range(20):
                rates[f"{name}/{warmup}"].append(scheduler.get_last_lr()[0])
                optimizer.step()
                scheduler.step()
    (ROOT / "schedules.json").write_text(json.dumps(rates))


if __name__ == "__main__":
    torch.manual_seed(0)
    ROOT.mkdir(parents=True, exist_ok=True)
    made = [fixture(*case) for case in cases()]
    schedules()
    versions = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)
    (ROOT / "manifest.json").write_text(json.dumps(dict(versions=versions, cases=made), indent=1))
    print(versions, [case["case"] for case in made])
