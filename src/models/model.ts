import { UnsupportedError } from "../base/errors.js";
import type { Backbone } from "../nn/backbone.js";
import type { HeadBuilder } from "../nn/decoder-heads.js";
import type { Module } from "../nn/module.js";
import type { RawConfig } from "../nn/raw-config.js";
import type { StagedModel } from "../nn/stage.js";
import { BodyModel, TaskModel } from "../nn/task-model.js";

/** What a head is for, as Hugging Face PEFT names it; it has no name for masked language models. */
export type TaskType =
  | "CAUSAL_LM"
  | "SEQ_2_SEQ_LM"
  | "MASKED_LM"
  | "SEQ_CLS"
  | "TOKEN_CLS"
  | "QUESTION_ANS"
  | "FEATURE_EXTRACTION";

/** A tree of modules that the runner can run. */
export type TaskModule = Module & StagedModel;

/** An architecture: how its `config.json` is read and which modules it is made of. */
export interface ModelDefinition {
  /** The `model_type` of `config.json`. */
  readonly modelType: string;
  readonly title: string;
  /** Attribute under which models with a head keep the body, which begins the names of their tensors. */
  readonly prefix: string;
  /** Reads the config, reporting every fault at once, and builds the body without weights. */
  body(config: RawConfig, task: TaskType): Backbone;
  /** The heads it is known with. */
  readonly heads: Partial<Readonly<Record<TaskType, HeadBuilder>>>;
  /** Modules that a method adapts where nothing is said, by `peft_type`. */
  readonly defaultTargets: Readonly<Record<string, readonly string[]>>;
  /** Longest input the model can take, in tokens. */
  contextLength(config: RawConfig): number;
  /** Whether the body can be used by itself, for its features. @defaultValue true */
  readonly bodyAlone?: boolean;
  /** Linear layers that stay whole where a model is quantised, by the ends of their paths: those that transformers keeps in float32. */
  readonly wholeLinears?: RegExp;
  /** Keys of a config whose numbers transformers takes only with a decimal point. */
  readonly decimals?: readonly string[];
  /** Keys of a saved config that are to be so, whatever was read and merged. */
  savedConfig?(config: RawConfig): Readonly<Record<string, unknown>>;
}

/**
 * Declares an architecture.
 *
 * @example
 * export const llama = defineModel({ modelType: "llama", title: "Llama", prefix: "model", body: (config) => ..., ... });
 */
export function defineModel(definition: ModelDefinition): ModelDefinition {
  return definition;
}

/** The tasks that an architecture has heads for; most bodies can be used for their features. */
export const tasksOf = ({ heads, bodyAlone = true }: ModelDefinition): TaskType[] => [
  ...(Object.keys(heads) as TaskType[]),
  ...(bodyAlone ? (["FEATURE_EXTRACTION"] as const) : []),
];

/** The class that opens a model for each task. */
const CLASSES: Readonly<Record<TaskType, string>> = {
  CAUSAL_LM: "AutoModelForCausalLM",
  SEQ_2_SEQ_LM: "AutoModelForSeq2SeqLM",
  MASKED_LM: "AutoModelForMaskedLM",
  SEQ_CLS: "AutoModelForSequenceClassification",
  TOKEN_CLS: "AutoModelForTokenClassification",
  QUESTION_ANS: "AutoModelForQuestionAnswering",
  FEATURE_EXTRACTION: "AutoModel",
};

/** Names of the tasks on the command line. */
export const TASK_FLAGS = {
  "causal-lm": "CAUSAL_LM",
  "seq2seq-lm": "SEQ_2_SEQ_LM",
  "seq-cls": "SEQ_CLS",
  "token-cls": "TOKEN_CLS",
  "question-ans": "QUESTION_ANS",
} as const satisfies Readonly<Record<string, TaskType>>;

/** Whether a model of this task writes text. */
export const writesText = (task: TaskType): boolean => task === "CAUSAL_LM" || task === "SEQ_2_SEQ_LM";

/** Whether the head of this task is the one that the body was trained with, so that it cannot be new. */
export const hasTrainedHead = (task: TaskType): boolean => writesText(task) || task === "MASKED_LM";

/** The head that a model of no given task gets: one for language where there is one. */
const usualTask = (tasks: readonly TaskType[]): TaskType => tasks.find(writesText) ?? "FEATURE_EXTRACTION";

/** What to write instead of a task that an architecture has no head for. */
function taskCure(definition: ModelDefinition): string {
  const tasks = tasksOf(definition);
  const usual = usualTask(tasks);
  const task = usual === "FEATURE_EXTRACTION" && tasks.includes("SEQ_CLS") ? "SEQ_CLS" : usual;
  const flag = Object.entries(TASK_FLAGS).find(([, one]) => one === task)?.[0];
  return `choose one of its heads, such as ${CLASSES[task]}${flag === undefined ? "" : `   (--task ${flag})`}`;
}

const SUFFIXES: readonly (readonly [RegExp, TaskType])[] = [
  [/ForSequenceClassification$/, "SEQ_CLS"],
  [/ForTokenClassification$/, "TOKEN_CLS"],
  [/ForQuestionAnswering$/, "QUESTION_ANS"],
  [/ForMaskedLM$|ForPreTraining$/, "MASKED_LM"],
  [/ForCausalLM$|LMHeadModel$/, "CAUSAL_LM"],
  [/ForConditionalGeneration$|LMHeadModel$/, "SEQ_2_SEQ_LM"],
];

/** The task that a checkpoint was saved for, from the class name in its config. Others become language models, or bodies without a head. */
export function taskOfCheckpoint(
  definition: ModelDefinition,
  config: Readonly<Record<string, unknown>>,
): TaskType {
  const [name] = (config["architectures"] ?? []) as string[];
  const known = tasksOf(definition);
  const found = SUFFIXES.find(([suffix, task]) => suffix.test(name ?? "") && known.includes(task));
  return found?.[1] ?? usualTask(known);
}

/**
 * Builds the module tree of an architecture with the head for a task, without weights.
 *
 * @throws {@link UnsupportedError} `task_unsupported` where the architecture has no such head
 */
export function buildModel(definition: ModelDefinition, task: TaskType, config: RawConfig): TaskModule {
  if (!tasksOf(definition).includes(task)) {
    throw new UnsupportedError({
      code: "task_unsupported",
      summary: `${definition.title} has no head for ${task}.`,
      facts: [["heads", tasksOf(definition).join(", ")]],
      fixes: [taskCure(definition)],
      fields: { modelType: definition.modelType, task, tasks: tasksOf(definition) },
    });
  }
  if (task === "FEATURE_EXTRACTION") return new BodyModel(definition.body(config, task));
  const body = definition.body(config, task);
  const head = definition.heads[task]!(config, body);
  config.check();
  return new TaskModel(definition.prefix, body, head);
}
