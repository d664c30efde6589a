"""Loads what peft.js saved with Python's peft and transformers and compares logits; needs the environment of make_fixtures.py.

    python test/parity/check_saved.py                              every fixture; needs a build
    python test/parity/check_saved.py methods [CASE ...]           every method of test/fixtures/methods; needs a build
    python test/parity/check_saved.py tasks [CASE ...]             every adapter of a task head in test/fixtures; needs a build
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

sys.path.insert(0, str(Path(__file__).parent))
from make_method_fixtures import AUTOS, open_family
from make_prompt_task_fixtures import load_base, outputs_of, with_past

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
import { AdamW, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PeftModel, writeSafetensors } from "./dist/index.js";
import { readFileSync } from "node:fs";
const [out, ...cases] = process.argv.slice(1);
const read = (path) => JSON.parse(readFileSync(`test/fixtures/${path}`, "utf8"));
const { families } = read("methods/manifest.json");
const autos = { CAUSAL_LM: AutoModelForCausalLM, SEQ_2_SEQ_LM: AutoModelForSeq2SeqLM };
for (const at of cases) {
  const { path, task } = families[at.split("/")[0]];
  const raw = read(`${path}/facts.json`).batch;
  const batch = { inputIds: raw.input_ids, attentionMask: raw.attention_mask, labels: raw.labels };
  const base = await autos[task].fromPretrained(`test/fixtures/${path}/model`, { dtype: "float32" });
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
TASKS = """
import * as peft from "./dist/index.js";
import { readFileSync } from "node:fs";
const autos = { SEQ_CLS: "ForSequenceClassification", TOKEN_CLS: "ForTokenClassification", QUESTION_ANS: "ForQuestionAnswering",
  FEATURE_EXTRACTION: "", MASKED_LM: "ForMaskedLM" };
const outputs = { logits: "logits", startLogits: "start_logits", endLogits: "end_logits", lastHiddenState: "last_hidden_state",
  poolerOutput: "pooler_output" };
const lossOf = (hidden) => ({ sum: 0, count: 1, gradient: hidden.map((value) => (2 * value) / hidden.length) });
const [out, ...paths] = process.argv.slice(1);
for (const path of paths) {
  const facts = JSON.parse(readFileSync(`${path}/facts.json`, "utf8"));
  const raw = facts.batch;
  const batch = { inputIds: raw.input_ids, attentionMask: raw.attention_mask, tokenTypeIds: raw.token_type_ids, labels: raw.labels,
    startPositions: raw.start_positions, endPositions: raw.end_positions, taskIds: raw.task_ids, lossOf };
  const folder = `test/fixtures/tasks/${facts.base}/model`;
  const base = await peft[`AutoModel${autos[facts.task]}`].fromPretrained(folder, { onWarning: () => undefined });
  const model = await peft.PeftModel.fromPretrained(base, `${path}/adapter`, { isTrainable: true });
  const optimizer = new peft.AdamW(model.trainableParameters(), { learningRate: 1e-2 });
  for (let step = 1; step <= 5; step += 1) {
    await model.backward(batch);
    await optimizer.step();
    model.afterStep({ step, totalSteps: 5 });
    optimizer.zeroGrad();
  }
  await model.savePretrained(`${out}/${path}`);
  const answer = await model.forward(batch);
  const tensors = Object.entries(outputs).filter(([name]) => answer[name] !== undefined)
    .map(([name, key]) => [key, { dtype: "float32", shape: answer[name].dims, data: answer[name].data }]);
  await peft.writeSafetensors(`${out}/${path}/outputs.safetensors`, tensors);
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
            folder, task, batch, real = open_family(family)
            base = AUTOS[task].from_pretrained(folder / "model", dtype=torch.float32)
            labels = batch.pop("labels")
            if task == "SEQ_2_SEQ_LM":
                batch["decoder_input_ids"] = base._shift_right(labels)
            with torch.no_grad():
                found = PeftModel.from_pretrained(base, f"{out}/{path}").eval()(**batch).logits
            gap = (found - load_file(f"{out}/{path}/logits.safetensors")["logits"])[real].abs().max().item()
            print(f"{path}: largest difference {gap:.1e}, allowed {LIMIT:.0e}")
            results.append(gap < LIMIT)
    print(f"{sum(results)} of {len(results)} saved adapters agree")
    return len(results) > 0 and all(results)


def all_tasks(chosen):
    """Trains every adapter of make_prompt_task_fixtures.py and make_method_task_fixtures.py five steps further here, and loads it there."""
    paths = [p.parent for p in sorted(Path("test/fixtures").glob("*-tasks/*/facts.json"))]
    paths = [p for p in paths if p.name.rsplit("-", 1)[0] not in UNREADABLE and (chosen == [] or p.name in chosen)]
    results = []
    with tempfile.TemporaryDirectory() as out, torch.no_grad():
        subprocess.run(["node", "--input-type=module", "-e", TASKS, out, *map(str, paths)], check=True)
        for path in paths:
            facts = json.loads((path / "facts.json").read_text())
            batch = {key: torch.tensor(value) for key, value in facts["batch"].items()}
            if facts["task"] == "SEQ_CLS":
                # AdaLoRA asks for what it has only in training, where there are labels.
                del batch["labels"]
            prefix = facts["peft_type"] == "PREFIX_TUNING"
            base = load_base(facts["base"], facts["task"])
            model = PeftModel.from_pretrained(with_past(base) if prefix else base, f"{out}/{path}").eval()
            inserted = 0 if prefix else getattr(model.peft_config["default"], "num_virtual_tokens", 0)
            found, _ = outputs_of(model, facts["task"], batch, inserted)
            ours = load_file(f"{out}/{path}/outputs.safetensors")
            mask = batch["attention_mask"].bool()
            gaps = []
            for key, value in found.items():
                per_token = facts["task"] != "SEQ_CLS" and key != "pooler_output"
                gap = (ours[key] - value)[mask] if per_token else ours[key] - value
                gaps.append(gap.abs().max().item())
            print(f"{path}: largest difference {max(gaps):.1e}, allowed {LIMIT:.0e}")
            results.append(all(gap < LIMIT for gap in gaps))
    print(f"{sum(results)} of {len(results)} saved adapters agree")
    return len(results) > 0 and all(results)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["methods", *chosen]:
            ok = all_methods(chosen)
        case ["tasks", *chosen]:
            ok = all_tasks(chosen)
        case []:
            ok = all_fixtures()
        case [base, adapter, batch, logits]:
            ok = agrees(adapter, load(base, adapter), batch, logits)
        case [merged, batch, logits]:
            ok = agrees(merged, load(merged), batch, logits)
        case _:
            sys.exit(__doc__)
    sys.exit(0 if ok else 1)
