"""Loads what peft.js saved with Python's peft and transformers and compares logits; needs the environment of make_fixtures.py.

    python test/parity/check_saved.py                              every fixture; needs a build
    python test/parity/check_saved.py methods [CASE ...]           every method of test/fixtures/methods; needs a build
    python test/parity/check_saved.py BASE ADAPTER BATCH LOGITS    one adapter on its base
    python test/parity/check_saved.py MERGED BATCH LOGITS          one merged model
BATCH is a JSON file with input_ids and attention_mask, or one that has these under "batch". LOGITS is a safetensors file with a
tensor `logits` (B, T, V), the expected numbers; FILE:NAME takes another tensor. Padding is not compared.
Without arguments: for every fixture, node trains an adapter for two steps, saves it and the merged model, and writes the logits that
it computes; Python has to load both folders and to give the same. Exit code 1 if anything differs by more than 1e-4.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

LIMIT = 1e-4
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

METHODS = """
import { AdamW, AutoModelForCausalLM, PeftModel, writeSafetensors } from "./dist/index.js";
import { readFileSync } from "node:fs";
const [out, ...cases] = process.argv.slice(1);
for (const at of cases) {
  const [family, name] = at.split("/");
  const raw = JSON.parse(readFileSync(`test/fixtures/${family}/facts.json`, "utf8")).batch;
  const batch = { inputIds: raw.input_ids, attentionMask: raw.attention_mask, labels: raw.labels };
  const base = await AutoModelForCausalLM.fromPretrained(`test/fixtures/${family}/model`, { dtype: "float32" });
  const model = await PeftModel.fromPretrained(base, `test/fixtures/methods/${at}`, { isTrainable: true });
  const optimizer = new AdamW(model.trainableParameters(), { learningRate: 1e-2 });
  for (let step = 1; step <= 5; step += 1) {
    await model.backward(batch);
    await optimizer.step();
    model.afterStep({ step, totalSteps: 5 });
    optimizer.zeroGrad();
  }
  await model.savePretrained(`${out}/${at}`);
  const { data, dims } = (await model.forward(batch)).logits;
  await writeSafetensors(`${out}/${at}/logits.safetensors`, [["logits", { dtype: "float32", shape: dims, data }]]);
  await base.close();
}
"""
# More than one butterfly factor needs a compiled extension in Python, and BitFit is no method of it.
UNREADABLE = {"boft-butterfly", "bitfit"}


def load(base, adapter=None):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return (model if adapter is None else PeftModel.from_pretrained(model, adapter)).eval()


def agrees(label, model, batch_path, logits_path):
    """Prints the largest difference over the real tokens and whether it is within the limit."""
    raw = json.loads(Path(batch_path).read_text())
    raw = raw.get("batch", raw)
    mask = torch.tensor(raw["attention_mask"])
    file, name = logits_path.split(":") if ":" in logits_path else (logits_path, "logits")
    expected = load_file(file)[name]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(raw["input_ids"]), attention_mask=mask).logits
    if logits.shape != expected.shape:
        print(f"{label}: logits are {tuple(logits.shape)}, expected {tuple(expected.shape)}")
        return False
    gap = (logits - expected)[mask.bool()].abs().max().item()
    print(f"{label}: largest difference {gap:.1e}, allowed {LIMIT:.0e}")
    # A NaN compares false, so it fails.
    return gap < LIMIT


def all_fixtures():
    results = []
    for facts in sorted(Path("test/fixtures").glob("*/facts.json")):
        model = facts.parent / "model"
        with tempfile.TemporaryDirectory() as out:
            subprocess.run(["node", "--input-type=module", "-e", NODE, str(model), out], check=True)
            logits = f"{out}/logits.safetensors"
            name = facts.parent.name
            results.append(agrees(f"{name} adapter", load(model, f"{out}/adapter"), facts, f"{logits}:adapter"))
            results.append(agrees(f"{name} merged", load(f"{out}/merged"), facts, f"{logits}:merged"))
    return len(results) > 0 and all(results)


def all_methods(chosen):
    """Trains every case of make_method_fixtures.py for five steps here, and loads what was saved there."""
    manifest = json.loads(Path("test/fixtures/methods/manifest.json").read_text())
    cases = [(c["family"], c["case"]) for c in manifest["cases"] if c["case"] not in UNREADABLE]
    cases = [case for case in cases if chosen == [] or case[1] in chosen]
    with tempfile.TemporaryDirectory() as out:
        paths = [f"{family}/{name}" for family, name in cases]
        subprocess.run(["node", "--input-type=module", "-e", METHODS, out, *paths], check=True)
        results = []
        for (family, _), path in zip(cases, paths):
            base = load(f"test/fixtures/{family}/model", f"{out}/{path}")
            facts = f"test/fixtures/{family}/facts.json"
            results.append(agrees(path, base, facts, f"{out}/{path}/logits.safetensors"))
    print(f"{sum(results)} of {len(results)} saved adapters agree")
    return len(results) > 0 and all(results)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["methods", *chosen]:
            ok = all_methods(chosen)
        case []:
            ok = all_fixtures()
        case [base, adapter, batch, logits]:
            ok = agrees(adapter, load(base, adapter), batch, logits)
        case [merged, batch, logits]:
            ok = agrees(merged, load(merged), batch, logits)
        case _:
            sys.exit(__doc__)
    sys.exit(0 if ok else 1)
