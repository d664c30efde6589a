"""Loads what peft.js saved with Python and compares logits; needs the environment of make_fixtures.py and a build.

    python test/parity/check_saved.py
For every fixture: node trains the adapter for two steps, saves it and the merged model, and writes the logits that it computes;
Python's PEFT and transformers load both folders and have to give the same.
"""
import json
import subprocess
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

NODE = """
import { AdamW, AutoModelForCausalLM, getPeftModel, writeSafetensors } from "./dist/index.js";
import { readFileSync } from "node:fs";
const [model, out] = process.argv.slice(1);
const raw = JSON.parse(readFileSync(`${model}/../facts.json`, "utf8")).batch;
const batch = { inputIds: raw.input_ids, attentionMask: raw.attention_mask, labels: raw.labels };
const base = await AutoModelForCausalLM.fromPretrained(model, { dtype: "float32" });
const config = { peftType: "LORA", r: 3, loraAlpha: 6, useRslora: true, initLoraWeights: false, targetModules: "all-linear" };
const adapted = await getPeftModel(base, config);
const optimizer = new AdamW(adapted.trainableParameters(), { learningRate: 1e-2 });
for (let i = 0; i < 2; i += 1) { await adapted.backward(batch); await optimizer.step(); optimizer.zeroGrad(); }
const logits = async () => { const { data, dims } = (await base.forward(batch)).logits; return { dtype: "float32", shape: dims, data }; };
await adapted.savePretrained(`${out}/adapter`);
const before = await logits();
await (await adapted.mergeAndUnload()).savePretrained(`${out}/merged`);
await writeSafetensors(`${out}/logits.safetensors`, [["adapter", before], ["merged", await logits()]]);
"""

for facts_path in sorted(Path("test/fixtures").glob("*/facts.json")):
    model = facts_path.parent / "model"
    batch = {k: torch.tensor(v) for k, v in json.loads(facts_path.read_text())["batch"].items()}
    real = batch["attention_mask"].bool()
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(["node", "--input-type=module", "-e", NODE, str(model), out], check=True)
        ours = load_file(f"{out}/logits.safetensors")
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        adapted = PeftModel.from_pretrained(base, f"{out}/adapter").eval()
        merged = AutoModelForCausalLM.from_pretrained(f"{out}/merged", dtype=torch.float32).eval()
        with torch.no_grad():
            for name, loaded in [("adapter", adapted), ("merged", merged)]:
                gap = (loaded(**batch).logits - ours[name])[real].abs().max().item()
                print(f"{facts_path.parent.name:16} {name:8} largest difference {gap:.1e}")
                assert gap < 1e-3, (facts_path, name, gap)
