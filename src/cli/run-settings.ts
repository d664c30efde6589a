import { z } from "zod";
import { ConfigError } from "../base/errors.js";
import {
  alias,
  choice,
  flag,
  integer,
  number,
  type Option,
  type Options,
  names,
  optionalText,
  text,
} from "../base/option.js";
import { quantisationOptions } from "../auto/quantisation-options.js";
import { arithmetic } from "./arithmetic.js";
import type { Spelling } from "../base/fault-text.js";
import { optionError, optionFaults, resolveAliases } from "../base/read-options.js";
import { ADAPTER_LAYOUTS } from "../peft/adapter-layout.js";
import { allMethods, findMethod } from "../peft/method-registry.js";
import { clozeOptions } from "../text/cloze-options.js";
import { encodingOptions } from "../text/encode-example.js";
import { trainOptions } from "../train/train-options.js";
import { type TaskName, TASKS } from "./training-data.js";
import type { RunFile } from "./run-file.js";

/** `prompt=question,completion=answer` as a record; or the record as JSON. */
export const columns: Option<Readonly<Record<string, string>>> = {
  schema: z.record(z.string(), z.string()),
  default: {},
  doc: "Columns under other names: prompt=question,completion=answer or text=review,label=score.",
  placeholder: "<name=column,...>",
  fromText(value) {
    if (!value.trimStart().startsWith("{"))
      return Object.fromEntries(value.split(",").map((pair) => pair.split("=").map((part) => part.trim())));
    try {
      return JSON.parse(value) as unknown;
    } catch {
      return value;
    }
  },
  expected: "a set of columns by what they hold",
  example: { text: "review", label: "score" },
};

/** A size such as 800MiB, in bytes. */
const size = (doc: string): Option<number | undefined> => ({
  schema: z.number().positive().optional(),
  default: undefined,
  doc,
  placeholder: "<size>",
  expected: "a size such as 800MiB",
  example: "800MiB",
  fromText(value) {
    const match = /^([\d.]+)\s*(B|KiB|MiB|GiB|KB|MB|GB)?$/i.exec(value.trim());
    const units: Readonly<Record<string, number>> = {
      b: 1,
      kib: 2 ** 10,
      mib: 2 ** 20,
      gib: 2 ** 30,
      kb: 1e3,
      mb: 1e6,
      gb: 1e9,
    };
    return match === null ? value : Number(match[1]) * units[(match[2] ?? "B").toLowerCase()]!;
  },
});

/** Settings of a run that belong to no method. */
export const runOptions = {
  model: alias(
    {
      ...text({
        default: "",
        doc: "Model folder, .gguf file or Hub id; or embedded.",
        placeholder: "<path|id>",
      }),
      example: "embedded",
    },
    "modelNameOrPath",
    "baseModel",
  ),
  dataset: alias(
    {
      ...text({ default: "", doc: "Data file: .jsonl, .json or .csv.", placeholder: "<file>" }),
      example: "train.jsonl",
    },
    "trainFile",
  ),
  evalDataset: alias(
    optionalText({ doc: "Held-out rows, in a file of their own.", placeholder: "<file>" }),
    "evalFile",
    "validationFile",
  ),
  valSetSize: number({
    default: 0,
    min: 0,
    below: 1,
    doc: "Share of the rows that is held out, where there is no evalDataset.",
  }),
  outputDir: alias(
    text({
      default: "out",
      doc: "Folder for the adapter, the log and the loss curve.",
      placeholder: "<folder>",
    }),
    "adapterPath",
  ),
  task: alias(
    choice({
      values: Object.keys(TASKS) as TaskName[],
      default: "causal-lm",
      doc: "What is learnt: text, answers of an encoder with a decoder, labels of texts, of words, or where answers are; or labels as words (cloze).",
    }),
    "taskType",
  ),
  peftType: choice({
    values: [...allMethods().keys()],
    default: [...allMethods().keys()][0]!,
    doc: "Method.",
  }),
  dtype: choice({
    values: ["auto", "float32", "float16", "bfloat16"],
    default: "auto",
    doc: "Type of the frozen weights in memory.",
  }),
  arithmetic,
  ...quantisationOptions,
  columns,
  activationMemory: size(
    "Memory for kept activations, such as 800MiB (512MiB unless less is free); products that do not fit are computed again.",
  ),
  offloadActivations: optionalText({
    placeholder: "<folder>",
    doc: "Folder, on a disk, of a file for what the backward pass reads again: less memory for long rows, slower steps. Under a memory limit a temporary one serves batches that do not fit, unless this is none.",
  }),
  memoryLimit: size(
    "Memory that the process should stay below, such as 800MiB: weights are decoded for each use, large batches wait in a file or run in parts.",
  ),
  calibrationBatches: integer({
    default: 64,
    min: 1,
    doc: "Batches of training rows that a start looks at which depends on data, such as initLoraWeights: eva.",
  }),
  layout: choice({
    values: ADAPTER_LAYOUTS,
    default: "peft",
    doc: "Files of the adapter: as Hugging Face PEFT reads them, or as AdapterHub does.",
  }),
  plugin: names({ doc: "Modules or packages whose methods are used besides those of peft.js." }),
  verify: flag({
    default: true,
    doc: "Checks after the run that the base is bit-identical and that every adapter tensor moved.",
  }),
  profile: flag({
    default: false,
    doc: "Prints what the time went into and writes profile.json, a trace for Chrome.",
  }),
  ...encodingOptions,
  ...clozeOptions,
  ...trainOptions,
};

