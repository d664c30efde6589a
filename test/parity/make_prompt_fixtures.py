"""Makes test/fixtures/prompts: what Hugging Face's peft computes with virtual tokens on the tiny models of make_fixtures.py.

From the root of the repository, in a virtual environment with the pinned versions (a few seconds, two cores, no network):
    pip install -r test/parity/requirements.txt
    python test/parity/make_prompt_fixtures.py
Two runs write the same bytes. The fixtures are committed; the tests need no Python.

A case is a folder: adapter/ as save_pretrained writes it after training, facts.json (the base model, the options, batch, prompts,
greedy answers and the losses of five AdamW steps) and expected.safetensors. Logits are those of real tokens alone: (B, T, V).
"""
import json
import shutil
from pathlib import Path

import torch
from peft import (
    MultitaskPromptTuningConfig, PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model,
)
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

ROOT = Path("test/fixtures/prompts")

CASES = {
    "prompt-llama": ("llama", PromptTuningConfig, dict(num_virtual_tokens=4)),
    "prompt-qwen2": ("qwen2", PromptTuningConfig, dict(num_virtual_tokens=3, prompt_tuning_init="SAMPLE_VOCAB")),
    "prompt-mistral": ("mistral", PromptTuningConfig, dict(num_virtual_tokens=6)),
    "prompt-gpt2": ("gpt2", PromptTuningConfig, dict(num_virtual_tokens=3)),
    "prompt-gemma2": ("gemma2", PromptTuningConfig, dict(num_virtual_tokens=3)),
    "prefix-gpt2": ("gpt2", PrefixTuningConfig, dict(num_virtual_tokens=3, prefix_projection=False)),
    "prefix-phi3": ("phi3", PrefixTuningConfig, dict(num_virtual_tokens=3, prefix_projection=False)),
    "p-gpt2": ("gpt2", PromptEncoderConfig, dict(num_virtual_tokens=3, encoder_hidden_size=10)),
    "prefix-llama": ("llama", PrefixTuningConfig, dict(num_virtual_tokens=4, prefix_projection=False)),
    "prefix-qwen2": ("qwen2", PrefixTuningConfig, dict(num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=20)),
    "prefix-qwen3-zero": ("qwen3", PrefixTuningConfig, dict(num_virtual_tokens=2, init_weights="zero")),
    "prefix-mistral": ("mistral", PrefixTuningConfig, dict(num_virtual_tokens=6, prefix_projection=False)),
    "p-llama": ("llama", PromptEncoderConfig, dict(num_virtual_tokens=4, encoder_hidden_size=24)),
    "p-qwen2-lstm": ("qwen2", PromptEncoderConfig, dict(
        num_virtual_tokens=3, encoder_reparameterization_type="LSTM", encoder_hidden_size=12)),
    "multitask-llama": ("llama", MultitaskPromptTuningConfig, dict(num_virtual_tokens=4, num_tasks=2, num_ranks=2)),
    "multitask-qwen3": ("qwen3", MultitaskPromptTuningConfig, dict(num_virtual_tokens=2, num_tasks=3, num_ranks=1)),
    "prompt-llama-dynamic": ("llama-dynamic", PromptTuningConfig, dict(num_virtual_tokens=2)),
}


def make_batch(generator, tasks):
    ids = torch.randint(3, 97, (3, 11), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate([11, 8, 5]):
        mask[row, length:] = 0
    ids[mask == 0] = 0
    labels = ids.clone()
    labels[mask == 0] = -100
    labels[0, :4] = -100
    batch = dict(input_ids=ids, attention_mask=mask, labels=labels)
    if tasks:
        batch["task_ids"] = torch.tensor([1, 0, 1])
    return batch


def live_parameters(model):
    """The trained tensors under their names in the prompt encoder."""
    return {key.split("prompt_encoder.default.")[1]: p for key, p in model.named_parameters() if p.requires_grad}


def real_logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits[:, -batch["input_ids"].shape[1]:]


def load_base(base):
    return AutoModelForCausalLM.from_pretrained(f"test/fixtures/{base}/model", dtype=torch.float32)


def greedy(base, folder, prompts, tasks):
    """Token by token over whole rows, without a cache; the model is new for every prompt, since dynamic positions remember the
    longest row that was run."""
    answers = []
    for i, prompt in enumerate(prompts):
        model = PeftModel.from_pretrained(load_base(base), folder / "adapter").eval()
        ids = prompt[None]
        more = dict(task_ids=torch.tensor([tasks[i]])) if tasks else {}
        for _ in range(8):
            logits = real_logits(model, dict(input_ids=ids, attention_mask=torch.ones_like(ids), **more))
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
        answers.append(ids[0, len(prompt):].tolist())
    return answers


def fixture(name, base, config_class, options):
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(len(name))
    generator = torch.Generator().manual_seed(len(name))
    config = config_class(task_type="CAUSAL_LM", **options)
    model = get_peft_model(load_base(base), config)
    model.eval()
    tasks = options.get("num_tasks", 1) > 1
    batch = make_batch(generator, tasks)
    expected = {}
    for key, p in live_parameters(model).items():
        if "init_weights" not in options and not key.startswith("embedding"):
            # Fresh weights are small, so that errors would hardly show.
            p.data.copy_(torch.randn(p.shape, generator=generator) * 0.3)
        if options.get("prefix_projection") is False:
            p.data.mul_(0.5)
        expected[f"start.{key}"] = p.detach().clone()
    expected["logits"] = real_logits(model, batch)
    optimizer = torch.optim.AdamW(live_parameters(model).values(), lr=1e-2, weight_decay=0.01)
    losses = []
    for step in range(5):
        loss = model(**batch).loss
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            for key, p in live_parameters(model).items():
                expected[f"grad.{key}"] = p.grad.clone()
        optimizer.step()
        optimizer.zero_grad()
    for key, p in live_parameters(model).items():
        expected[f"trained.{key}"] = p.detach().clone()
    expected["trained.logits"] = real_logits(model, batch)
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink()
    prompts = [batch["input_ids"][0, :6], batch["input_ids"][1, :4]]
    save_file({k: v.detach().float().contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    facts = dict(
        base=base, peft_type=config.peft_type.value, options=options,
        batch={k: v.tolist() for k, v in batch.items()}, prompts=[p.tolist() for p in prompts],
        answers=greedy(base, folder, prompts, [1, 0] if tasks else None), losses=losses, learning_rate=1e-2, weight_decay=0.01,
    )
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    for name, case in CASES.items():
        fixture(name, *case)
        print(name)
