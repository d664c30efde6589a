// peft.js beside Hugging Face PEFT on the same machine in the same run:
//   npm run bench -- [--peer VENV] [--rounds 2] [--steps 5] [--only full,chat,generate] [--peer-mode float32]
// Needs the model and data of scripts/fetch-models.mjs, and for the peer a folder made by bench/peer/reference.py.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { cpus, homedir, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    peer: { type: "string" },
    rounds: { type: "string", default: "2" },
    steps: { type: "string", default: "5" },
    only: { type: "string", default: "full,chat,generate" },
    "peer-mode": { type: "string", default: "float32" },
    model: { type: "string" },
  },
});
const cache = process.env.PEFT_CACHE ?? join(homedir(), ".cache", "peft.js");
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

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const results = {};
for (const workload of values.only.split(",")) {
  const runs = { ours: [], peer: [] };
  // The two take turns, so that a noisy neighbour falls on both.
  for (let round = 0; round < Number(values.rounds); round += 1) {
    runs.ours.push(measure("node", ["bench/ours.mjs", workload, model, data, values.steps]));
    if (values.peer === undefined) continue;
    const python = join(values.peer, "bin", "python");
    runs.peer.push(
      measure(python, ["bench/peer/bench.py", workload, peerModel, data, values.steps, values["peer-mode"]]),
    );
  }
  results[workload] = runs;
}

const MORE_IS_BETTER = {
  tokensPerSecond: true,
  prefill: true,
  decode: true,
  firstStepSeconds: false,
  peakBytes: false,
};
const UNITS = {
  tokensPerSecond: "tokens/s",
  prefill: "tokens/s",
  decode: "tokens/s",
  firstStepSeconds: "s",
  peakBytes: "MiB",
};
const show = (key, value) =>
  key === "peakBytes" ? (value / 2 ** 20).toFixed(0) : value.toFixed(key === "firstStepSeconds" ? 2 : 1);
const [cpu] = cpus();
console.log(
  `\n${cpu.model}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, Node ${process.version}; medians of ${values.rounds} runs`,
);
console.log(
  `peer: ${values.peer === undefined ? "not run (--peer VENV)" : `Hugging Face PEFT, ${values["peer-mode"]}`}\n`,
);
console.log(
  "| workload | measure | peft.js | spread | peer | spread | ratio |\n|---|---|---|---|---|---|---|",
);
for (const [workload, { ours, peer }] of Object.entries(results)) {
  for (const key of Object.keys(ours[0])) {
    const of = (runs) => runs.map((run) => run[key]);
    const spread = (runs) =>
      runs.length < 2 ? "" : `${(100 * (Math.max(...of(runs)) / Math.min(...of(runs)) - 1)).toFixed(0)} %`;
    const mine = median(of(ours));
    const theirs = peer.length === 0 ? undefined : median(of(peer));
    const ratio =
      theirs === undefined
        ? ""
        : `${(MORE_IS_BETTER[key] ? mine / theirs : theirs / mine).toFixed(2)} × better`;
    const cells = [
      workload,
      `${key.replace("peakBytes", "peak memory")} (${UNITS[key]})`,
      show(key, mine),
      spread(ours),
    ];
    console.log(
      `| ${[...cells, theirs === undefined ? "" : show(key, theirs), spread(peer), ratio].join(" | ")} |`,
    );
  }
}
mkdirSync("bench/results", { recursive: true });
writeFileSync(
  `bench/results/${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.json`,
  JSON.stringify({ values, results }, null, 1),
);
