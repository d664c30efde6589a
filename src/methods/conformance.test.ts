import { afterAll, describe, expect, test } from "vitest";
import { ConformanceBench, checks } from "../testing/bench.js";
import { conformanceReport } from "../testing/report.js";
import { methods } from "./index.js";
import type { MethodDefinition } from "./method.js";

/** Sets of options that go together, which no single option can stand for. */
const VARIANTS: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, unknown>>>>>> = {
  LORA: {
    "r: 32": { r: 32 },
    rankPattern: { rankPattern: { q_proj: 2 }, alphaPattern: { q_proj: 5 } },
    targetParameters: { targetParameters: ["q_proj.weight", "embed_tokens.weight"] },
  },
  LOHA: { "r: 1": { r: 1 } },
  LOKR: { "small r, decomposeBoth": { r: 1, decomposeBoth: true, decomposeFactor: 4 } },
  OFT: { "r: 4": { r: 4, oftBlockSize: 0 }, "exact, shared": { useCayleyNeumann: false, blockShare: true } },
  SEQ_BN: {
    "scaling: learned": { scaling: "learned" },
    "scaling: channel, mam_adapter": { scaling: "channel", initWeights: "mam_adapter" },
    "by layer, leaveOut": { reductionFactor: { "0": 2, default: 8 }, leaveOut: [1], mhAdapter: true },
    initWeightsSeed: { initWeightsSeed: 3 },
    "norms around, inside": { lnBefore: true, lnAfter: true, adapterResidualBeforeLn: true },
  },
  COMPACTER: {
    "phmInitRange: 0.0001": { phmInitRange: 1e-4 },
    "phmRank: 2, factors shared": { phmRank: 2, sharedWPhm: true },
    "left factors apart, of rank 1": { sharedPhmRule: false, factorizedPhmRule: true },
  },
  BOFT: { "boftBlockNum: 4": { boftBlockNum: 4, boftBlockSize: 0 }, butterfly: { boftNButterflyFactor: 2 } },
};

/** Options of methods whose defaults are too large for the tiny models, or that have none. */
const OPTIONS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  SEQ_BN: { reductionFactor: 4 },
  DOUBLE_SEQ_BN: { reductionFactor: 4 },
  // Left factors that do something within five steps.
  COMPACTER: { reductionFactor: 2, phmDim: 2, phmInitRange: 0.3 },
  COMPACTER_PLUS_PLUS: { reductionFactor: 2, phmDim: 2, phmInitRange: 0.3 },
  FOURIERFT: { nFrequency: 40, scaling: 10 },
  SHIRA: { r: 3 },
  TRAINABLE_TOKENS: { tokenIndices: [5, 9] },
};

const bench = new ConformanceBench();
// Thousands of folders and sessions go, which takes a while on a busy machine.
afterAll(() => bench.close(), 60_000);
let cases = 0;

describe.each(Object.values(methods) as unknown as MethodDefinition[])("$name", (method) => {
  for (const { title, run } of bench.cases(method, {
    options: OPTIONS[method.name] ?? {},
    variants: VARIANTS[method.name] ?? {},
  })) {
    cases += 1;
    test(title, run);
  }
});

test("no method is refused by every model", () => {
  for (const name of Object.keys(methods)) {
    const own = bench.results.filter(({ method, variant }) => method === name && variant === "");
    expect(
      own.length === 0 || own.some(({ outcome, check }) => check !== "options" && outcome === "holds"),
      name,
    ).toBe(true);
  }
});

const page = (): string => `# Methods, models and checks

Written by the conformance suite (\`npx vitest run src/methods/conformance.test.ts -u\`), not by hand; a stale page fails the tests.
Every method runs on a tiny model of every architecture.

| check | what it asks |
|---|---|
${checks.map(({ name, title }) => `| ${name} | ${title} |`).join("\n")}

✓ it holds · – the method declares that it does not start as identity, or that it cannot be merged, and says so where it is tried ·
n/a method and model, or an option and the others, do not go together, and the error says so · empty: run on another model of its
kind. The list under a table has every other value of the options, one at a time, and sets of options that go together.

${conformanceReport(bench.results)}`;

test("the page of results is up to date", async () => {
  // A part of the cases, as with -t, says nothing about the page.
  if (bench.results.length < cases) return;
  await expect(page()).toMatchFileSnapshot("../../docs/methods-checks.md");
});
