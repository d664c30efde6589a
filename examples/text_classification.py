"""Twin of text-classification.ts: the same reviews, model, methods and recipe with Hugging Face PEFT, for comparison.

    python examples/text_classification.py LORA 0            method and seed; a third number ends the run after so many steps
Needs the environment of test/parity/make_fixtures.py and the files of scripts/fetch-models.mjs minilm finefoods. SEQ_BN is a method
of AdapterHub's adapters, whose environment is that of test/parity/make_adapterhub_fixtures.py.
"""
import json
import os
import resource
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_scheduler

CACHE = Path(os.environ.get("PEFT_CACHE", Path.home() / ".cache" / "peft.js"))
FOLDER = CACHE / "all-MiniLM-L6-v2"
LABELS = ["great", "other"]
TEXT = "Is this review of food great or other?"
LEARNING_RATES = dict(LORA=1e-3, IA3=1e-2, BITFIT=2e-3, SEQ_BN=1e-3, PROMPT_TUNING=1e-2, PREFIX_TUNING=1e-2, FULL=5e-5)
OPTIONS = dict(
    LORA=dict(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=["query", "value"]),
    IA3=dict(),
    PROMPT_TUNING=dict(num_virtual_tokens=20, prompt_tuning_init="TEXT", prompt_tuning_init_text=TEXT, tokenizer_name_or_path=str(FOLDER)),
    PREFIX_TUNING=dict(num_virtual_tokens=20),
)


def rows(part):
    return [json.loads(line) for line in (CACHE / f"finefoods-{part}.jsonl").read_text().splitlines()]


def accept_past(body):
    """PEFT 0.21.2 passes a prefix under the name that transformers 5 has changed, and refuses bodies that do not list it."""
    forward = body.forward
    body.forward = lambda *given, past_key_values=None, **named: forward(*given, cache=past_key_values, **named)


def make_model(name):
    # The base is frozen and ours has no dropout there, so it is off here too; the head has its own.
    quiet = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.1)
    model = AutoModelForSequenceClassification.from_pretrained(FOLDER, num_labels=2, **quiet)
    if name == "PREFIX_TUNING":
        accept_past(model.bert)
    if name in OPTIONS:
        from peft import get_peft_config, get_peft_model
        return get_peft_model(model, get_peft_config(dict(peft_type=name, task_type="SEQ_CLS", **OPTIONS[name])))
    if name == "SEQ_BN":
        import adapters
        adapters.init(model)
        model.add_adapter("reviews", config="seq_bn")
        model.train_adapter("reviews")
    if name == "BITFIT":
        for key, p in model.named_parameters():
            p.requires_grad = key.endswith("bias") or key.startswith("classifier")
    return model


def main(name="LORA", seed="0", steps=None):
    torch.manual_seed(int(seed))
    rate = LEARNING_RATES[name]
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = make_model(name)

    def batch(some):
        inputs = tokenizer([r["text"] for r in some], truncation=True, max_length=64, padding=True, return_tensors="pt")
        return inputs, torch.tensor([LABELS.index(r["label"]) for r in some])

    train, test = rows("train"), rows("test")
    trained = [p for p in model.parameters() if p.requires_grad]
    total = int(steps) if steps else -(-len(train) // 16)
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    scheduler = get_scheduler("linear", optimizer, round(0.06 * total), total)
    model.train()
    done, losses, started = 0, [], time.perf_counter()
    while done < total:
        order = torch.randperm(len(train)).tolist()
        for i in range(0, len(train), 16):
            if done == total:
                break
            inputs, labels = batch([train[j] for j in order[i:i + 16]])
            loss = model(**inputs, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            done += 1
    seconds = time.perf_counter() - started
    model.eval()
    right = 0
    with torch.no_grad():
        for i in range(0, len(test), 32):
            inputs, labels = batch(test[i:i + 32])
            right += (model(**inputs).logits.argmax(-1) == labels).sum().item()
    count, every = sum(p.numel() for p in trained), sum(p.numel() for p in model.parameters())
    print(json.dumps(dict(
        method=name, seed=int(seed), accuracy=right / len(test), trainable=count, share=count / every, steps=done,
        meanLoss=sum(losses) / len(losses), secondsPerStep=seconds / done,
        peakMiB=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )))


if __name__ == "__main__":
    main(*sys.argv[1:])
