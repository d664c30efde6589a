"""Makes test/fixtures/prompt-tasks: virtual tokens before the input, or before keys and values, of classifiers and encoders.

From the root of the repository, in the environment of make_fixtures.py, after make_model_fixtures.py (a minute, two cores):
    python test/parity/make_prompt_task_fixtures.py [CASE ...]
Two runs write the same bytes. The models are those of test/fixtures/tasks. A case is a folder: adapter/ as save_pretrained writes it
after training, facts.json and expected.safetensors. Outputs for tokens are those of real tokens.

Where Hugging Face's peft fails or trains on something else, what is measured is written out here from its parts:
- the labels of tokens and the places of answers are those of real tokens, whose outputs are compared with them (peft fails, or counts
  the virtual tokens as columns of the batch);
- prefixes are passed as `cache`, the name that transformers 5 has for `past_key_values` (peft 0.21.2 looks for the old one).
"""
import json
import shutil
import sys
from pathlib import Path

import torch
from peft import (
    MultitaskPromptTuningConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model,
)
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModel, AutoModelForMaskedLM, AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoModelForTokenClassification,
)

ROOT = Path("test/fixtures")
OUT = ROOT / "prompt-tasks"
AUTOS = dict(SEQ_CLS=AutoModelForSequenceClassification, TOKEN_CLS=AutoModelForTokenClassification,
             QUESTION_ANS=AutoModelForQuestionAnswering, FEATURE_EXTRACTION=AutoModel, MASKED_LM=AutoModelForMaskedLM)
# What peft calls a task that it has no name for: a class without a task leaves virtual tokens out without a word.
NAMES = dict(MASKED_LM="FEATURE_EXTRACTION")
PROMPT, PREFIX, P, MULTITASK = PromptTuningConfig, PrefixTuningConfig, PromptEncoderConfig, MultitaskPromptTuningConfig
# DistilBERT's config has its sizes under names that peft does not know.
DISTILBERT = dict(token_dim=16, num_layers=2, num_attention_heads=2)
# Without their padding mark decoders score the last column, which the rows of these cases all reach.
CASES = {
    "prompt-bert-sequence": ("bert-sequence", "SEQ_CLS", PROMPT, dict(num_virtual_tokens=3)),
    "prefix-bert-sequence": ("bert-sequence", "SEQ_CLS", PREFIX, dict(num_virtual_tokens=3)),
    "p-bert-sequence": ("bert-sequence", "SEQ_CLS", P, dict(num_virtual_tokens=2, encoder_hidden_size=10)),
    "multitask-bert-sequence": ("bert-sequence", "SEQ_CLS", MULTITASK, dict(num_virtual_tokens=3, num_tasks=2, num_ranks=2)),
    "prompt-bert-pooler": ("bert-sequence", "SEQ_CLS", PROMPT, dict(num_virtual_tokens=2, modules_to_save=["pooler"])),
    "prompt-roberta-labels": ("roberta-labels", "SEQ_CLS", PROMPT, dict(num_virtual_tokens=4)),
    "prefix-roberta-labels": ("roberta-labels", "SEQ_CLS", PREFIX, dict(
        num_virtual_tokens=2, prefix_projection=True, encoder_hidden_size=12)),
    "p-roberta-labels": ("roberta-labels", "SEQ_CLS", P, dict(
        num_virtual_tokens=3, encoder_reparameterization_type="LSTM", encoder_hidden_size=8)),
    "multitask-roberta-labels": ("roberta-labels", "SEQ_CLS", MULTITASK, dict(num_virtual_tokens=2, num_tasks=2, num_ranks=1)),
    "prompt-distilbert-number": ("distilbert-number", "SEQ_CLS", PROMPT, dict(num_virtual_tokens=3, **DISTILBERT)),
    "p-distilbert-question": ("distilbert-question", "QUESTION_ANS", P, dict(
        num_virtual_tokens=2, encoder_hidden_size=8, **DISTILBERT)),
    "prompt-llama-sequence": ("llama-token", "SEQ_CLS", PROMPT, dict(num_virtual_tokens=3)),
    "prefix-llama-sequence": ("llama-token", "SEQ_CLS", PREFIX, dict(num_virtual_tokens=3)),
    "p-llama-sequence": ("llama-token", "SEQ_CLS", P, dict(num_virtual_tokens=2, encoder_hidden_size=8)),
    "multitask-llama-sequence": ("llama-token", "SEQ_CLS", MULTITASK, dict(num_virtual_tokens=2, num_tasks=2)),
    "prompt-gpt2-sequence": ("gpt2-sequence", "SEQ_CLS", PROMPT, dict(num_virtual_tokens=3)),
    "prefix-gpt2-sequence": ("gpt2-sequence", "SEQ_CLS", PREFIX, dict(num_virtual_tokens=3)),
    "prompt-bert-token": ("bert-token", "TOKEN_CLS", PROMPT, dict(num_virtual_tokens=3)),
    "prefix-bert-token": ("bert-token", "TOKEN_CLS", PREFIX, dict(num_virtual_tokens=3)),
    "prompt-llama-token": ("llama-token", "TOKEN_CLS", PROMPT, dict(num_virtual_tokens=3)),
    "prefix-llama-token": ("llama-token", "TOKEN_CLS", PREFIX, dict(num_virtual_tokens=2)),
    "multitask-llama-token": ("llama-token", "TOKEN_CLS", MULTITASK, dict(num_virtual_tokens=2, num_tasks=2)),
    "prompt-roberta-question": ("roberta-question", "QUESTION_ANS", PROMPT, dict(num_virtual_tokens=3)),
    "prefix-roberta-question": ("roberta-question", "QUESTION_ANS", PREFIX, dict(num_virtual_tokens=3)),
    "prompt-bert-features": ("bert-features", "FEATURE_EXTRACTION", PROMPT, dict(num_virtual_tokens=3)),
    "prefix-bert-features": ("bert-features", "FEATURE_EXTRACTION", PREFIX, dict(num_virtual_tokens=3)),
    "prompt-bert-masked": ("bert-masked", "MASKED_LM", PROMPT, dict(num_virtual_tokens=3)),
    "prefix-bert-masked": ("bert-masked", "MASKED_LM", PREFIX, dict(num_virtual_tokens=2)),
    "prompt-roberta-masked": ("roberta-masked", "MASKED_LM", PROMPT, dict(num_virtual_tokens=2)),
    "p-distilbert-masked": ("distilbert-masked", "MASKED_LM", P, dict(num_virtual_tokens=2, encoder_hidden_size=8, **DISTILBERT)),
}


