"""Makes test/fixtures/prompts-seq2seq: what Hugging Face's peft computes with virtual tokens on encoders with decoders.

From the root of the repository, in the environment of make_fixtures.py, after make_seq2seq_fixtures.py:
    python test/parity/make_prompt_seq2seq_fixtures.py
Two runs write the same bytes. A case is a folder: adapter/ as save_pretrained writes it after training, facts.json (the base model, the
options, batch, greedy answers and the losses of five AdamW steps) and expected.safetensors. Logits are those of real tokens alone: (B, T, V).

Every output of peft is compared with formulas written here, on the base model alone: rows before the embedded source (prompts), rows before
the embedded answer too (multitask), a cache of the decoder's self-attention that already holds keys and values (prefixes). Greedy answers
come from these formulas, token by token over whole rows. With transformers 5.24 peft's own generate leaves out prefixes (the cache that
it hands over as past_key_values is ignored beside the new one) and, at all times, the multitask rows before the answer; `generate` in
facts.json says whether it agrees.
    python test/parity/make_prompt_seq2seq_fixtures.py check ADAPTER LOGITS CASE
loads an adapter that peft.js saved and compares logits (a safetensors file with a tensor `logits`).
"""
import json
import shutil
import sys
from pathlib import Path

import torch
from peft import (
    MultitaskPromptTuningConfig, PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache, T5Config, T5ForConditionalGeneration

sys.path.insert(0, str(Path(__file__).parent))
from make_fixtures import randomise
from make_prompt_fixtures import live_parameters
from make_seq2seq_fixtures import SIZES, make_batch, save_model

ROOT = Path("test/fixtures/prompts-seq2seq")
RATE, DECAY, STEPS = 1e-2, 0.01, 5

# Layers of the encoder and the decoder alike and even in number: peft then has parts of the table that serve two layers, and others none.
EVEN = dict(d_model=18, num_layers=2, num_decoder_layers=2, feed_forward_proj="relu")

# d_kv · num_heads is not d_model in t5 and t5-v1_1, as in flan-t5-small, so that a prefix has to be told its width.
CASES = {
    "prompt-t5": ("t5", PromptTuningConfig, dict(num_virtual_tokens=4)),
    "prompt-t5-v1_1-vocab": ("t5-v1_1", PromptTuningConfig, dict(num_virtual_tokens=3, prompt_tuning_init="SAMPLE_VOCAB")),
    "prompt-t5-one": ("t5", PromptTuningConfig, dict(num_virtual_tokens=3, num_transformer_submodules=1)),
    "p-t5": ("t5", PromptEncoderConfig, dict(num_virtual_tokens=3, encoder_hidden_size=10)),
    "p-t5-v1_1-lstm": ("t5-v1_1", PromptEncoderConfig, dict(
        num_virtual_tokens=3, encoder_reparameterization_type="LSTM", encoder_hidden_size=8)),
    "prefix-t5": ("t5", PrefixTuningConfig, dict(num_virtual_tokens=4, token_dim=18)),
    "prefix-t5-v1_1-mlp": ("t5-v1_1", PrefixTuningConfig, dict(
        num_virtual_tokens=3, token_dim=18, prefix_projection=True, encoder_hidden_size=12)),
    "prefix-t5-even": ("t5-even", PrefixTuningConfig, dict(num_virtual_tokens=3)),
    "prefix-t5-decoder-layers": ("t5", PrefixTuningConfig, dict(num_virtual_tokens=2, token_dim=18, num_layers=2)),
    "multitask-t5": ("t5", MultitaskPromptTuningConfig, dict(num_virtual_tokens=3, num_tasks=2, num_ranks=2)),
    "multitask-t5-v1_1": ("t5-v1_1", MultitaskPromptTuningConfig, dict(num_virtual_tokens=2, num_tasks=3, num_ranks=1)),
    "multitask-t5-one": ("t5", MultitaskPromptTuningConfig, dict(
        num_virtual_tokens=3, num_tasks=2, num_ranks=1, num_transformer_submodules=1)),
}


def model_folder(base):
    return ROOT / "models" / base if base == "t5-even" else Path("test/fixtures/seq2seq") / base / "model"


def load_base(base):
    return AutoModelForSeq2SeqLM.from_pretrained(model_folder(base), dtype=torch.float32).eval()


def make_even():
    folder = model_folder("t5-even")
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(2)
    model = T5ForConditionalGeneration(T5Config(**{**SIZES, **EVEN}, tie_word_embeddings=True))
    randomise(model, generator)
    for key, p in model.named_parameters():
        if p.dim() == 2:
            p.data.copy_(torch.randn(p.shape, generator=generator) * (1.0 if "shared" in key or "bias" in key else 0.4))
    model.config.eos_token_id = model.generation_config.eos_token_id = 60
    save_model(model, folder, True)


def rows_of(model, count, batch, one):
    """The virtual tokens before source and answer, (B, n, D) each."""
    encoder = model.prompt_encoder["default"]
    indices = torch.arange(count * (1 if one else 2))
    size = batch["input_ids"].shape[0]
    if hasattr(encoder, "prefix_task_cols"):
        of_task = encoder.prefix_task_cols[batch["task_ids"]] @ encoder.prefix_task_rows[batch["task_ids"]]
        rows = encoder.embedding.weight * of_task
        return rows[:, :count], None if one else rows[:, count:]
    return encoder(indices[None])[0, :count].expand(size, -1, -1), None


def by_formula(model, config, batch, decoder_ids):
    """Logits of the decoder's tokens, from the base model alone."""
    base, count = model.get_base_model(), config.num_virtual_tokens
    size = decoder_ids.shape[0]
    if isinstance(config, PrefixTuningConfig):
        encoder = model.prompt_encoder["default"]
        table = encoder(torch.arange(count)[None])[0].view(count, -1, config.num_attention_heads, base.config.d_kv)
        parts = [part.transpose(0, 1)[None].expand(size, -1, -1, -1) for part in table.unbind(1)]
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        for layer in range(base.config.num_decoder_layers):
            at = 4 * layer
            cache.self_attention_cache.update(parts[at % len(parts)], parts[(at + 1) % len(parts)], layer)
        return base(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], decoder_input_ids=decoder_ids,
                    cache=cache).logits
    before, answer = rows_of(model, count, batch, config.num_transformer_submodules == 1)
    embedded = torch.cat([before, base.shared(batch["input_ids"])], 1)
    mask = torch.cat([torch.ones(size, count, dtype=torch.long), batch["attention_mask"]], 1)
    decoder = base.shared(decoder_ids)
    if answer is not None:
        decoder = torch.cat([answer, decoder], 1)
    return base(inputs_embeds=embedded, attention_mask=mask, decoder_inputs_embeds=decoder).logits[:, -decoder_ids.shape[1]:]


