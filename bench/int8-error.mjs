// What arithmetic "int8" costs in exactness, on real models and data:
//   npm run build && node bench/int8-error.mjs smollm2|minilm [STEPS]
// Prints the relative error of scores and of gradients on one batch (norm of the difference over the norm), then trains LoRA for so many steps in
// float32 and in int8 and evaluates both adapters in float32 on rows that were held out. Needs scripts/fetch-models.mjs.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as peft from "../dist/index.js";
import { cacheFolder as cache } from "../scripts/cache-folder.mjs";

const [workload = "minilm", stepsText = "100"] = process.argv.slice(2);
const config = { peftType: "LORA", r: 8, loraAlpha: 16 };

/** How a workload is opened, what is trained on and evaluated. */
const WORKLOADS = {
  async smollm2(arithmetic) {
    const path = join(cache, "SmolLM2-135M-Instruct.Q4_1.gguf");
    const base = await peft.AutoModelForCausalLM.fromPretrained(path, { arithmetic });
    const rows = await peft.readRows(join(cache, "perlfaq.jsonl"));
    const encode = (some) => peft.encodeDataset(some, base.tokenizer, { maxLength: 512 });
    return { base, training: encode(rows.slice(0, 246)), heldOut: encode(rows.slice(246)), batchSize: 4 };
  },
  async minilm(arithmetic) {
    const [rows, others] = await Promise.all(
      ["train", "test"].map((part) => peft.readRows(join(cache, `finefoods-${part}.jsonl`))),
    );
    const labels = peft.findLabels(peft.readTaskExamples("SEQ_CLS", rows));
    const base = await peft.AutoModelForSequenceClassification.fromPretrained(
      join(cache, "all-MiniLM-L6-v2"),
      { id2label: labels.names, seed: 0, arithmetic, onWarning: () => undefined },
    );
    const encode = (some) =>
      peft.encodeTaskDataset(some, base.tokenizer, { task: "SEQ_CLS", labels, maxLength: 64 });
    return { base, training: encode(rows), heldOut: encode(others), batchSize: 16 };
  },
};

async function open(arithmetic) {
  const { base, ...data } = await WORKLOADS[workload](arithmetic);
  return { base, model: await peft.getPeftModel(base, config, { seed: 0 }), ...data };
}

/** Scores and gradients of one batch, from an adapter that does something. */
async function measure(arithmetic) {
  const { base, model, training, batchSize } = await open(arithmetic);
  for (const parameter of model.trainableParameters())
    for (let i = 0; i < parameter.data.length; i += 1) parameter.data[i] += 0.02 * Math.sin(1 + 7 * i);
  const batch = training.collate(training.examples.slice(0, batchSize));
  const { loss } = await model.backward(batch);
  const gradients = model.trainableParameters().map(({ grad }) => grad);
  const { logits } = await model.forward(batch);
  await base.close();
  return { loss, gradients, scores: logits.data };
}

const norm = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
const error = (a, b) => norm(a.map((value, i) => value - b[i])) / norm(b);
const flat = (arrays) => Float32Array.from(arrays.flatMap((array) => [...array]));

const [exact, fast] = [await measure("float32"), await measure("int8")];
const each = fast.gradients
  .map((gradient, i) => error(gradient, exact.gradients[i]))
  .toSorted((a, b) => a - b);
const percent = (share) => `${(100 * share).toFixed(2)} %`;
console.log(
  `${workload}: scores ${percent(error(fast.scores, exact.scores))}, gradients ${percent(error(flat(fast.gradients), flat(exact.gradients)))}`,
);
console.log(
  `  by tensor: median ${percent(each[each.length >> 1])}, worst ${percent(each.at(-1))}; loss ${exact.loss.toFixed(5)} and ${fast.loss.toFixed(5)}`,
);

/** Held-out loss of an adapter, in float32. */
async function judge(folder) {
  const { base, heldOut } = await WORKLOADS[workload]("float32");
  const before = (await peft.evaluate(base, heldOut, 16)).loss;
  const model = await peft.PeftModel.fromPretrained(base, folder);
  const { loss, metrics } = await peft.evaluate(model, heldOut, 16);
  await base.close();
  return { before, loss, metrics };
}

for (const arithmetic of ["float32", "int8"]) {
  const { base, model, training, batchSize } = await open(arithmetic);
  const options = {
    maxSteps: Number(stepsText),
    batchSize,
    learningRate: workload === "minilm" ? 1e-3 : 2e-4,
    seed: 0,
  };
  for await (const event of peft.train(model, training, options)) void event;
  const folder = mkdtempSync(join(tmpdir(), "peft-int8-"));
  await model.savePretrained(folder);
  await base.close();
  const { before, loss, metrics } = await judge(folder);
  rmSync(folder, { recursive: true });
  console.log(
    `  ${stepsText} steps in ${arithmetic}: held-out loss ${loss.toFixed(5)} (untouched ${before.toFixed(5)})`,
    metrics,
  );
}