def accept_past(module):
    """Lets a model take a prefix under the name that peft gives it."""
    forward = module.forward
    module.forward = lambda *given, past_key_values=None, **named: forward(*given, cache=past_key_values, **named)


def load_base(base, task):
    return AUTOS[task].from_pretrained(ROOT / "tasks" / base / "model", dtype=torch.float32)


def with_past(model):
    """peft asks the whole of a decoder with a head, and the body of an encoder with one."""
    decoder = model.config.model_type in ("llama", "gpt2") and "Sequence" in type(model).__name__
    accept_past(model if decoder else getattr(model, model.base_model_prefix, model))
    return model


def make_batch(generator, base, task):
    facts = json.loads((ROOT / "tasks" / base / "facts.json").read_text())
    batch = {key: torch.tensor(value) for key, value in facts["batch"].items()}
    if base == "llama-token" and task == "SEQ_CLS":
        batch["labels"] = torch.tensor([0, 2, 1])
    if task == "SEQ_CLS" and base in ("llama-token", "gpt2-sequence"):
        batch["input_ids"] = torch.randint(3, 61, batch["input_ids"].shape, generator=generator)
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    return batch


def outputs_of(model, task, batch, inserted):
    """What a model computes for real tokens, and its loss over them."""
    named = {key: value for key, value in batch.items() if task == "SEQ_CLS" or key not in ("labels", "start_positions", "end_positions")}
    out = model(**named)
    if task == "SEQ_CLS":
        return dict(logits=out.logits), out.loss
    if task in ("TOKEN_CLS", "MASKED_LM"):
        logits = out.logits[:, inserted:]
        return dict(logits=logits), cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
    if task == "QUESTION_ANS":
        start, end = out.start_logits[:, inserted:], out.end_logits[:, inserted:]
        length = start.shape[1]
        # Answers beyond the batch do not count.
        losses = [cross_entropy(scores, batch[key].clamp(0, length), ignore_index=length)
                  for scores, key in ((start, "start_positions"), (end, "end_positions"))]
        return dict(start_logits=start, end_logits=end), sum(losses) / 2
    hidden = out.last_hidden_state[:, inserted:]
    return dict(last_hidden_state=hidden, pooler_output=out.pooler_output), hidden[batch["attention_mask"].bool()].pow(2).mean()


def fixture(name, base, task, config_class, options):
    folder = OUT / name
    # peft adds to the lists that it is given.
    given = json.loads(json.dumps(options))
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(len(name))
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    prefix = config_class is PREFIX
    inserted = 0 if prefix else options["num_virtual_tokens"]
    model = load_base(base, task)
    model = get_peft_model(with_past(model) if prefix else model, config_class(task_type=NAMES.get(task, task), **options)).eval()
    batch = make_batch(generator, base, task)
    if options.get("num_tasks", 1) > 1:
        batch["task_ids"] = torch.tensor([1, 0, 1])
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    expected = {}
    for key, p in trained.items():
        if not key.endswith("embedding.weight"):
            # Fresh weights are small, so that errors would hardly show.
            p.data.copy_(torch.randn(p.shape, generator=generator) * 0.3)
        expected[f"start.{key}"] = p.detach().clone()
    with torch.no_grad():
        found, loss = outputs_of(model, task, batch, inserted)
    expected.update({f"fresh.{key}": value for key, value in found.items()}, **{"fresh.loss": loss})
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=0.01)
    losses = []
    for step in range(5):
        _, loss = outputs_of(model, task, batch, inserted)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            expected.update({f"grad.{key}": p.grad.clone() for key, p in trained.items()})
        optimizer.step()
        optimizer.zero_grad()
    expected.update({f"trained.{key}": p.detach().clone() for key, p in trained.items()})
    with torch.no_grad():
        found, loss = outputs_of(model, task, batch, inserted)
    expected.update({f"saved.{key}": value for key, value in found.items()}, **{"saved.loss": loss})
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink()
    save_file({key: value.detach().float().contiguous() for key, value in expected.items()}, folder / "expected.safetensors")
    facts = dict(base=base, task=task, peft_type=model.peft_config["default"].peft_type.value, options=given,
                 batch={key: value.tolist() for key, value in batch.items()}, losses=losses, learning_rate=1e-2, weight_decay=0.01)
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    chosen = sys.argv[1:] or CASES
    for name in chosen:
        fixture(name, *CASES[name])
        print(name)
