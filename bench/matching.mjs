// Cost of matching: 10,000 modules against 200 entries, the whole report included.
//   npm run build && node bench/matching.mjs
import { buildReport } from "../dist/match/build-report.js";
import { listModules } from "../dist/match/module-list.js";

const names = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
  "input_layernorm",
];
const facts = Array.from({ length: 1250 }, (_, layer) =>
  names.map((name) => ({
    name: `model.tower_${layer % 5}.layers.${layer}.${name.includes("_proj") ? "self_attn." : ""}${name}`,
    type: name.includes("norm") ? "LayerNorm" : "Linear",
    shape: name.includes("norm") ? [64] : [64, 64],
  })),
).flat();
const modules = listModules(facts);
const entries = [
  ...Array.from({ length: 150 }, (_, i) => `model.tower_${i % 5}.layers.${i}.self_attn.${names[i % 7]}`),
  ...Array.from({ length: 30 }, (_, i) => `layers.${200 + i}.self_attn.q_proj`),
  ...Array.from({ length: 14 }, (_, i) => `tower_{0-4}.layers.{${10 * i}-${10 * i + 9}}.**.v_proj`),
  "o_proj",
  "self_attn.k_proj",
  "!layers.7.**",
  { kind: "linear" },
  { regex: ".*up_proj" },
  { within: "model.tower_1", match: ["down_proj"] },
];
const settings = {
  model: "the list",
  method: "LORA",
  targetModules: entries,
  defaultTargets: false,
  modulesToSave: [],
  heads: [],
  patterns: [["rankPattern", "r", { "layers.1.self_attn.q_proj": 4 }]],
  matching: "whole-names",
  supports: ({ kind }) => kind === "linear",
  adapterAt: () => ({ rank: 8, trained: 1024 }),
};
/** Processor time of 31 runs in milliseconds, sorted. Other programs on the machine do not change it. */
const measure = (work) =>
  Array.from({ length: 31 }, () => {
    const start = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  }).sort((a, b) => a - b);
const times = measure(() => buildReport(modules, settings));
// The list is made once for a model, whatever is looked up in it.
const listing = measure(() => listModules(facts));
const report = buildReport(modules, settings);
console.log(
  JSON.stringify({
    modules: modules.length,
    entries: entries.length,
    targets: report.targets.length,
    fastestMs: Number(times[0].toFixed(1)),
    medianMs: Number(times[15].toFixed(1)),
    firstAndWorstMs: Number(times.at(-1).toFixed(1)),
    listMedianMs: Number(listing[15].toFixed(1)),
  }),
);
