"""Makes the fixtures of encoders with decoders: tiny random T5s, and what transformers and peft compute with them.

From the root of the repository, in the environment of make_fixtures.py:
    python test/parity/make_seq2seq_fixtures.py
Two runs write the same bytes. A case is a folder in test/fixtures/seq2seq: model/, an adapter folder for each method,
facts.json and expected.safetensors. buckets.json has the rows of the bias table by distance, tokenizer/
a tokenizer of the size of the models and what it makes of texts.
    python test/parity/make_seq2seq_fixtures.py check ADAPTER_OR_MERGED LOGITS CASE
loads what peft.js saved and compares logits (LOGITS is a safetensors file with a tensor `logits`).
"""
import json
import shutil
import sys
from pathlib import Path

import torch
from peft import (
    AdaLoraConfig, IA3Config, LNTuningConfig, LoHaConfig, LoraConfig, PeftModel, TrainableTokensConfig, get_peft_model,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration, T5Tokenizer
from transformers.models.t5.modeling_t5 import T5Attention

sys.path.insert(0, str(Path(__file__).parent))
from make_fixtures import randomise, save_adapter

ROOT = Path("test/fixtures/seq2seq")
SIZES = dict(vocab_size=61, d_model=16, d_kv=6, num_heads=3, d_ff=24, num_layers=3, num_decoder_layers=2, dropout_rate=0.0,
             relative_attention_num_buckets=8, relative_attention_max_distance=20, decoder_start_token_id=0, pad_token_id=0)
STEPS, RATE, DECAY = 5, 1e-2, 0.01


def cases():
    task = dict(task_type="SEQ_2_SEQ_LM")
    yield "t5", dict(feed_forward_proj="relu"), True, {
        "lora": LoraConfig(**task, r=2, lora_alpha=4, lora_dropout=0.0),
        "ia3": IA3Config(**task),
        "adalora": AdaLoraConfig(**task, init_r=3, target_r=2, total_step=10, tinit=2, tfinal=2, deltaT=1, lora_dropout=0.0),
        "ln_tuning": LNTuningConfig(**task),
        "trainable_tokens": TrainableTokensConfig(**task, token_indices=[29, 15, 7]),
        # Python merges into the tied table, and so into what is tied to it: merged logits are not compared.
        "lora-tied": LoraConfig(**task, r=2, lora_alpha=4, lora_dropout=0.0, target_modules=["decoder.embed_tokens", "lm_head"]),
    }
    yield "t5-v1_1", dict(feed_forward_proj="gated-gelu"), False, {
        "lora": LoraConfig(**task, r=2, lora_alpha=4, lora_dropout=0.0, target_modules=[
            "q", "k", "v", "o", "wi_0", "wi_1", "wo", "lm_head", "relative_attention_bias"]),
        "ia3": IA3Config(**task),
        "loha": LoHaConfig(**task, r=2, alpha=4, target_modules=["q", "v"]),
    }


def make_model(folder, values, tied, generator):
    """As the Hub has them: version 1.1 says that its embeddings are not tied, and holds a head of its own."""
    model = T5ForConditionalGeneration(T5Config(**SIZES, **values, tie_word_embeddings=tied))
    randomise(model, generator)
    for key, p in model.named_parameters():
        if "relative_attention_bias" in key:
            p.data.copy_(torch.randn(p.shape, generator=generator))
        elif p.dim() == 2 and "block" in key:
            # Or a tied head would repeat what the decoder has read.
            p.data.mul_(2.5 if tied else 1.0)
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(model.lm_head.weight.shape, generator=generator) * 0.3)
    model.eval()
    return model


def save_model(model, folder, tied):
    model.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.pop("scale_decoder_outputs")
    config["tie_word_embeddings"] = tied
    path.write_text(json.dumps(config, indent=2, sort_keys=True))
    return AutoModelForSeq2SeqLM.from_pretrained(folder).eval()


def make_batch(generator, sources, targets):
    def rows(lengths):
        ids = torch.randint(3, 61, (len(lengths), max(lengths)), generator=generator)
        mask = torch.zeros_like(ids)
        for row, length in enumerate(lengths):
            mask[row, :length] = 1
        return ids * mask, mask
    ids, mask = rows(sources)
    labels, label_mask = rows(targets)
    labels[label_mask == 0] = -100
    return dict(input_ids=ids, attention_mask=mask, labels=labels)


def perturb(model, generator):
    for key, p in model.named_parameters():
        if p.requires_grad:
            p.data.add_(torch.randn(p.shape, generator=generator) * 0.15)


def greedy(model, batch, count=8):
    with torch.no_grad():
        out = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=count,
                             do_sample=False, num_beams=1)
    answers = []
    for row in out[:, 1:].tolist():
        end = model.generation_config.eos_token_id
        answers.append(row[: row.index(end)] if end in row else row)
    return answers


