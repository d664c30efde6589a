import { join } from "node:path";
import { existsSync } from "node:fs";
import { AutoModelForCloze, CLOZE_FILE, readClozeFile } from "../auto/auto-cloze.js";
import { autoModels } from "../auto/auto-model.js";
import type { LabelOptions } from "../auto/label-options.js";
import { LanguageModel } from "../auto/language-model.js";
import type { WeightDType } from "../auto/load-weights.js";
import { findModel } from "../auto/open-pretrained.js";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import { pickQuantisation, type QuantisationOptions } from "../auto/quantisation-options.js";
import type { Arithmetic } from "../nn/runner.js";
import type { ProblemType } from "../auto/sequence-classifier.js";
import { ConfigError } from "../base/errors.js";
import { openCheckpoint } from "../files/checkpoint.js";
import { resolveModel } from "../files/hub.js";
import { readJsonObject } from "../files/json-file.js";
import { models } from "../models/index.js";
import { type ModelDefinition, type TaskType, taskOfCheckpoint } from "../models/model.js";
import { isAdapterHub } from "../peft/adapterhub-config.js";
import { PeftModel } from "../peft/peft-model.js";
import type { ClozeOptions } from "../text/cloze-options.js";
import { wholeCloze } from "./cloze-run.js";
import { modelPath } from "./embedded.js";
import type { Terminal } from "./terminal.js";

interface Opened<Base> {
  readonly base: Base;
  readonly model: PeftModel | undefined;
}

export interface OpenOptions extends Partial<QuantisationOptions> {
  readonly terminal: Terminal;
  readonly dtype?: WeightDType;
  readonly arithmetic?: Arithmetic;
  readonly signal: AbortSignal;
  /** Template and words for labels; what is left out is that of the adapter or the model. */
  readonly cloze?: Partial<ClozeOptions>;
  /** Opens a model that writes text as such, also where labels were predicted with it. */
  readonly asLanguageModel?: boolean;
}

/** The template and the words that a folder was saved with; undefined where there are none. */
async function savedCloze(name: string): Promise<ClozeOptions | undefined> {
  const folder = await resolveModel(name);
  return existsSync(join(folder, CLOZE_FILE)) ? readClozeFile(folder) : undefined;
}

/** The same of a folder of AdapterHub: the class of the model it was saved with, and the labels of its head. */
async function adapterHubFacts(
  folder: string,
  values: Readonly<Record<string, unknown>>,
): Promise<{ task?: TaskType; labels: LabelOptions }> {
  const known = models as Readonly<Record<string, ModelDefinition | undefined>>;
  const definition = known[String(values["model_type"])];
  const task = definition && taskOfCheckpoint(definition, { architectures: [values["model_class"]] });
  const headFile = join(folder, "head_config.json");
  const head = existsSync(headFile) ? await readJsonObject(headFile) : {};
  const ids = Object.entries((head["label2id"] ?? {}) as Readonly<Record<string, number>>);
  const id2label = Object.fromEntries(ids.map(([label, id]): [number, string] => [id, label]));
  return { ...(task && { task }), labels: ids.length === 0 ? {} : { id2label } };
}

/** The task that an adapter was trained for and the labels it was given, where its folder says so. */
async function adapterFacts(adapter: string): Promise<{ task?: TaskType; labels: LabelOptions }> {
  const folder = await resolveModel(adapter);
  if (!existsSync(join(folder, "adapter_config.json"))) return { labels: {} };
  const values = await readJsonObject(join(folder, "adapter_config.json"));
  if (isAdapterHub(values)) return adapterHubFacts(folder, values);
  const { task_type: task } = values;
  const known = typeof task === "string" && Object.hasOwn(autoModels, task);
  const labelFile = join(folder, "labels.json");
  const facts = existsSync(labelFile) ? await readJsonObject(labelFile) : {};
  return {
    ...(known ? { task: task as TaskType } : {}),
    labels: {
      id2label: (facts["id2label"] ?? undefined) as Record<number, string> | undefined,
      problemType: (facts["problem_type"] ?? undefined) as ProblemType | undefined,
    },
  };
}

/** What the config of a model says: the task it was saved for, and names of its labels. */
export async function modelFacts(name: string): Promise<{ task: TaskType; labels: string[] | undefined }> {
  const checkpoint = await openCheckpoint(await resolveModel(modelPath(name)));
  try {
    const config = checkpoint.config();
    const named = config["id2label"] as Readonly<Record<string, string>> | undefined;
    const labels = named === undefined ? undefined : Object.keys(named).map((_, i) => String(named[i]));
    return { task: taskOfCheckpoint(findModel(config, checkpoint.path), config), labels };
  } finally {
    checkpoint.close();
  }
}

/** Opens a base model with the head of its task, with an adapter where one is named. */
export async function openModel(
  name: string,
  adapter: string | undefined,
  options: OpenOptions,
): Promise<Opened<PretrainedModel>> {
  const { terminal, dtype = "auto", arithmetic, signal, cloze = {}, asLanguageModel = false } = options;
  const saved = asLanguageModel ? undefined : await savedCloze(adapter ?? modelPath(name));
  const asCloze = saved !== undefined || Object.keys(cloze).length > 0;
  const facts = adapter === undefined ? { labels: {} } : await adapterFacts(adapter);
  const warnings: string[] = [];
  const onWarning = (text: string): unknown => warnings.push(text);
  const common = { dtype, arithmetic, ...pickQuantisation(options), signal, onWarning };
  const open = async (): Promise<PretrainedModel> => {
    const task = facts.task ?? (await modelFacts(name)).task;
    return autoModels[task].fromPretrained(modelPath(name), { ...facts.labels, ...common });
  };
  const base = asCloze
    ? await AutoModelForCloze.fromPretrained(modelPath(name), {
        ...common,
        ...wholeCloze({ ...saved, ...cloze }),
      })
    : await open();
  try {
    const model = adapter === undefined ? undefined : await PeftModel.fromPretrained(base, adapter);
    // A head that starts at random is no news where the adapter brings its own.
    const news =
      adapter === undefined ? warnings : warnings.filter((text) => !text.includes("start at random"));
    for (const text of [...news, ...(model?.warnings ?? []).map((one) => one.text)])
      terminal.note(`warning: ${text}`);
    return { base, model };
  } catch (error) {
    await base.close();
    throw error;
  }
}

/** The command that puts a model to use. */
export const useCommand = (base: PretrainedModel): "generate" | "predict" =>
  base instanceof LanguageModel ? "generate" : "predict";

/**
 * Opens a model that writes text.
 *
 * @throws {@link ConfigError} `task_mismatch` for a model or an adapter of another task
 */
export async function openLanguageModel(
  name: string,
  adapter: string | undefined,
  options: OpenOptions,
): Promise<Opened<LanguageModel>> {
  const { base, model } = await openModel(name, adapter, { ...options, asLanguageModel: true });
  if (base instanceof LanguageModel) return { base, model };
  await base.close();
  throw new ConfigError({
    code: "task_mismatch",
    summary: `${adapter ?? name} is made for ${base.taskType} and writes no text.`,
    fixes: [
      base.taskType === "FEATURE_EXTRACTION"
        ? `train a classifier on it: peft train --task seq-cls --model ${name} --dataset train.jsonl`
        : `peft predict ${name}${adapter === undefined ? "" : ` --adapter ${adapter}`} "a text"`,
    ],
    fields: { model: name, adapter, task: base.taskType },
  });
}
