"""What Hugging Face PEFT computes on SmolLM2-135M-Instruct, for bench/reference.mjs to compare with.

    python bench/peer/reference.py MODEL.gguf perlfaq.jsonl OUT
OUT gets: model/ (the GGUF's weights as a Hugging Face folder in float32), adapter/ (a LoRA with random start), batches.json
(20 batches of the perlfaq chat, completion only), reference.json (losses of 20 AdamW steps, the untouched model's greedy answer).
"""
import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

gguf, data, out = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
torch.set_num_threads(2)
torch.manual_seed(0)
if not (out / "model" / "model.safetensors").exists():
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = loaded.config.to_dict()
    config.pop("quantization_config", None)
    plain = LlamaForCausalLM(LlamaConfig(**config))
    plain.load_state_dict(loaded.state_dict())
    plain.tie_weights()
    plain.save_pretrained(out / "model")
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out / "model")
model = AutoModelForCausalLM.from_pretrained(out / "model", dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(out / "model")
QUESTION = "What is the difference between $array[1] and @array[1]?"
prompt = tokenizer.apply_chat_template([dict(role="user", content=QUESTION)], add_generation_prompt=True, tokenize=False)
ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
answer = model.generate(ids, max_new_tokens=64, do_sample=False)[0, ids.shape[1]:].tolist()

rows = []
for line in data.read_text().splitlines()[:80]:
    messages = json.loads(line)["messages"]
    full = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False).input_ids
    start = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, tokenize=False)
    skip = len(tokenizer(start, add_special_tokens=False).input_ids)
    rows.append((full[:512], ([-100] * skip + full[skip:])[:512]))
batches = []
for i in range(0, 80, 4):
    part = rows[i:i + 4]
    width = max(len(r[0]) for r in part)
    pad = lambda row, value: row + [value] * (width - len(row))
    batches.append(dict(
        input_ids=[pad(r[0], 0) for r in part], labels=[pad(r[1], -100) for r in part],
        attention_mask=[pad([1] * len(r[0]), 0) for r in part],
    ))
wrapped = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
wrapped.save_pretrained(out / "adapter")
trained = [p for p in wrapped.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0)
wrapped.train()
losses = []
for batch in batches:
    loss = wrapped(**{k: torch.tensor(v) for k, v in batch.items()}).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    print(len(losses), loss.item(), file=sys.stderr, flush=True)
(out / "batches.json").write_text(json.dumps(batches))
(out / "reference.json").write_text(json.dumps(dict(losses=losses, answer=answer, question=QUESTION, prompt=ids[0].tolist())))
