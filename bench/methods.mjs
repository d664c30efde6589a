// Every method on real data for 30 steps, each in a process of its own: MiniLM on reviews (classification), SmolLM2 on perlfaq (chat).
//   npm run build && node bench/methods.mjs minilm|smollm2 [METHOD …]
// Prints a table: trained parameters, seconds a step, peak memory, loss of the first and the last five steps, and whether the base
// stayed as it was. Needs scripts/fetch-models.mjs minilm finefoods smollm2 perlfaq.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as peft from "../dist/index.js";
import { methods } from "../dist/methods/index.js";
import { peakResidentBytes } from "../dist/runtime/memory.js";
import { cacheFolder as cache } from "../scripts/cache-folder.mjs";

const STEPS = 30;
const RATES = {
  BITFIT: 5e-3,
  LN_TUNING: 5e-3,
  IA3: 1e-2,
  FOURIERFT: 3e-2,
  VERA: 1e-2,
  PROMPT_TUNING: 3e-2,
  TRAINABLE_TOKENS: 1e-3,
  PAR_BN: 1e-4,
  SCALED_PAR_BN: 1e-4,
};
// What a method needs beside its defaults.
const NEEDS = {
  ADALORA: { totalStep: STEPS, tinit: 5, tfinal: 10 },
  BOFT: { boftBlockSize: 4 },
  PROMPT_TUNING: { numVirtualTokens: 8 },
  PREFIX_TUNING: { numVirtualTokens: 8 },
  P_TUNING: { numVirtualTokens: 8, encoderHiddenSize: 64 },
  MULTITASK_PROMPT_TUNING: { numVirtualTokens: 8, numTasks: 1 },
  TRAINABLE_TOKENS: { tokenIndices: Array.from({ length: 512 }, (_, i) => i) },
};
const [workload = "minilm", ...rest] = process.argv.slice(2);
// A width of 576 / 32 cannot be taken apart into 4 blocks.
if (workload === "smollm2") NEEDS.COMPACTER = NEEDS.COMPACTER_PLUS_PLUS = { reductionFactor: 16 };
// Hugging Face has no default for norms of encoders.
if (workload === "minilm") NEEDS.LN_TUNING = { targetModules: ["LayerNorm"] };

async function open() {
  if (workload === "smollm2") {
    const model = await peft.AutoModelForCausalLM.fromPretrained(
      join(cache, "SmolLM2-135M-Instruct.Q4_1.gguf"),
    );
    const rows = (await peft.readRows(join(cache, "perlfaq.jsonl"))).slice(0, 60);
    return { model, dataset: peft.encodeDataset(rows, model.tokenizer, { maxLength: 128 }), batchSize: 2 };
  }
  const rows = (await peft.readRows(join(cache, "finefoods-train.jsonl"))).slice(0, 480);
  const labels = peft.findLabels(peft.readTaskExamples("SEQ_CLS", rows));
  const model = await peft.AutoModelForSequenceClassification.fromPretrained(
    join(cache, "all-MiniLM-L6-v2"),
    { id2label: labels.names, seed: 0, onWarning: () => undefined },
  );
  const dataset = peft.encodeTaskDataset(rows, model.tokenizer, {
    task: "SEQ_CLS",
    labels,
    maxLength: 128,
  });
  return { model, dataset, batchSize: 16 };
}

async function one(peftType) {
  const { model: base, dataset, batchSize } = await open();
  const model = await peft.getPeftModel(base, { peftType, ...NEEDS[peftType] }, { seed: 0 });
  const snapshot = peft.takeSnapshot(model);
  const losses = [];
  const seconds = [];
  let before = performance.now();
  const events = peft.train(model, dataset, {
    maxSteps: STEPS,
    batchSize,
    learningRate: RATES[peftType] ?? 1e-3,
    lrSchedulerType: "constant",
    weightDecay: 0,
    seed: 0,
  });
  for await (const event of events) {
    if (event.type !== "step") continue;
    losses.push(event.loss);
    seconds.push((performance.now() - before) / 1000);
    before = performance.now();
  }
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const report = peft.verifyOnlyAdapterMoved(model, snapshot);
  const size = [...model.trainableParameters()].reduce((sum, parameter) => sum + parameter.size, 0);
  const result = {
    peftType,
    size,
    seconds: seconds.toSorted((a, b) => a - b)[STEPS / 2],
    peak: peakResidentBytes(),
    first: mean(losses.slice(0, 5)),
    last: mean(losses.slice(-5)),
    verified: report.ok,
  };
  console.log(JSON.stringify(result));
  await base.close();
}

if (rest[0] === "--one") await one(rest[1]);
else {
  console.log(
    "| method | trained parameters | s a step | peak memory (MiB) | loss, steps 1-5 | loss, steps 26-30 | base untouched, adapter moved |\n|---|---|---|---|---|---|---|",
  );
  for (const peftType of rest.length > 0 ? rest : Object.keys(methods)) {
    const run = spawnSync(process.execPath, [fileURLToPath(import.meta.url), workload, "--one", peftType], {
      encoding: "utf8",
    });
    if (run.status !== 0) {
      const reason =
        run.stderr.split("\n").find((line) => /^\w*Error: /.test(line)) ?? run.stderr.slice(0, 200);
      console.log(`| ${peftType} | ${reason.trim()} | | | | | |`);
      process.exitCode = 1;
      continue;
    }
    const { size, seconds, peak, first, last, verified } = JSON.parse(run.stdout.trim().split("\n").at(-1));
    console.log(
      `| ${peftType} | ${size.toLocaleString("en")} | ${seconds.toFixed(2)} | ${(peak / 2 ** 20).toFixed(0)} | ${first.toFixed(4)} | ${last.toFixed(4)} | ${verified ? "yes" : "NO"} |`,
    );
  }
}
