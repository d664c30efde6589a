"""What Hugging Face PEFT computes on SmolLM2-135M-Instruct, for bench/reference.mjs to compare with; six to twelve minutes.

    python bench/peer/reference.py MODEL.gguf perlfaq.jsonl OUT
OUT gets:
  model                the GGUF's weights as a Hugging Face folder in float32 (a link to smollm2-hf beside the GGUF)
  adapter/             a LoRA as PEFT starts it, from a seed
  batches.json         20 batches of the perlfaq chat in file order, loss on the answers alone
  reference.json       losses of 20 AdamW steps on them and their settings, the untouched model's greedy answer, versions
  trained/             the adapter after these steps
  logits.safetensors   logits (T, V) of the question's prompt: `base`, and `trained` with the adapter
"""
import json
import sys
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from smollm2_folder import make_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTION = "What is the difference between $array[1] and @array[1]?"
STEPS, ROWS, MAX_LENGTH, LEARNING_RATE, SEED = 20, 4, 512, 2e-4, 0


def read_batches(tokenizer, data):
    def encode(messages, **more):
        text = tokenizer.apply_chat_template(messages, tokenize=False, **more)
        return tokenizer(text, add_special_tokens=False).input_ids

    rows = []
    for line in data.read_text().splitlines()[: STEPS * ROWS]:
        messages = json.loads(line)["messages"]
        ids, skip = encode(messages), len(encode(messages[:1], add_generation_prompt=True))
        rows.append((ids[:MAX_LENGTH], ([-100] * skip + ids[skip:])[:MAX_LENGTH]))
    batches = []
    for i in range(0, STEPS * ROWS, ROWS):
        part = rows[i:i + ROWS]
        width = max(len(ids) for ids, _ in part)
        pad = lambda row, value: row + [value] * (width - len(row))
        batches.append(dict(
            input_ids=[pad(ids, 0) for ids, _ in part], labels=[pad(labels, -100) for _, labels in part],
            attention_mask=[pad([1] * len(ids), 0) for ids, _ in part],
        ))
    return batches


def train(model, batches):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=0.0)
    model.train()
    losses = []
    for batch in batches:
        loss = model(**{key: torch.tensor(rows) for key, rows in batch.items()}).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        print(len(losses), loss.item(), file=sys.stderr, flush=True)
    return losses


def logits_of(model, ids):
    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].contiguous()


def main(gguf, data, out):
    torch.set_num_threads(2)
    out.mkdir(parents=True, exist_ok=True)
    folder = make_folder(gguf, gguf.parent / "smollm2-hf")
    link = out / "model"
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(folder.resolve())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template([dict(role="user", content=QUESTION)], add_generation_prompt=True, tokenize=False)
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
    full = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False)
    answer = full[0, ids.shape[1]:].tolist()
    logits = dict(base=logits_of(model, ids))
    batches = read_batches(tokenizer, data)
    (out / "batches.json").write_text(json.dumps(batches))
    # Seeded here, so that making the folder first does not change where the adapter starts.
    torch.manual_seed(SEED)
    model = get_peft_model(model, LoraConfig(
        r=8, lora_alpha=16, lora_dropout=0.0, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    model.save_pretrained(out / "adapter")
    losses = train(model, batches)
    model.save_pretrained(out / "trained")
    logits["trained"] = logits_of(model, ids)
    save_file(logits, out / "logits.safetensors")
    (out / "reference.json").write_text(json.dumps(dict(
        losses=losses, answer=answer, answer_text=tokenizer.decode(answer), question=QUESTION, prompt=ids[0].tolist(),
        settings=dict(
            learning_rate=LEARNING_RATE, weight_decay=0.0, max_length=MAX_LENGTH, batch=ROWS, seed=SEED, dtype="float32"),
        versions=dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__),
    )))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
