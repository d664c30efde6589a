// Trains all weights of the embedded base from nothing with peft.js itself: half of the texts are dictionary entries
// ("word: definition"), half are questions in the chat form (definition, answered by its word).
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { AutoModelForCausalLM, Dataset, tokenizerFromFiles, train } from "../../dist/index.js";
import { cacheFolder } from "./wordnet.mjs";

const json = (path) => JSON.parse(readFileSync(path, "utf8"));
const minutes = Number(process.argv[2] ?? 22);
const ROW = 128;
const tokenizer = tokenizerFromFiles({
  tokenizer: json("embedded/base/tokenizer.json"),
  config: json("embedded/base/tokenizer_config.json"),
});
const end = tokenizer.idOf("<|end|>");
const user = tokenizer.idOf("<|user|>");
const assistant = tokenizer.idOf("<|assistant|>");

const stream = [];
for (const line of readFileSync(`${cacheFolder}/corpus.jsonl`, "utf8").trim().split("\n")) {
  const { word, definition, form } = JSON.parse(line);
  const encode = (text) => tokenizer.encode(text, { addSpecialTokens: false });
  if (form === "entry") stream.push(...encode(`${word}: ${definition}`), end);
  else stream.push(user, ...encode(definition), end, assistant, ...encode(word), end);
}
const examples = [];
for (let i = 0; i + ROW <= stream.length; i += ROW) {
  const ids = stream.slice(i, i + ROW);
  examples.push({ source: `corpus:${i / ROW}`, inputIds: ids, labels: ids, truncated: 0, trained: ROW - 1 });
}
console.log(`${stream.length} tokens, ${examples.length} rows`);
const dataset = new Dataset(examples.slice(64));
const evalDataset = new Dataset(examples.slice(0, 64));

const model = await AutoModelForCausalLM.fromConfig(json("embedded/base/config.json"), { seed: 1, tokenizer, name: "embedded" });
model.setTrainable(true);
const options = {
  batchSize: 32,
  learningRate: 4e-3,
  lrSchedulerType: "cosine",
  warmupSteps: 40,
  weightDecay: 0.05,
  adamBeta2: 0.98,
  evalDataset,
  evalSteps: 100,
  evalBatchSize: 32,
};
// The number of steps is what fits into the time, measured over a few steps first and then fixed.
const steps = Number(process.argv[3] ?? 0) || (await measure());
async function measure() {
  const probe = await AutoModelForCausalLM.fromConfig(json("embedded/base/config.json"), { seed: 1 });
  probe.setTrainable(true);
  let began = 0;
  for await (const event of train(probe, dataset, { ...options, evalDataset: undefined, maxSteps: 6 })) {
    if (event.type === "step" && event.step === 2) began = performance.now();
  }
  const perStep = (performance.now() - began) / 4000;
  await probe.close();
  return Math.round((minutes * 60) / perStep);
}
console.log(`${steps} steps of ${options.batchSize * ROW} tokens`);
const log = [];
for await (const event of train(model, dataset, { ...options, maxSteps: steps })) {
  log.push(JSON.stringify(event));
  if (event.type === "eval" || (event.type === "step" && event.step % 25 === 0)) console.log(JSON.stringify(event));
}
await model.savePretrained("embedded/base", { dtype: "bfloat16" });
mkdirSync(cacheFolder, { recursive: true });
writeFileSync(`${cacheFolder}/train-base.jsonl`, `${log.join("\n")}\n`);
await model.close();