def fixture(name, values, tied, methods):
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(len(name))
    model = make_model(folder, values, tied, generator)
    batch = make_batch(generator, [24, 9, 5], [7, 5, 3])
    batch["labels"][0, 2] = -100
    # An answer that ends: the end token is what the model says third.
    model.generation_config.eos_token_id = None
    model.config.eos_token_id = None
    with torch.no_grad():
        said = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=6, do_sample=False)
    end = said[0, 3].item()
    model.config.eos_token_id = model.generation_config.eos_token_id = end
    model = save_model(model, folder / "model", tied)
    assert (model.lm_head.weight is model.shared.weight) == tied and model.config.scale_decoder_outputs == tied
    expected = {}
    out = model(**batch)
    expected["base.logits"], expected["base.loss"] = out.logits, out.loss
    out.loss.backward()
    expected.update({f"full.grad.{k}": p.grad.clone() for k, p in model.named_parameters()})
    model.zero_grad()
    # Longer than a tile of attention, in which gradients are summed up.
    long = make_batch(generator, [150, 20], [140, 10])
    out = model(**long)
    expected["long.logits"] = out.logits[:, ::10]
    out.loss.backward()
    for key in ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                "decoder.block.1.layer.1.EncDecAttention.k.weight", "encoder.block.0.layer.0.SelfAttention.v.weight"):
        expected[f"long.grad.{key}"] = dict(model.named_parameters())[key].grad.clone()
    answers, losses = dict(base=greedy(model, batch)), {}
    for method, config in methods.items():
        base = AutoModelForSeq2SeqLM.from_pretrained(folder / "model").eval()
        wrapped = get_peft_model(base, config)
        perturb(wrapped, generator)
        wrapped.eval()
        save_adapter(wrapped, folder / method)
        with torch.no_grad():
            out = wrapped(**batch)
        expected[f"{method}.logits"], expected[f"{method}.loss"] = out.logits, out.loss
        answers[method] = greedy(wrapped, batch)
        trained = {k: p for k, p in wrapped.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(trained.values(), lr=RATE, weight_decay=DECAY)
        losses[method] = []
        for step in range(STEPS):
            loss = wrapped(**batch).loss
            loss.backward()
            losses[method].append(loss.item())
            if step == 0:
                expected.update({f"{method}.grad.{k}": p.grad.clone() for k, p in trained.items()})
            optimizer.step()
            optimizer.zero_grad()
        expected.update({f"{method}.trained.{k}": p.detach().clone() for k, p in trained.items()})
        if method == "lora-tied":
            continue
        with torch.no_grad():
            expected[f"{method}.merged"] = wrapped.merge_and_unload()(**batch).logits
    save_file({k: v.detach().float().contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    plain = lambda batch: {k: v.tolist() for k, v in batch.items()}
    (folder / "facts.json").write_text(json.dumps(dict(
        batch=plain(batch), long=plain(long), answers=answers, losses=losses, methods=list(methods),
        learning_rate=RATE, weight_decay=DECAY)))
    return name


def buckets():
    """The bucket of every distance, for usual and unusual tables."""
    offsets = list(range(-300, 301))
    found = []
    for count, distance in [(32, 128), (8, 20), (16, 77), (64, 256)]:
        for bidirectional in (True, False):
            rows = T5Attention._relative_position_bucket(torch.tensor(offsets), bidirectional, count, distance)
            found.append(dict(buckets=count, maxDistance=distance, bidirectional=bidirectional, rows=rows.tolist()))
    (ROOT / "buckets.json").write_text(json.dumps(dict(first=offsets[0], tables=found)))


TEXTS = ["the cat and a dog: singing Zoo", "a", "", "  two  blanks ", "re-read it.", "is the dog in? </s> no"]


def tokenizer():
    """As small as the models: single letters, and a few pieces."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *"etaoinshrdlucmfwypvbgkjqxz.,:?", *"▁the ▁a ▁in er ing ▁of re on an ▁to ▁and is at en or".split(),
              *"▁cat ▁dog ▁s ▁b ▁w ▁c ▁f ▁p ▁m ▁d es ed".split()]
    made = T5Tokenizer(vocab=[(p, 0.0 if p[0] == "<" else -2.0 - 0.05 * i) for i, p in enumerate(pieces)], extra_ids=0)
    made.save_pretrained(ROOT / "tokenizer")
    encoded = [dict(text=text, ids=made(text).input_ids, decoded=made.decode(made(text).input_ids, skip_special_tokens=True))
               for text in TEXTS]
    (ROOT / "tokenizer" / "encoded.json").write_text(json.dumps(encoded))


def check(path, logits, case):
    """Loads what peft.js saved; exit code 1 if its logits differ by more than 1e-4."""
    folder = ROOT / case
    batch = {k: torch.tensor(v) for k, v in json.loads((folder / "facts.json").read_text())["batch"].items()}
    adapter = (Path(path) / "adapter_config.json").exists()
    model = AutoModelForSeq2SeqLM.from_pretrained(folder / "model" if adapter else path, dtype=torch.float32)
    model = (PeftModel.from_pretrained(model, path) if adapter else model).eval()
    # No labels: a loaded AdaLoRA that is not trained cannot add its penalty to a loss.
    decoder = model.get_base_model() if adapter else model
    inputs = dict(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                  decoder_input_ids=decoder._shift_right(batch["labels"]))
    with torch.no_grad():
        ours = model(**inputs).logits
    lengths = [max(i for i, label in enumerate(row) if label != -100) + 1 for row in batch["labels"].tolist()]
    gap = max((ours[row, :n] - load_file(logits)["logits"][row, :n]).abs().max().item() for row, n in enumerate(lengths))
    print(f"{path}: largest difference {gap:.1e}")
    return gap < 1e-4


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["check", path, logits, name]:
            sys.exit(0 if check(path, logits, name) else 1)
        case []:
            torch.manual_seed(0)
            ROOT.mkdir(parents=True, exist_ok=True)
            print([fixture(*case) for case in cases()])
            buckets()
            tokenizer()
        case _:
            sys.exit(__doc__)
