// peft.js beside Hugging Face PEFT on the same machine in the same run:
//   npm run bench -- [--peer VENV] [--rounds 2] [--steps 5] [--only full,chat,generate] [--modes float32,int8,limited]
//                    [--peer-modes float32,bfloat16,autocast] [--curves] [--profile]
// Needs the model and data of scripts/fetch-models.mjs, and for the peer a folder made by bench/peer/reference.py.
// Generation is measured from float32 and bfloat16 weights of a folder, from the 4-bit file as it is, and from that with 8-bit arithmetic.
// --profile: instead of all that, where the time of each workload and mode goes, by part and by op, with Chrome traces in bench/results.
// Prints a table, and writes bench/results/<time>.json and bench/report.html.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { cacheFolder as cache } from "../scripts/cache-folder.mjs";
import { halvedFolder } from "./halve.mjs";
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
    profile: { type: "boolean", default: false },
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

const halved = join(cache, "reference", "model-bfloat16");
if (existsSync(peerModel)) await halvedFolder(realpathSync(peerModel), halved);

/** What of generation is measured: a name, the model, and the arithmetic. */
const GENERATION = [
  ["float32", peerModel, "float32"],
  ["bfloat16 weights", halved, "float32"],
  ["4-bit file", model, "float32"],
  ["4-bit file, int8", model, "int8"],
];
const ownModes = (workload) =>
  workload === "generate"
    ? GENERATION.filter(([, path]) => existsSync(path))
    : values.modes.split(",").map((mode) => [mode, model, mode]);
const ours = (workload, path, mode, steps = values.steps) =>
  measure("node", ["bench/ours.mjs", workload, path, data, steps, mode]);
const peers = (workload, mode) =>
  measure(join(values.peer, "bin", "python"), [
    "bench/peer/bench.py",
    workload,
    peerModel,
    data,
    values.steps,
    mode,
  ]);

/** What is measured of a workload: our modes, then those of the peer. */
function contenders(workload) {
  const own = ownModes(workload).map(([name, path, mode]) => ({
    name: `peft.js ${name}`,
    run: () => ours(workload, path, mode),
  }));
  if (values.peer === undefined) return own;
  const theirs = values["peer-modes"].split(",");
  return [...own, ...theirs.map((mode) => ({ name: `PEFT ${mode}`, run: () => peers(workload, mode) }))];
}

const workloads = values.only.split(",").filter(Boolean);
const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
if (values.profile) {
  for (const workload of workloads) {
    for (const [name, path, mode] of ownModes(workload)) {
      const folder = join("bench/results", `${stamp}-${workload}-${name.replaceAll(/\W+/g, "-")}`);
      console.log(`\n${workload}, peft.js ${name}`);
      spawnSync("node", ["bench/ours.mjs", workload, path, data, values.steps, mode, folder], {
        stdio: "inherit",
      });
    }
  }
  process.exit();
}

/** A result as the line of progress has it: numbers alone. */
const brief = (result) =>
  Object.entries(result)
    .filter(([, value]) => typeof value === "number")
    .map(([key, value]) => `${key} ${Number(value.toPrecision(4))}`)
    .join(", ");

const results = {};
for (const workload of workloads) {
  results[workload] = {};
  // All take turns, so that a noisy neighbour falls on each of them.
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const { name, run } of contenders(workload)) {
      (results[workload][name] ??= []).push(run());
      console.error(`${workload} ${name} round ${round + 1}: ${brief(results[workload][name].at(-1))}`);
    }
  }
}
const curves = [];
if (values.curves) {
  for (const [rows, length, mode = "float32"] of [
    [1, 128],
    [1, 512],
    [1, 2048],
    [1, 2048, "offload"],
    [1, 8192],
    [1, 8192, "offload"],
    [4, 128],
    [16, 128],
    [32, 128],
  ]) {
    curves.push({ rows, length, mode, ...ours(`${rows}x${length}`, model, mode, "3") });
    console.error(`curve ${brief(curves.at(-1))}`);
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
writeFileSync(`bench/results/${stamp}.json`, JSON.stringify({ values, ...report }, null, 1));
writeFileSync("bench/report.html", renderHtml(report));
