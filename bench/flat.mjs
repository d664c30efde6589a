// Many steps, to see whether memory and speed stay what they are: node bench/flat.mjs [STEPS] [MODEL] [DATA]
// Without a model the embedded one is trained. Exits with 1 where memory grows after the first tenth of the steps.
import {
  AdamW,
  AutoModelForCausalLM,
  collate,
  encodeDataset,
  getPeftModel,
  readRows,
} from "../dist/index.js";
import { residentBytes } from "../dist/runtime/memory.js";

const [stepsText = "2000", modelPath = "embedded/base", dataPath = "embedded/task/train.jsonl"] =
  process.argv.slice(2);
const steps = Number(stepsText);
const model = await AutoModelForCausalLM.fromPretrained(modelPath);
const adapted = await getPeftModel(model, { peftType: "LORA", r: 8, targetModules: ["q_proj", "v_proj"] });
const { examples } = encodeDataset(await readRows(dataPath), model.tokenizer, { maxLength: 512 });
const optimizer = new AdamW(adapted.trainableParameters(), { learningRate: 1e-4 });
const mib = (bytes) => (bytes / 2 ** 20).toFixed(0);
const tenth = Math.ceil(steps / 10);
const marks = [];
console.log("| steps | resident, MiB | buffers, MiB | tokens/s | loss |\n|---|---|---|---|---|");
let [began, tokens, loss] = [performance.now(), 0, 0];
for (let step = 1; step <= steps; step += 1) {
  const at = (step * 4) % (examples.length - 4);
  const result = await adapted.backward(collate(examples.slice(at, at + 4)), { seed: step });
  await optimizer.step();
  optimizer.zeroGrad();
  tokens += result.tokens;
  loss += result.loss;
  if (step % tenth !== 0) continue;
  const speed = tokens / ((performance.now() - began) / 1000);
  marks.push({ resident: residentBytes(), held: model.runner.pool.held, speed });
  const { resident, held } = marks.at(-1);
  console.log(
    `| ${step} | ${mib(resident)} | ${mib(held)} | ${speed.toFixed(0)} | ${(loss / tenth).toFixed(4)} |`,
  );
  [began, tokens, loss] = [performance.now(), 0, 0];
}
await model.close();
const [first, last] = [marks[0], marks.at(-1)];
const grown = last.resident / first.resident - 1;
console.log(
  `memory ${(100 * grown).toFixed(1)} %, speed ${(100 * (last.speed / first.speed - 1)).toFixed(1)} %`,
);
if (grown > 0.1) process.exitCode = 1;
