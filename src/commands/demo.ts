import { AutoModelForCausalLM } from "../auto/auto-model.js";
import type { CausalLanguageModel } from "../auto/causal-language-model.js";
import { generate } from "../auto/generate.js";
import { integer, text } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import { promptTokens, tokenizerOf } from "../cli/chat.js";
import { dataPath, modelPath } from "../cli/embedded.js";
import { formatBytes, formatSeconds } from "../cli/format.js";
import { runTraining } from "../cli/run-training.js";
import { readRows } from "../files/data-file.js";
import { openOutputFolder } from "../files/folder.js";
import { getPeftModel } from "../peft/get-peft-model.js";
import { PeftModel } from "../peft/peft-model.js";
import { peakResidentBytes } from "../runtime/memory.js";
import { encodeDataset } from "../text/dataset.js";
import { defineCommand } from "./command.js";

const options = {
  outputDir: text({
    default: "out/demo",
    doc: "Folder for the adapter, the log and the loss curve.",
    placeholder: "<folder>",
  }),
  seed: integer({ default: 0, min: 0, doc: "Seed of the run." }),
};

const SAMPLE = "a large wild cat of the forests of Asia having a tawny coat with black stripes";
/** Held-out accuracy that a run has to reach, and what it has to gain; chance is 1 in 12. */
const [LEAST_ACCURACY, LEAST_GAIN] = [0.5, 0.4];
const BATCH = 64;

interface TestRow {
  readonly prompt: string;
  readonly completion: string;
}

/** Share of the test rows that the model answers word for word. */
async function accuracy(model: CausalLanguageModel, rows: readonly TestRow[]): Promise<number> {
  let right = 0;
  for (let i = 0; i < rows.length; i += BATCH) {
    const part = rows.slice(i, i + BATCH);
    const prompts = part.map(({ prompt }) => promptTokens(model, [{ role: "user", content: prompt }], false));
    const answers = await generate(model, prompts, { maxNewTokens: 6 });
    right += answers.filter((answer, j) => answer.text.trim() === part[j]!.completion).length;
  }
  return right / rows.length;
}

async function answer(model: CausalLanguageModel, prompt: string): Promise<string> {
  const [result] = await generate(model, [promptTokens(model, [{ role: "user", content: prompt }], false)], {
    maxNewTokens: 12,
  });
  return result!.text.trim();
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** `peft demo`: the whole way on the model and the task that the package brings along. */
export const demo = defineCommand({
  name: "demo",
  summary: "Fine-tunes the embedded model on the embedded task, checks it, saves it and asks it.",
  args: [],
  options,
  examples: ["peft demo"],
  async run({ flags, terminal, signal }) {
    const { outputDir, seed } = readOptions(options, flags, {
      source: "The command line",
      spelling: "kebab-case",
      fix: "peft demo --help",
    });
    const started = performance.now();
    const folder = await openOutputFolder(outputDir);
    const base = await AutoModelForCausalLM.fromPretrained(modelPath("embedded"));
    try {
      terminal.line(
        "Task: what kind of thing does a dictionary definition describe? (12 kinds, definitions from WordNet)",
      );
      const test = (await readRows(dataPath("embedded/test"))).map(
        ({ value }) => value as unknown as TestRow,
      );
      const dataset = encodeDataset(await readRows(dataPath("embedded/train")), tokenizerOf(base), {
        maxLength: base.contextLength,
      });
      const before = await accuracy(base, test);
      const answerBefore = await answer(base, SAMPLE);
      const model = await getPeftModel(
        base,
        { peftType: "LORA", r: 16, loraAlpha: 32, targetModules: "all-linear" },
        { seed },
      );
      terminal.line(model.trainableParametersLine());
      const { verification } = await runTraining(model, dataset, {
        epochs: 1,
        batchSize: 16,
        learningRate: 2e-3,
        lrSchedulerType: "cosine",
        warmupRatio: 0.05,
        weightDecay: 0.01,
        seed,
        signal,
        verify: true,
        folder,
        terminal,
      });
      if (signal.aborted) return 1;
      const after = await accuracy(base, test);
      const answerAfter = await answer(base, SAMPLE);
      model.deleteAdapter("default");
      await PeftModel.fromPretrained(base, outputDir);
      const answerLoaded = await answer(base, SAMPLE);
      terminal.line(
        `held-out accuracy: ${percent(before)} before, ${percent(after)} after (${test.length} definitions never seen)`,
      );
      terminal.line(`sample: "${SAMPLE}"`);
      terminal.line(`  before: ${answerBefore}`);
      terminal.line(`  after:  ${answerAfter}`);
      terminal.line(`saved: ${outputDir}   (adapter, train.jsonl, loss.svg)`);
      terminal.line(
        `whole demo: ${formatSeconds((performance.now() - started) / 1000)}, peak memory ${formatBytes(peakResidentBytes())}`,
      );
      const faults = [
        ...(verification?.ok === true ? [] : ["verification failed"]),
        ...(after >= LEAST_ACCURACY && after - before >= LEAST_GAIN
          ? []
          : [`accuracy gained too little (${percent(before)} to ${percent(after)})`]),
        ...(answerLoaded === answerAfter ? [] : [`the saved adapter answers "${answerLoaded}"`]),
      ];
      for (const fault of faults) terminal.note(`demo failed: ${fault}`);
      return faults.length === 0 ? 0 : 1;
    } finally {
      await base.close();
    }
  },
});