def greedy(model, config, batch, end, steps=8):
    ids = torch.zeros(batch["input_ids"].shape[0], 1, dtype=torch.long)
    with torch.no_grad():
        for _ in range(steps):
            ids = torch.cat([ids, by_formula(model, config, batch, ids)[:, -1:].argmax(-1)], 1)
    return cut(ids, end)


def cut(ids, end):
    return [row[: row.index(end)] if end in row else row for row in ids[:, 1:].tolist()]


def real_logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits[:, -batch["labels"].shape[1]:]


def fixture(name, base, config_class, options):
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(len(name))
    generator = torch.Generator().manual_seed(len(name))
    config = config_class(task_type="SEQ_2_SEQ_LM", **options)
    model = get_peft_model(load_base(base), config).eval()
    batch = make_batch(generator, [12, 9, 5], [7, 5, 3])
    batch["labels"][0, 2] = -100
    if "num_tasks" in options:
        batch["task_ids"] = torch.tensor([1, 0, options["num_tasks"] - 1])
    expected = {}
    for key, p in live_parameters(model).items():
        if not key.startswith("embedding"):
            # Fresh weights are small, so that errors would hardly show.
            p.data.copy_(torch.randn(p.shape, generator=generator) * (0.3 if "task" not in key else 1.0))
        expected[f"start.{key}"] = p.detach().clone()
    expected["logits"] = real_logits(model, batch)
    shifted = model.get_base_model()._shift_right(batch["labels"])
    with torch.no_grad():
        gap = (by_formula(model, config, batch, shifted) - expected["logits"]).abs().max().item()
    assert gap < 1e-5, (name, gap)
    optimizer = torch.optim.AdamW(live_parameters(model).values(), lr=RATE, weight_decay=DECAY)
    losses = []
    for step in range(STEPS):
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
    save_file({k: v.detach().float().contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    end = model.get_base_model().generation_config.eos_token_id
    answers = greedy(model, config, batch, end)
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    said = cut(model.generate(**inputs, max_new_tokens=8, do_sample=False, num_beams=1), end)
    with torch.no_grad():
        plain = cut(load_base(base).generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                                             max_new_tokens=8, do_sample=False, num_beams=1), end)
    prefix, both = config_class is PrefixTuningConfig, config.num_transformer_submodules == 2
    assert (said == answers) == (not prefix and not (both and "num_tasks" in options)), (name, said, answers)
    assert (said == plain) == prefix, (name, said, plain)
    facts = dict(
        base=str(model_folder(base).relative_to(ROOT.parent)), peft_type=config.peft_type.value, options=options,
        batch={k: v.tolist() for k, v in batch.items()}, answers=answers, losses=losses, learning_rate=RATE, weight_decay=DECAY,
        generate=said == answers,
    )
    (folder / "facts.json").write_text(json.dumps(facts))
    print(name, losses[0], losses[-1])


def check(adapter, logits, name):
    """Loads what peft.js saved; exit code 1 if its logits differ by more than 1e-4."""
    facts = json.loads((ROOT / name / "facts.json").read_text())
    batch = {k: torch.tensor(v) for k, v in facts["batch"].items()}
    model = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(ROOT.parent / facts["base"], dtype=torch.float32), adapter)
    lengths = [max(i for i, label in enumerate(row) if label != -100) + 1 for row in batch["labels"].tolist()]
    found, ours = real_logits(model.eval(), batch), load_file(logits)["logits"]
    gap = max((found[row, :n] - ours[row, :n]).abs().max().item() for row, n in enumerate(lengths))
    print(f"{adapter}: largest difference {gap:.1e}")
    return gap < 1e-4


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["check", adapter, logits, name]:
            sys.exit(0 if check(adapter, logits, name) else 1)
        case []:
            ROOT.mkdir(parents=True, exist_ok=True)
            make_even()
            for name, case in CASES.items():
                fixture(name, *case)
        case _:
            sys.exit(__doc__)
