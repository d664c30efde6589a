"""Twin of text-classification.ts: the same reviews, model, methods and recipe with Hugging Face PEFT, for comparison.

    python examples/text-classification.py LORA 0            method and seed; a third number ends the run after so many steps
Needs the environment of test/parity/make_fixtures.py and the files of scripts/fetch-models.mjs minilm finefoods.
"""
import json
import os
import resource
import sys
import time
from pathlib import Path

import torch
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_scheduler

CACHE = Path(os.environ.get("PEFT_CACHE", Path.home() / ".cache" / "peft.js"))
LABELS = ["great", "other"]
METHODS = {
    "LORA": (LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=0.05, target_modules=["query", "value"]), 1e-3),
    "IA3": (IA3Config(task_type="SEQ_CLS"), 1e-2),
    "BITFIT": (None, 2e-3),
    "FULL": (None, 5e-5),
}


def rows(part):
    return [json.loads(line) for line in (CACHE / f"finefoods-{part}.jsonl").read_text().splitlines()]


def main(name="LORA", seed="0", steps=None):
    torch.manual_seed(int(seed))
    config, rate = METHODS[name]
    folder = CACHE / "all-MiniLM-L6-v2"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    if config is not None:
        model = get_peft_model(model, config)
    elif name == "BITFIT":
        for key, p in model.named_parameters():
            p.requires_grad = key.endswith("bias") or key.startswith("classifier")

    def batch(some):
        inputs = tokenizer([r["text"] for r in some], truncation=True, max_length=128, padding=True, return_tensors="pt")
        return inputs, torch.tensor([LABELS.index(r["label"]) for r in some])

    train, test = rows("train"), rows("test")
    trained = [p for p in model.parameters() if p.requires_grad]
    total = int(steps) if steps else 2 * -(-len(train) // 16)
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
