"""Makes test/fixtures/cloze: classes predicted as words, by masked and causal language models, with adapters and virtual tokens.

From the root of the repository, in the environment of make_fixtures.py, after make_fixtures.py and make_model_fixtures.py:
    python test/parity/make_cloze_fixtures.py [CASE ...]
Two runs write the same bytes. The models are those of these scripts; each case brings a tokenizer of whole words for them, so that
rows are tokenised on both sides. A case is a folder: tokenizer.json, tokenizer_config.json, adapter/ as save_pretrained writes it
after training, facts.json and expected.safetensors: scores of classes (B, C) before any training and after five AdamW steps.

Scores are written out here from the model's logits, word by word and row by row: nothing is shared, nothing is packed.
"""
import json
import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

sys.path.insert(0, str(Path(__file__).parent))
from make_fixtures import save_adapter

ROOT = Path("test/fixtures")
OUT = ROOT / "cloze"
SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
WORDS = ["It", "was", ".", "Mood", ":", "good", "fine", "bad", "awful", "very"]
LORA, PROMPT, PREFIX, P = LoraConfig, PromptTuningConfig, PrefixTuningConfig, PromptEncoderConfig
DISTILBERT = dict(token_dim=16, num_layers=2, num_attention_heads=2)
MASKED = dict(template="{text} It was {mask}.", verbalizer={"up": ["good", "fine"], "down": "bad", "other": ["awful", "very"]})
# Words of one, two and three tokens; two of them begin alike.
CAUSAL = dict(template="{text}. Mood:", verbalizer={
    "up": ["good", "very good"], "down": ["bad", "awful"], "other": ["very very bad"]})
CASES = {
    "lora-bert": ("tasks/bert-masked", LORA, dict(r=2, lora_alpha=4), MASKED),
    "lora-roberta-sum": ("tasks/roberta-masked", LORA, dict(r=2, lora_alpha=4, target_modules=["query", "lm_head.decoder"]),
                         dict(**MASKED, combine_words="sum")),
    "prompt-bert": ("tasks/bert-masked", PROMPT, dict(num_virtual_tokens=3), dict(**MASKED, combine_words="sum")),
    "p-distilbert": ("tasks/distilbert-masked", P, dict(num_virtual_tokens=2, encoder_hidden_size=8, **DISTILBERT), MASKED),
    "lora-llama": ("llama", LORA, dict(r=2, lora_alpha=4), CAUSAL),
    "lora-llama-sum": ("llama", LORA, dict(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"]),
                       dict(**{**CAUSAL, "template": "{text}\nIt was {mask}"}, combine_words="sum", length_normalization=True)),
    "prompt-llama": ("llama", PROMPT, dict(num_virtual_tokens=3), CAUSAL),
    "prefix-llama": ("llama", PREFIX, dict(num_virtual_tokens=2), dict(**CAUSAL, combine_words="sum")),
}
LENGTHS, MOST = [5, 2, 30, 7], 16


def make_tokenizer(size, masked):
    vocabulary = SPECIAL + WORDS
    vocabulary += [f"w{i}" for i in range(len(vocabulary), size)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    if masked:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    config = dict(tokenizer_class="PreTrainedTokenizerFast", unk_token="[UNK]", pad_token="[PAD]",
                  **(dict(cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]") if masked else {}))
    return tokenizer, config


def row_tokens(tokenizer, text, template, masked, longest):
    """A row in its template; what is too much is cut off the text, word by word."""
    words = text.split()
    for kept in range(len(words), -1, -1):
        written = template.replace("{text}", " ".join(words[:kept])).replace("{mask}", "[MASK]" if masked else "")
        ids = tokenizer.encode(written).ids
        if len(ids) + longest - 1 <= MOST:
            return ids


def class_scores(model, rows, words, cloze, masked, inserted):
    """Scores (B, C)."""
    combine, normalize = cloze.get("combine_words", "mean"), cloze.get("length_normalization", False)
    def word_score(ids, word):
        if masked:
            logits = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)).logits
            return logits[0, inserted + ids.index(3), word[0]]
        whole = ids + word
        logits = model(input_ids=torch.tensor([whole]), attention_mask=torch.ones(1, len(whole), dtype=torch.long)).logits
        shares = logits[0, inserted:].log_softmax(-1)
        total = sum(shares[len(ids) - 1 + i, token] for i, token in enumerate(word))
        return total / len(word) if normalize else total
    def class_score(ids, several):
        scores = torch.stack([word_score(ids, word) for word in several])
        return scores.mean() if combine == "mean" else scores.logsumexp(0)
    return torch.stack([torch.stack([class_score(ids, several) for several in words]) for ids in rows])


def fixture(name, base, config_class, options, cloze):
    folder = OUT / name
    given = json.loads(json.dumps(options))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(len(name))
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    masked = "masked" in base
    auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    model = auto.from_pretrained(ROOT / base / "model", dtype=torch.float32)
    tokenizer, tokenizer_config = make_tokenizer(model.config.vocab_size, masked)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    encode = lambda word: tokenizer.encode(word, add_special_tokens=False).ids
    words = [[encode(word) for word in ([given] if isinstance(given, str) else given)] for given in cloze["verbalizer"].values()]
    longest = max(len(word) for several in words for word in several)
    drawn = [torch.randint(20, 60, (length,), generator=generator).tolist() for length in LENGTHS]
    labels = list(cloze["verbalizer"])
    rows = [dict(text=" ".join(f"w{i}" for i in ids), label=labels[row % 3]) for row, ids in enumerate(drawn)]
    ids = [row_tokens(tokenizer, row["text"], cloze["template"], masked, longest) for row in rows]
    targets = torch.tensor([labels.index(row["label"]) for row in rows])
    virtual = config_class is not LORA
    task = ("FEATURE_EXTRACTION" if virtual else None) if masked else "CAUSAL_LM"
    model = get_peft_model(model, config_class(task_type=task, **options)).eval()
    inserted = options["num_virtual_tokens"] if config_class in (PROMPT, P) else 0
    scores_of = lambda: class_scores(model, ids, words, cloze, masked, inserted)
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    expected = {}
    for key, p in trained.items():
        # Fresh weights are small or zero, so that errors would hardly show.
        p.data.copy_(torch.randn(p.shape, generator=generator) * 0.3)
        expected[f"start.{key}"] = p.detach().clone()
    with torch.no_grad():
        expected["fresh.scores"] = scores_of()
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=0.01)
    losses = []
    for step in range(5):
        loss = cross_entropy(scores_of(), targets)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            expected.update({f"grad.{key}": p.grad.clone() for key, p in trained.items()})
        optimizer.step()
        optimizer.zero_grad()
    expected.update({f"trained.{key}": p.detach().clone() for key, p in trained.items()})
    with torch.no_grad():
        expected["saved.scores"] = scores_of()
    if virtual:
        model.save_pretrained(folder / "adapter")
        (folder / "adapter" / "README.md").unlink()
    else:
        save_adapter(model, folder / "adapter")
    save_file({key: value.detach().float().contiguous() for key, value in expected.items()}, folder / "expected.safetensors")
    facts = dict(base=base, peft_type=model.peft_config["default"].peft_type.value, options=given, cloze=cloze, rows=rows, max_length=MOST,
                 input_ids=ids, losses=losses, learning_rate=1e-2, weight_decay=0.01)
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        fixture(name, *CASES[name])
        print(name)