/**
 * One flag for what several methods call alike. A flag that takes a value can stand for a switch, not the other way round; what the
 * value may be is for the chosen method to say.
 */
function commonOption(first: Option<unknown>, second: Option<unknown>): Option<unknown> {
  const option = first.placeholder === undefined ? second : first;
  if (first.default === second.default && first.doc === second.doc) return option;
  const note = " What it means and its default depend on the method.";
  const doc = first.doc.endsWith(note) ? first.doc : first.doc + note;
  return { ...option, doc, ...(option.placeholder === undefined ? {} : { default: undefined }) };
}

/** Every setting that a run can have: those above and those of all methods. */
export const allRunOptions: Options = [...allMethods().values()].reduce<Options>((all, method) => {
  const own = Object.entries(method.config).map(([name, option]) => {
    const known = all[name];
    return [name, known === undefined ? option : commonOption(known, option)] as const;
  });
  return { ...all, ...Object.fromEntries(own) };
}, runOptions as Options);

/** Where a setting of a run came from. */
export type SettingSource = "default" | "file" | "flag";

/** The resolved settings of a run. */
export interface RunSettings {
  readonly run: Readonly<Record<keyof typeof runOptions, unknown>>;
  /** Options of the method, those that were given. */
  readonly method: Readonly<Record<string, unknown>>;
  readonly sources: ReadonlyMap<string, SettingSource>;
}

function check(
  values: Readonly<Record<string, unknown>>,
  options: Options,
  source: string,
  spelling: Spelling,
  file?: RunFile,
): void {
  const faults = optionFaults(options, values, spelling);
  if (faults.length === 0) return;
  throw optionError(faults, {
    source,
    spelling,
    where: (key) => (file?.lines.get(key) === undefined ? undefined : `line ${file.lines.get(key)}`),
    fix: "peft train --help lists all settings; nothing was run",
  });
}

/** Values of a run file, with texts such as 800MiB read as flags are where an option takes no text. */
function readTexts(values: Readonly<Record<string, unknown>>, options: Options): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(values).map(([key, value]) => {
      const option = options[key];
      if (typeof value !== "string" || option === undefined) return [key, value];
      const takes = (one: unknown): boolean => option.schema.safeParse(one).success;
      const read = option.fromText(value);
      return [key, !takes(value) && takes(read) ? read : value];
    }),
  );
}

/** Settings from a run file and from flags; flags win. Every fault of one source is reported at once. */
export function resolveRun(file: RunFile | undefined, flags: Readonly<Record<string, unknown>>): RunSettings {
  const inFile = readTexts(file?.values ?? {}, allRunOptions);
  const fromFile = resolveAliases(allRunOptions, inFile);
  const fromFlags = resolveAliases(allRunOptions, flags);
  const given: Record<string, unknown> = { ...fromFile, ...fromFlags };
  const named = given["peftType"] as string;
  const peftType = allMethods().has(named) ? named : runOptions.peftType.default;
  const methodOptions = findMethod(peftType).config;
  const known = { ...allRunOptions, ...methodOptions };
  if (file !== undefined) check(inFile, known, file.path, "snake_case", file);
  check(flags, known, "The command line", "kebab-case");
  const foreign = Object.keys(given).filter(
    (key) => !Object.hasOwn(runOptions, key) && !Object.hasOwn(methodOptions, key),
  );
  if (foreign.length > 0) {
    throw new ConfigError({
      code: "option_without_effect",
      summary: `${foreign.join(", ")} ${foreign.length === 1 ? "has" : "have"} no effect with the method ${peftType}.`,
      fixes: ["leave them out, or choose the method they belong to"],
      fields: { options: foreign, peftType },
    });
  }
  const sources = new Map<string, SettingSource>();
  for (const key of Object.keys({ ...runOptions, ...methodOptions })) {
    sources.set(key, key in fromFlags ? "flag" : key in fromFile ? "file" : "default");
  }
  const run = Object.fromEntries(
    Object.entries(runOptions).map(([key, option]) => [key, given[key] ?? option.default]),
  ) as RunSettings["run"];
  const method = Object.fromEntries(
    Object.keys(methodOptions)
      .filter((key) => key in given)
      .map((key) => [key, given[key]]),
  );
  return { run, method, sources };
}
