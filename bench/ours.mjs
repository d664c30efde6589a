// Measures one workload of peft.js in a process of its own and prints a line of JSON.
//   node bench/ours.mjs WORKLOAD MODEL DATA STEPS [float32|int8|limited] [PROFILE_FOLDER]
// WORKLOAD: chat, generate, full (4 rows of 512 tokens, all supervised), or rows×length of the same kind, such as 8x1024.
// limited: float32 under a memory limit of 800 MiB; offload: activations wait in a file. With a folder, all of it is profiled: tables, and a trace in that folder.
import {
  AdamW,
  AutoModelForCausalLM,
  collate,
  encodeDataset,
  generate,
  getPeftModel,
  readRows,
} from "../dist/bundle/index.js";
import { peakResidentBytes, residentBytes } from "../dist/runtime/memory.js";

const [workload, modelPath, dataPath, stepsText, mode = "float32", profileFolder] = process.argv.slice(2);
const steps = Number(stepsText);
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const [rows, length] = workload === "full" ? [4, 512] : workload.split("x").map(Number);

const memory = [];
const watch = setInterval(() => memory.push([process.uptime(), residentBytes()]), 50);
watch.unref();

const model = await AutoModelForCausalLM.fromPretrained(modelPath, {
  arithmetic: mode === "int8" ? "int8" : "float32",
  ...(mode === "limited" ? { memoryBytes: 800 * 2 ** 20 } : {}),
  ...(mode === "offload" ? { offloadFolder: "bench/results/scratch" } : {}),
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

function batchOf(i) {
  if (workload === "chat") return collate(dataset.examples.slice((4 * i) % 80, ((4 * i) % 80) + 4));
  const inputIds = Array.from({ length: rows }, (_, row) => rowOf(row, length));
  return { inputIds, labels: inputIds };
}

/** What `work` spends its time on, part by part, and its seconds and operations as a whole. */
async function profiled(work) {
  const { addFlops, NO_FLOPS, Profiler } = await import("./measures.mjs");
  const profiler = new Profiler();
  model.runner.sessions.profiler = profiler;
  const began = performance.now();
  await work();
  const seconds = (performance.now() - began) / 1000;
  model.runner.sessions.profiler = undefined;
  const parts = profiler.table();
  return { seconds, parts, flops: parts.reduce((sum, { flops }) => addFlops(sum, flops), NO_FLOPS) };
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
  const peakBytes = peakResidentBytes();
  const { parts, flops } = await profiled(() => timed(prompt, 1));
  const one = await profiled(() => timed(prompt.slice(0, 32), 1));
  const many = await profiled(() => timed(prompt.slice(0, 32), 65));
  const read = ({ parts: list }) => list.reduce((sum, { bytes }) => sum + bytes, 0);
  const { idealSeconds, matmulPeaks, readBandwidth } = await import("./measures.mjs");
  const peaks = await matmulPeaks(model.engine);
  const bandwidth = await readBandwidth(model.engine);
  return {
    prefill: median(prefill),
    decode: median(decode),
    peakBytes,
    prefillShare: (idealSeconds(flops, peaks) * median(prefill)) / 512,
    decodeShare: (((read(many) - read(one)) / 64) * median(decode)) / bandwidth,
    peaks,
    bandwidth,
    parts,
    memory,
  };
}

async function training() {
  const optimizer = new AdamW(adapted.trainableParameters(), { learningRate: 2e-4 });
  let firstStepSeconds;
  const step = async (batch) => {
    const { tokens } = await adapted.backward(batch);
    await optimizer.step();
    optimizer.zeroGrad();
    firstStepSeconds ??= process.uptime();
    return tokens;
  };
  const rates = [];
  const held = [];
  for (let i = 0; i < steps; i += 1) {
    const began = performance.now();
    const tokens = await step(batchOf(i));
    rates.push(tokens / ((performance.now() - began) / 1000));
    held.push(model.runner.pool.held);
  }
  const peakBytes = peakResidentBytes();
  // Batches of one shape need what the second step needed, and nothing more.
  if (workload !== "chat" && held.slice(2).some((bytes) => bytes > held[1]))
    throw new Error(`buffers grew after step 2: ${held.join(", ")} bytes`);
  const later = median(rates.length > 1 ? rates.slice(1) : rates);
  let tokens;
  const { parts, flops } = await profiled(async () => (tokens = await step(batchOf(steps - 1))));
  const { idealSeconds, matmulPeaks, readBandwidth } = await import("./measures.mjs");
  const peaks = await matmulPeaks(model.engine);
  return {
    tokensPerSecond: later,
    firstStepSeconds,
    peakBytes,
    peakShare: (idealSeconds(flops, peaks) * later) / tokens,
    peaks,
    bandwidth: await readBandwidth(model.engine),
    parts,
    memory,
  };
}

const measure = workload === "generate" ? generation : training;
if (profileFolder === undefined) {
  console.log(JSON.stringify(await measure()));
  await model.close();
} else {
  const { openOutputFolder, processTerminal, startProfile } = await import("./measures.mjs");
  const profile = await startProfile(model);
  await measure();
  await model.close();
  await profile.report(processTerminal(), await openOutputFolder(profileFolder));
}
