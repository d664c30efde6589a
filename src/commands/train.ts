import { stringify } from "yaml";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import type { WeightDType } from "../auto/load-weights.js";
import { ConfigError } from "../base/errors.js";
import { flag } from "../base/option.js";
import { toSnakeCase } from "../base/spelling.js";
import { dataPath, modelPath } from "../cli/embedded.js";
import { formatCount } from "../cli/format.js";
import { startProfile } from "../cli/profile.js";
import { readRunFile } from "../cli/run-file.js";
import { allRunOptions, resolveRun, type RunSettings } from "../cli/run-settings.js";
import { runTraining } from "../cli/run-training.js";
import type { Terminal } from "../cli/terminal.js";
import { readRows } from "../files/data-file.js";
import { openOutputFolder } from "../files/folder.js";
import type { PeftConfig } from "../methods/index.js";
import { getPeftModel } from "../peft/peft-model.js";
import { type Dataset, encodeDataset } from "../text/dataset.js";
import type { EncodingOptions } from "../text/encode-example.js";
import type { Tokenizer } from "../text/tokenizer.js";
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

interface Data {
  readonly dataset: Dataset;
  readonly evalDataset: Dataset | undefined;
}

async function loadData(settings: RunSettings, tokenizer: Tokenizer, contextLength: number): Promise<Data> {
  const run = settings.run as Record<string, unknown>;
  const options = {
    maxLength: Math.min(run["maxLength"] as number, contextLength),
    lossOn: run["lossOn"] as EncodingOptions["lossOn"],
    columns: run["columns"] as Record<string, string>,
  };
  const whole = encodeDataset(await readRows(dataPath(run["dataset"] as string)), tokenizer, options);
  const evalFile = run["evalDataset"] as string | undefined;
  if (evalFile !== undefined) {
    const rows = await readRows(dataPath(evalFile), "valid");
    return { dataset: whole, evalDataset: encodeDataset(rows, tokenizer, options) };
  }
  const share = run["valSetSize"] as number;
  if (share === 0) return { dataset: whole, evalDataset: undefined };
  const { train, heldOut } = whole.split(share, run["seed"] as number);
  return { dataset: train, evalDataset: heldOut };
}

function describeData(terminal: Terminal, { dataset, evalDataset }: Data, maxLength: unknown): void {
  const { rows, tokens, trainedTokens, truncatedRows, skippedRows } = dataset.summary;
  terminal.line(
    `data: ${formatCount(rows)} rows, ${formatCount(tokens)} tokens, ${formatCount(trainedTokens)} of them learnt`,
  );
  if (evalDataset !== undefined) terminal.line(`held out: ${formatCount(evalDataset.length)} rows`);
  if (truncatedRows > 0)
    terminal.note(`warning: ${truncatedRows} rows were cut to ${String(maxLength)} tokens (--max-length)`);
  if (skippedRows > 0)
    terminal.note(`warning: ${skippedRows} rows were left out: nothing of their answer was left`);
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
    const folder = await openOutputFolder(run["outputDir"] as string);
    const base = await AutoModelForCausalLM.fromPretrained(modelPath(run["model"] as string), {
      dtype: run["dtype"] as WeightDType,
      activationBytes: run["activationMemory"] as number | undefined,
      signal,
      onWarning: (text) => terminal.note(`warning: ${text}`),
    });
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
      const beforeData = performance.now();
      const data = await loadData(settings, tokenizer, base.contextLength);
      profile?.profiler.record("reading and tokenising", beforeData);
      const config = { peftType: run["peftType"], ...settings.method } as PeftConfig;
      const model = await getPeftModel(base, config, { seed: run["seed"] as number });
      for (const { text } of model.warnings) terminal.note(`warning: ${text}`);
      terminal.line(model.trainableParametersLine());
      describeData(terminal, data, run["maxLength"]);
      const options = Object.fromEntries(
        Object.keys(trainOptions).map((key) => [key, run[key]]),
      ) as Partial<TrainOptions>;
      const { events, verification } = await runTraining(model, data.dataset, {
        ...options,
        evalDataset: data.evalDataset,
        verify: run["verify"] as boolean,
        folder,
        terminal,
        signal,
        profiler: profile?.profiler,
      });
      terminal.line(
        `saved: ${folder.path}   (use it: peft generate ${run["model"] as string} --adapter ${folder.path})`,
      );
      return verification === undefined || passes(verification, events) ? 0 : 1;
    } finally {
      await base.close();
      await profile?.report(terminal, folder);
    }
  },
});
