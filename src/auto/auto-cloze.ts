import { ConfigError } from "../base/errors.js";
import { readOptions } from "../base/read-options.js";
import { toCamelCase } from "../base/spelling.js";
import { resolveModel } from "../files/hub.js";
import { readJsonObject } from "../files/json-file.js";
import type { ModelDefinition, TaskType } from "../models/model.js";
import type { ClozeForm } from "../text/cloze.js";
import { type ClozeOptions, clozeOptions } from "../text/cloze-options.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { ClozeClassifier } from "./cloze-classifier.js";
import {
  buildFromConfig,
  findModel,
  type FromConfigOptions,
  type FromPretrainedOptions,
  openPretrained,
} from "./open-pretrained.js";
import type { PretrainedModelParts } from "./pretrained-model.js";

/** The file beside an adapter, or beside weights, that holds its template and words. */
export const CLOZE_FILE = "cloze.json";

/** How models of an architecture find words: encoders at a mask, decoders at the end. */
export const clozeForm = ({ heads }: ModelDefinition): ClozeForm =>
  heads.MASKED_LM === undefined ? "completion" : "mask";

/** Whether models of this task can predict labels as words. */
export const takesCloze = (task: TaskType): boolean => task === "MASKED_LM" || task === "CAUSAL_LM";

const clozeTask = (definition: ModelDefinition): TaskType =>
  clozeForm(definition) === "mask" ? "MASKED_LM" : "CAUSAL_LM";

/** Takes the template and the words out of options. */
function splitOptions<T extends ClozeOptions>(
  options: T,
): { cloze: ClozeOptions; rest: Omit<T, keyof ClozeOptions> } {
  const { template, verbalizer, combineWords, lengthNormalization, ...rest } = options;
  const how = {
    ...(combineWords === undefined ? {} : { combineWords }),
    ...(lengthNormalization === undefined ? {} : { lengthNormalization }),
  };
  return { cloze: { template, verbalizer, ...how }, rest };
}

/** The tokenizer that template and words are read with. */
export function clozeTokenizer(name: string, tokenizer: Tokenizer | undefined): Tokenizer {
  if (tokenizer !== undefined) return tokenizer;
  throw new ConfigError({
    code: "tokenizer_missing",
    summary: `${name} holds no tokenizer, so template and words cannot be read.`,
    fixes: ["put tokenizer.json and tokenizer_config.json beside the weights"],
    fields: { model: name },
  });
}

function makeClassifier(parts: PretrainedModelParts, options: ClozeOptions): ClozeClassifier {
  const tokenizer = clozeTokenizer(parts.name, parts.tokenizer);
  return new ClozeClassifier(parts, { ...options, form: clozeForm(parts.definition), tokenizer });
}

/**
 * Classifiers that find a word: masked language models (bert, roberta, distilbert) at `{mask}`, causal ones at the end of the template.
 *
 * @throws {@link ConfigError} `cloze` with every fault of template and verbalizer
 * @throws {@link CheckpointError} `head_missing` for an encoder without the head that it was trained with
 * @example
 * const model = await AutoModelForCloze.fromPretrained("bert-base-uncased", {
 *   template: "{text} It was {mask}.",
 *   verbalizer: { great: "great", other: ["terrible", "bad"] },
 * });
 */
export const AutoModelForCloze = {
  async fromPretrained(
    idOrPath: string,
    options: FromPretrainedOptions & ClozeOptions,
  ): Promise<ClozeClassifier> {
    const { cloze, rest } = splitOptions(options);
    const parts = await openPretrained(idOrPath, { task: clozeTask }, rest);
    try {
      return makeClassifier(parts, cloze);
    } catch (error) {
      parts.checkpoint?.close();
      throw error;
    }
  },

  /** A model with random weights, to be trained from nothing. */
  async fromConfig(
    values: Readonly<Record<string, unknown>>,
    options: FromConfigOptions & ClozeOptions,
  ): Promise<ClozeClassifier> {
    const { cloze, rest } = splitOptions(options);
    const task = clozeTask(findModel(values, rest.name ?? "new model"));
    return makeClassifier(await buildFromConfig(values, task, rest), cloze);
  },
};

/**
 * Reads the template and the words that an adapter, or a merged model, was saved with.
 *
 * @throws {@link CheckpointError} `file_missing` for a folder without `cloze.json`
 * @example
 * const model = await AutoModelForCloze.fromPretrained("bert-base-uncased", await readClozeFile("out"));
 */
export async function readClozeFile(folder: string): Promise<ClozeOptions> {
  const path = `${await resolveModel(folder)}/${CLOZE_FILE}`;
  const values = Object.entries(await readJsonObject(path)).map(([key, value]) => [toCamelCase(key), value]);
  const read = readOptions(clozeOptions, Object.fromEntries(values) as Record<string, unknown>, {
    source: path,
    spelling: "snake_case",
  });
  // What is missing there is a fault of the cloze, which says more.
  return {
    ...read,
    template: read.template ?? "",
    verbalizer: (read.verbalizer ?? {}) as ClozeOptions["verbalizer"],
  };
}
