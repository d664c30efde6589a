// Fine-tunes MiniLM on reviews of food (great or other, 4,000 to train, 1,000 to test), one method a run, and prints a line of JSON:
//   node scripts/fetch-models.mjs minilm finefoods
//   npm run build && npx tsc -p examples
//   node out/examples/text-classification.js LORA 0            method and seed; a third number ends the run after so many steps
// text_classification.py does the same with Hugging Face PEFT; docs/text-classification.md has the table of both.
import { homedir } from "node:os";
import { join } from "node:path";
import {
  AutoModelForSequenceClassification,
  encodeTaskDataset,
  evaluate,
  findLabels,
  getPeftModel,
  type PeftConfig,
  readRows,
  readTaskExamples,
  train,
} from "peft.js";

const METHODS: Readonly<Record<string, { readonly config?: PeftConfig; readonly learningRate: number }>> = {
  LORA: {
    config: { peftType: "LORA", r: 8, loraAlpha: 16, loraDropout: 0.05, targetModules: ["query", "value"] },
    learningRate: 1e-3,
  },
  IA3: { config: { peftType: "IA3" }, learningRate: 1e-2 },
  BITFIT: { config: { peftType: "BITFIT" }, learningRate: 2e-3 },
  PROMPT_TUNING: {
    config: {
      peftType: "PROMPT_TUNING",
      numVirtualTokens: 20,
      promptTuningInit: "TEXT",
      promptTuningInitText: "Is this review of food great or other?",
    },
    learningRate: 1e-2,
  },
  PREFIX_TUNING: { config: { peftType: "PREFIX_TUNING", numVirtualTokens: 20 }, learningRate: 1e-2 },
  SEQ_BN: { config: { peftType: "SEQ_BN" }, learningRate: 1e-3 },
  FULL: { learningRate: 5e-5 },
};

const [name = "LORA", seedText = "0", stepsText] = process.argv.slice(2);
const method = METHODS[name];
if (method === undefined) {
  console.error(`${name} is none of ${Object.keys(METHODS).join(", ")}`);
  process.exit(2);
}
const seed = Number(seedText);
const cache = process.env["PEFT_CACHE"] ?? join(homedir(), ".cache", "peft.js");

const [rows, testRows] = await Promise.all(
  ["train", "test"].map((part) => readRows(join(cache, `finefoods-${part}.jsonl`))),
);
const labels = findLabels(readTaskExamples("SEQ_CLS", rows!));
const base = await AutoModelForSequenceClassification.fromPretrained(join(cache, "all-MiniLM-L6-v2"), {
  id2label: labels.names,
  seed,
  onWarning: () => undefined,
});
const encode = (some: typeof rows) =>
  encodeTaskDataset(some!, base.tokenizer!, { task: "SEQ_CLS", labels, maxLength: 64 });
const [dataset, testSet] = [encode(rows), encode(testRows)];

if (method.config === undefined) base.setTrainable(true);
const model = method.config === undefined ? base : await getPeftModel(base, method.config, { seed });
const count = (list: Iterable<{ readonly size: number }>): number =>
  [...list].reduce((sum, { size }) => sum + size, 0);
const [trainable, all] = [count(model.trainableParameters()), count(model.namedParameters())];

let [steps, seconds, loss] = [0, 0, 0];
const events = train(model, dataset, {
  epochs: 1,
  batchSize: 16,
  learningRate: method.learningRate,
  lrSchedulerType: "linear",
  warmupRatio: 0.06,
  weightDecay: 0.01,
  maxGradNorm: 1,
  seed,
  ...(stepsText === undefined ? {} : { maxSteps: Number(stepsText) }),
});
for await (const event of events) {
  if (event.type === "step" && event.step % 50 === 0)
    console.error(`step ${event.step} of ${event.totalSteps}, loss ${event.loss.toFixed(4)}`);
  if (event.type === "end") [steps, seconds, loss] = [event.steps, event.elapsedSeconds, event.loss];
}
const { metrics } = await evaluate(model, testSet, 32);
console.log(
  JSON.stringify({
    method: name,
    seed,
    accuracy: metrics["accuracy"],
    macroF1: metrics["macroF1"],
    trainable,
    share: trainable / all,
    steps,
    meanLoss: loss,
    secondsPerStep: seconds / steps,
    peakMiB: Math.round(process.resourceUsage().maxRSS / 1024),
  }),
);
await base.close();
