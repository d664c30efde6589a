"""Measures one workload of Hugging Face PEFT in a process of its own and prints a line of JSON.

    python bench/peer/bench.py full|chat|generate MODEL DATA STEPS [float32|bfloat16|autocast]
"""
import time

started = time.time()
import contextlib
import json
import resource
import statistics
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

workload, path, data, steps = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
mode = sys.argv[5] if len(sys.argv) > 5 else "float32"
torch.set_num_threads(2)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16 if mode == "bfloat16" else torch.float32)
tokenizer = AutoTokenizer.from_pretrained(path)
model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
autocast = torch.autocast("cpu", torch.bfloat16) if mode == "autocast" else contextlib.nullcontext()
rows = []
for line in open(data).read().splitlines()[:80]:
    messages = json.loads(line)["messages"]
    encode = lambda m, **more: tokenizer(
        tokenizer.apply_chat_template(m, tokenize=False, **more), add_special_tokens=False).input_ids
    full, skip = encode(messages), len(encode(messages[:1], add_generation_prompt=True))
    rows.append((full[:512], ([-100] * skip + full[skip:])[:512]))
stream = [i for r in rows for i in r[0]]
row_of = lambda i: [stream[(i * 512 + t) % len(stream)] for t in range(512)]


def batches():
    if workload == "full":
        ids = torch.tensor([row_of(i) for i in range(4)])
        return [dict(input_ids=ids, labels=ids, attention_mask=torch.ones_like(ids))] * steps
    made = []
    for i in range(steps):
        part = rows[4 * i % 80:4 * i % 80 + 4]
        width = max(len(r[0]) for r in part)
        pad = lambda row, value: row + [value] * (width - len(row))
        made.append(dict(
            input_ids=torch.tensor([pad(r[0], 0) for r in part]), labels=torch.tensor([pad(r[1], -100) for r in part]),
            attention_mask=torch.tensor([pad([1] * len(r[0]), 0) for r in part])))
    return made


peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
if workload == "generate":
    model.eval()
    prompt = torch.tensor([row_of(0)])

    def timed(ids, count):
        began = time.time()
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count,
                       do_sample=False, pad_token_id=0)
        return time.time() - began

    timed(prompt[:, :16], 4)
    prefill, decode = [], []
    for _ in range(steps):
        prefill.append(512 / timed(prompt, 1))
        first = timed(prompt[:, :32], 1)
        decode.append(64 / (timed(prompt[:, :32], 65) - first))
    print(json.dumps(dict(prefill=statistics.median(prefill), decode=statistics.median(decode), peakBytes=peak())))
else:
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
    rates, first = [], None
    for batch in batches():
        began = time.time()
        with autocast:
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        first = first or time.time() - started
        rates.append(int(batch["attention_mask"].sum()) / (time.time() - began))
    print(json.dumps(dict(tokensPerSecond=statistics.median(rates[1:] or rates), firstStepSeconds=first, peakBytes=peak())))
