import { stringify } from "yaml";
import { ConfigError } from "../base/errors.js";
import { flag } from "../base/option.js";
import { toSnakeCase } from "../base/spelling.js";
import { clozeOfRun } from "../cli/cloze-run.js";
import { modelFacts, useCommand } from "../cli/open-model.js";
import { startProfile } from "../cli/profile.js";
import { readRunFile } from "../cli/run-file.js";
import { allRunOptions, resolveRun, type RunSettings } from "../cli/run-settings.js";
import { runTraining } from "../cli/run-training.js";
import {
  describeData,
  encodeTrainingRows,
  firstBatches,
  readTrainingRows,
  type TrainingData,
} from "../cli/training-data.js";
import { openTrainingModel } from "../cli/training-model.js";
import { openOutputFolder } from "../files/folder.js";
import type { PeftConfig } from "../methods/index.js";
import type { AdapterLayout } from "../peft/adapter-layout.js";
import { getPeftModel } from "../peft/get-peft-model.js";
import type { TrainEvent } from "../train/event.js";
import { trainOptions, type TrainOptions } from "../train/train-options.js";
import type { VerificationReport } from "../train/verify.js";
import { defineCommand } from "./command.js";

/** The resolved settings as a run file. */
function renderRun({ run, method, sources }: RunSettings): string {
  const entries = Object.entries({ ...run, ...method }).filter(([, value]) => value !== undefined);
  return entries
    .map(([key, value]) => {
      const line = stringify({ [toSnakeCase(key)]: value }, { flowCollectionPadding: true }).trimEnd();
      const source = sources.get(key);
      return source === "default" || line.includes("\n") ? line : `${line.padEnd(40)} # ${source}`;
    })
    .join("\n");
}

function required(settings: RunSettings): void {
  const missing = (["model", "dataset"] as const).filter((key) => settings.run[key] === "");
  if (missing.length === 0) return;
  throw new ConfigError({
    code: "option_missing",
    summary: `Training needs ${missing.map((key) => `--${key}`).join(" and ")}.`,
    fixes: [
      "peft train --model embedded --dataset embedded --output-dir out",
      "peft demo   (the same, with everything around it)",
    ],
    fields: { missing },
  });
}

/** A single step cannot move the factor whose partner starts at zero, so it is only asked of longer runs. */
function passes(report: VerificationReport, events: readonly TrainEvent[]): boolean {
  const steps = events.filter((event) => event.type === "step").length;
  return report.baseChanged.length === 0 && (steps < 2 || report.adapterUnmoved.length === 0);
}

/** `peft train`: fine-tunes a model and saves the adapter. */
export const train = defineCommand({
  name: "train",
  summary: "Fine-tunes a model and saves the adapter.",
  args: [{ name: "[run.yaml]", doc: "Settings with Hugging Face's key names; flags override them." }],
  options: { ...allRunOptions, dryRun: flag({ default: false, doc: "Prints the resolved run and stops." }) },
  examples: [
    "peft train --model embedded --dataset embedded --eval-dataset embedded/test --output-dir out",
    "peft train --task seq-cls --model minilm --dataset train.jsonl --eval-dataset test.jsonl --output-dir out",
    "peft train --task seq2seq-lm --model flan-t5-small --dataset train.jsonl --output-dir out",
    'peft train --task cloze --model bert --dataset train.jsonl --template "{text} It was {mask}." --verbalizer words.json',
    "peft train run.yaml --learning-rate 1e-4",
  ],
  async run({ args, flags, terminal, signal }) {
    const { dryRun, ...given } = flags;
    const settings = resolveRun(args[0] === undefined ? undefined : await readRunFile(args[0]), given);
    if (dryRun === true) {
      terminal.line(renderRun(settings));
      return 0;
    }
    required(settings);
    const run = settings.run as Record<string, unknown>;
    const cloze = await clozeOfRun(settings);
    const folder = await openOutputFolder(run["outputDir"] as string);
    const name = run["model"] as string;
    const rows = await readTrainingRows(run, (await modelFacts(name)).labels, cloze);
    const base = await openTrainingModel(rows, run, { terminal, signal });
    const profile = run["profile"] === true ? await startProfile(base) : undefined;
    try {
      const { tokenizer } = base;
      if (tokenizer === undefined) {
        throw new ConfigError({
          code: "tokenizer_missing",
          summary: `${base.name} holds no tokenizer, so its data cannot be encoded.`,
          fixes: ["put tokenizer.json and tokenizer_config.json beside the weights"],
          fields: { model: base.name },
        });
      }
      const config = { peftType: run["peftType"], ...settings.method } as PeftConfig;
      let encoded: TrainingData | undefined;
      const encode = (): TrainingData => {
        if (encoded !== undefined) return encoded;
        const before = performance.now();
        encoded = encodeTrainingRows(rows, run, tokenizer, base);
        profile?.profiler.record("reading and tokenising", before);
        return encoded;
      };
      const model = await getPeftModel(base, config, {
        seed: run["seed"] as number,
        calibration() {
          terminal.note("looking at the data for the start of the adapter …");
          return firstBatches(encode().dataset, run);
        },
        signal,
      });
      const layout = run["layout"] as AdapterLayout;
      model.assertSavable(layout);
      for (const { text } of model.warnings) terminal.note(`warning: ${text}`);
      // Virtual tokens take their part of the context, so where nothing looks at the rows they come after the adapter.
      const data = encode();
      terminal.line(model.trainableParametersLine());
      describeData(terminal, data, rows.labels, Math.min(run["maxLength"] as number, base.contextLength));
      const options = Object.fromEntries(
        Object.keys(trainOptions).map((key) => [key, run[key]]),
      ) as Partial<TrainOptions>;
      const { events, verification } = await runTraining(model, data.dataset, {
        ...options,
        evalDataset: data.evalDataset,
        tasks: data.tasks,
        maxLength: Math.min(run["maxLength"] as number, base.contextLength),
        verify: run["verify"] as boolean,
        layout,
        folder,
        terminal,
        signal,
        profiler: profile?.profiler,
      });
      const { tasks } = data;
      const asked = tasks === undefined || tasks.count === 1 ? "" : ` --task-id ${tasks.names?.[0] ?? 0}`;
      terminal.line(
        `saved: ${folder.path}   (use it: peft ${useCommand(base)} ${name} --adapter ${folder.path}${asked})`,
      );
      return verification === undefined || passes(verification, events) ? 0 : 1;
    } finally {
      await base.close();
      await profile?.report(terminal, folder);
    }
  },
});
