// Measures one workload of peft.js in a process of its own and prints a line of JSON.
//   node bench/ours.mjs WORKLOAD MODEL DATA STEPS [float32|int8|limited]
// WORKLOAD: chat, generate, full (4 rows of 512 tokens, all supervised), or rows×length of the same kind, such as 8x1024.
// limited: float32 under a memory limit of 800 MiB.
import {
  AdamW,
  AutoModelForCausalLM,
  collate,
  encodeDataset,
  generate,
  getPeftModel,
  readRows,
} from "../dist/index.js";
import { matmulPeak } from "../dist/nn/matmul-peak.js";
import { Profiler } from "../dist/nn/profiler.js";
import { peakResidentBytes } from "../dist/runtime/memory.js";

const [workload, modelPath, dataPath, stepsText, mode = "float32"] = process.argv.slice(2);
const steps = Number(stepsText);
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const sinceStart = () => process.uptime();
const [rows, length] = workload === "full" ? [4, 512] : workload.split("x").map(Number);

const model = await AutoModelForCausalLM.fromPretrained(modelPath, {
  arithmetic: mode === "int8" ? "int8" : "float32",
  ...(mode === "limited" ? { memoryBytes: 800 * 2 ** 20 } : {}),
});
const adapted = await getPeftModel(model, {
  peftType: "LORA",
  r: 8,
  loraAlpha: 16,
  targetModules: ["q_proj", "v_proj"],
});
const dataset = encodeDataset((await readRows(dataPath)).slice(0, 80), model.tokenizer, { maxLength: 512 });
const stream = dataset.examples.flatMap(({ inputIds }) => inputIds);
const rowOf = (i, size = 512) =>
  Array.from({ length: size }, (_, t) => stream[(i * size + t) % stream.length]);

function batches() {
  if (workload === "chat") {
    return Array.from({ length: steps }, (_, i) =>
      collate(dataset.examples.slice((4 * i) % 80, ((4 * i) % 80) + 4)),
    );
  }
  const inputIds = Array.from({ length: rows }, (_, i) => rowOf(i, length));
  return Array.from({ length: steps }, () => ({ inputIds, labels: inputIds }));
}

async function generation() {
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
  return { prefill: median(prefill), decode: median(decode), peakBytes: peakResidentBytes() };
}

async function training() {
  const optimizer = new AdamW(adapted.trainableParameters(), { learningRate: 2e-4 });
  const profiler = new Profiler();
  const rates = [];
  const flopRates = [];
  let firstStepSeconds;
  for (const batch of batches()) {
    model.runner.sessions.profiler = profiler;
    const known = profiler.spans.length;
    const began = performance.now();
    const { tokens } = await adapted.backward(batch);
    await optimizer.step();
    optimizer.zeroGrad();
    const seconds = (performance.now() - began) / 1000;
    firstStepSeconds ??= sinceStart();
    rates.push(tokens / seconds);
    flopRates.push(profiler.spans.slice(known).reduce((sum, { flops }) => sum + flops, 0) / seconds);
  }
  const peakBytes = peakResidentBytes();
  const later = (list) => median(list.length > 1 ? list.slice(1) : list);
  const peakShare = later(flopRates) / (await matmulPeak(model.engine));
  return { tokensPerSecond: later(rates), firstStepSeconds, peakBytes, peakShare };
}

console.log(JSON.stringify(await (workload === "generate" ? generation() : training())));
await model.close();
