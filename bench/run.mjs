// peft.js beside Hugging Face PEFT on the same machine in the same run:
//   npm run bench -- [--peer VENV] [--rounds 2] [--steps 5] [--only full,chat,generate] [--modes float32,int8,limited]
//                    [--peer-modes float32,bfloat16,autocast] [--curves]
// Needs the model and data of scripts/fetch-models.mjs, and for the peer a folder made by bench/peer/reference.py.
// Prints a table, and writes bench/results/<time>.json and bench/report.html.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { cacheFolder as cache } from "../scripts/cache-folder.mjs";
import { renderHtml, renderMarkdown } from "./report.mjs";

const { values } = parseArgs({
  options: {
    peer: { type: "string" },
    rounds: { type: "string", default: "2" },
    steps: { type: "string", default: "5" },
    only: { type: "string", default: "full,chat,generate" },
    modes: { type: "string", default: "float32,int8,limited" },
    "peer-modes": { type: "string", default: "float32,bfloat16,autocast" },
    curves: { type: "boolean", default: false },
    model: { type: "string" },
  },
});
const model = values.model ?? join(cache, "SmolLM2-135M-Instruct.Q4_1.gguf");
const peerModel = join(cache, "reference", "model");
const data = join(cache, "perlfaq.jsonl");
for (const path of [model, data, ...(values.peer ? [peerModel] : [])]) {
  if (!existsSync(path)) {
    console.error(
      `${path} is not there: run node scripts/fetch-models.mjs smollm2 perlfaq, then bench/peer/reference.py`,
    );
    process.exit(2);
  }
}

function measure(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed:\n${stderr}`);
  return JSON.parse(stdout.trim().split("\n").at(-1));
}

const ours = (workload, mode, steps = values.steps) =>
  measure("node", ["bench/ours.mjs", workload, model, data, steps, mode]);
const peers = (workload, mode) =>
  measure(join(values.peer, "bin", "python"), [
    "bench/peer/bench.py",
    workload,
    peerModel,
    data,
    values.steps,
    mode,
  ]);

/** What is measured of a workload: our modes, then those of the peer. Generation has one of ours. */
function contenders(workload) {
  const modes = workload === "generate" ? ["float32"] : values.modes.split(",");
  const own = modes.map((mode) => ({ name: `peft.js ${mode}`, run: () => ours(workload, mode) }));
  if (values.peer === undefined) return own;
  const theirs = values["peer-modes"].split(",");
  return [...own, ...theirs.map((mode) => ({ name: `PEFT ${mode}`, run: () => peers(workload, mode) }))];
}

const results = {};
for (const workload of values.only.split(",").filter(Boolean)) {
  results[workload] = {};
  // All take turns, so that a noisy neighbour falls on each of them.
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const { name, run } of contenders(workload)) {
      (results[workload][name] ??= []).push(run());
      console.error(
        `${workload} ${name} round ${round + 1}: ${JSON.stringify(results[workload][name].at(-1))}`,
      );
    }
  }
}
const curves = [];
if (values.curves) {
  for (const [rows, length] of [
    [1, 128],
    [1, 512],
    [1, 2048],
    [1, 8192],
    [4, 128],
    [16, 128],
    [32, 128],
  ]) {
    curves.push({ rows, length, ...ours(`${rows}x${length}`, "float32", "2") });
    console.error(`curve ${JSON.stringify(curves.at(-1))}`);
  }
}

const report = {
  machine: `${cpus()[0].model}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, Node ${process.version}`,
  load: `load average ${loadavg()[0].toFixed(1)} at the end`,
  date: new Date().toISOString().slice(0, 10),
  rounds: Number(values.rounds),
  results,
  curves,
};
console.log(renderMarkdown(report));
mkdirSync("bench/results", { recursive: true });
const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
writeFileSync(`bench/results/${stamp}.json`, JSON.stringify({ values, ...report }, null, 1));
writeFileSync("bench/report.html", renderHtml(report));
