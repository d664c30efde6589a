// Measures one workload of peft.js in a process of its own and prints a line of JSON.
//   node bench/ours.mjs full|chat|generate MODEL DATA STEPS
import {
  AdamW,
  AutoModelForCausalLM,
  collate,
  encodeDataset,
  generate,
  getPeftModel,
  readRows,
} from "../dist/index.js";
import { peakResidentBytes } from "../dist/runtime/memory.js";

const [workload, modelPath, dataPath, stepsText] = process.argv.slice(2);
const steps = Number(stepsText);
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const sinceStart = () => process.uptime();

const model = await AutoModelForCausalLM.fromPretrained(modelPath);
const adapted = await getPeftModel(model, {
  peftType: "LORA",
  r: 8,
  loraAlpha: 16,
  targetModules: ["q_proj", "v_proj"],
});
const dataset = encodeDataset((await readRows(dataPath)).slice(0, 80), model.tokenizer, { maxLength: 512 });
const stream = dataset.examples.flatMap(({ inputIds }) => inputIds);
const rowOf = (i) => Array.from({ length: 512 }, (_, t) => stream[(i * 512 + t) % stream.length]);

function batches() {
  if (workload === "full") {
    const inputIds = [0, 1, 2, 3].map(rowOf);
    return Array.from({ length: steps }, () => ({ inputIds, labels: inputIds }));
  }
  return Array.from({ length: steps }, (_, i) =>
    collate(dataset.examples.slice((4 * i) % 80, ((4 * i) % 80) + 4)),
  );
}

if (workload === "generate") {
  const prompt = rowOf(0);
  await generate(model, [prompt.slice(0, 16)], { maxNewTokens: 4, stopTokens: [] });
  const timed = async (ids, maxNewTokens) => {
    const began = performance.now();
    await generate(model, [ids], { maxNewTokens, stopTokens: [] });
    return (performance.now() - began) / 1000;
  };
  const prefill = [];
  const decode = [];
  for (let i = 0; i < steps; i += 1) {
    prefill.push(512 / (await timed(prompt, 1)));
    const first = await timed(prompt.slice(0, 32), 1);
    decode.push(64 / ((await timed(prompt.slice(0, 32), 65)) - first));
  }
  console.log(
    JSON.stringify({ prefill: median(prefill), decode: median(decode), peakBytes: peakResidentBytes() }),
  );
} else {
  const optimizer = new AdamW(adapted.trainableParameters(), { learningRate: 2e-4 });
  const rates = [];
  let firstStepSeconds;
  for (const batch of batches()) {
    const began = performance.now();
    const { tokens } = await adapted.backward(batch);
    await optimizer.step();
    optimizer.zeroGrad();
    firstStepSeconds ??= sinceStart();
    rates.push(tokens / ((performance.now() - began) / 1000));
  }
  const result = {
    tokensPerSecond: median(rates.slice(1)),
    firstStepSeconds,
    peakBytes: peakResidentBytes(),
  };
  console.log(JSON.stringify(result));
}
await model.close();
