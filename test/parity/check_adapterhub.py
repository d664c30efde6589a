"""Loads what peft.js saved for AdapterHub with AdapterHub's adapters and compares outputs; needs a build.

    python test/parity/check_adapterhub.py         in the environment of make_adapterhub_fixtures.py
For every case of test/fixtures/adapterhub node trains the adapter for two steps, saves it and writes what the model computes; Python has
to load the folder and to compute the same. Exit code 1 if anything differs by more than 1e-4.
"""
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import adapters
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))
from make_adapterhub_fixtures import FAMILIES, OUT, batch_of, measure

LIMIT = 1e-4
NODE = """
import { readFileSync } from "node:fs";
import {
  AdamW, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, PeftModel, writeSafetensors,
} from "./dist/index.js";
const [out, ...cases] = process.argv.slice(1);
const lossOf = (hidden) => ({
  sum: hidden.reduce((sum, value) => sum + value * value, 0) / hidden.length,
  count: 1,
  gradient: hidden.map((value) => (2 * value) / hidden.length),
});
for (const at of cases) {
  const [family] = at.split("/");
  const raw = JSON.parse(readFileSync(`test/fixtures/adapterhub/${family}/facts.json`, "utf8"));
  const batch = { inputIds: raw.input_ids, attentionMask: raw.attention_mask, labels: raw.labels, ...(raw.labels ? {} : { lossOf }) };
  const seq2seq = family.startsWith("t5");
  const auto = seq2seq ? AutoModelForSeq2SeqLM : /gpt2|llama|mistral/.test(family) ? AutoModelForCausalLM : raw.labels ? AutoModelForSequenceClassification : AutoModel;
  const base = await auto.fromPretrained(`test/fixtures/adapterhub/${family}/model`);
  const model = await PeftModel.fromPretrained(base, `test/fixtures/adapterhub/${at}/adapter`, { isTrainable: true });
  const optimizer = new AdamW(model.trainableParameters(), { learningRate: 1e-2 });
  for (let step = 0; step < 2; step += 1) { await model.backward(batch); await optimizer.step(); optimizer.zeroGrad(); }
  await model.savePretrained(`${out}/${at}`, { layout: "adapterhub" });
  const output = await base.forward(batch);
  const { data, dims } = output.logits ?? output.lastHiddenState;
  const mask = seq2seq ? raw.labels.flat().map((label) => Number(label !== -100)) : raw.attention_mask.flat();
  const real = mask.flatMap((mask, i) => (mask === 1 ? [i] : []));
  const width = dims.at(-1);
  const rows = dims.length === 2 ? data : Float32Array.from(real.flatMap((i) => [...data.subarray(i * width, (i + 1) * width)]));
  await writeSafetensors(`${out}/${at}.safetensors`, [["output", { dtype: "float32", shape: [rows.length / width, width], data: rows }]]);
  await base.close();
}
"""


def worst(out, family, case):
    model = FAMILIES[family]().from_pretrained(OUT / family / "model")
    adapters.init(model)
    model.load_adapter(str(out / family / case), use_safetensors=True, set_active=True)
    model.eval()
    with torch.no_grad():
        found, _ = measure(model, batch_of(family))
    return (found - load_file(out / family / f"{case}.safetensors")["output"]).abs().max().item()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    cases = [(c["family"], c["case"]) for c in json.loads((OUT / "manifest.json").read_text())["cases"]]
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{family}/{case}" for family, case in cases]
        subprocess.run(["node", "--input-type=module", "-e", NODE, folder, *names], check=True)
        gaps = {f"{family}/{case}": worst(Path(folder), family, case) for family, case in cases}
    for name, gap in gaps.items():
        print(f"{name:36} {gap:.1e}")
    sys.exit(max(gaps.values()) > LIMIT)
