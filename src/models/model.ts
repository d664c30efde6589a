import { UnsupportedError } from "../base/errors.js";
import type { Backbone } from "../nn/backbone.js";
import type { HeadBuilder } from "../nn/decoder-heads.js";
import type { Module } from "../nn/module.js";
import type { RawConfig } from "../nn/raw-config.js";
import type { StagedModel } from "../nn/stage.js";
import { BodyModel, TaskModel } from "../nn/task-model.js";

/** What a head is for, as Hugging Face PEFT names it. */
export type TaskType = "CAUSAL_LM" | "SEQ_CLS" | "TOKEN_CLS" | "QUESTION_ANS" | "FEATURE_EXTRACTION";

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
  /** Longest input the model was trained for, in tokens. */
  contextLength(config: RawConfig): number;
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

/** The tasks that an architecture has heads for; every body can be used for its features. */
export const tasksOf = ({ heads }: ModelDefinition): TaskType[] => [
  ...(Object.keys(heads) as TaskType[]),
  "FEATURE_EXTRACTION",
];

const SUFFIXES: readonly (readonly [RegExp, TaskType])[] = [
  [/ForSequenceClassification$/, "SEQ_CLS"],
  [/ForTokenClassification$/, "TOKEN_CLS"],
  [/ForQuestionAnswering$/, "QUESTION_ANS"],
  [/ForCausalLM$|LMHeadModel$/, "CAUSAL_LM"],
];

/** The task that a checkpoint was saved for, from the class name in its config. Others become language models, or bodies without a head. */
export function taskOfCheckpoint(
  definition: ModelDefinition,
  config: Readonly<Record<string, unknown>>,
): TaskType {
  const [name] = (config["architectures"] ?? []) as string[];
  const known = tasksOf(definition);
  const found = SUFFIXES.find(([suffix, task]) => suffix.test(name ?? "") && known.includes(task));
  return found?.[1] ?? (known.includes("CAUSAL_LM") ? "CAUSAL_LM" : "FEATURE_EXTRACTION");
}

/**
 * Builds the module tree of an architecture with the head for a task, without weights.
 *
 * @throws {@link UnsupportedError} `task_unsupported` where the architecture has no such head
 */
export function buildModel(definition: ModelDefinition, task: TaskType, config: RawConfig): TaskModule {
  if (task === "FEATURE_EXTRACTION") return new BodyModel(definition.body(config, task));
  const builder = definition.heads[task];
  if (builder === undefined) {
    throw new UnsupportedError({
      code: "task_unsupported",
      summary: `${definition.title} has no head for ${task}.`,
      facts: [["heads", tasksOf(definition).join(", ")]],
      fixes: [
        tasksOf(definition).includes("SEQ_CLS")
          ? "choose one of its heads, such as AutoModelForSequenceClassification   (--task seq-cls)"
          : "choose one of its heads",
      ],
      fields: { modelType: definition.modelType, task, tasks: tasksOf(definition) },
    });
  }
  const body = definition.body(config, task);
  const head = builder(config, body);
  config.check();
  return new TaskModel(definition.prefix, body, head);
}
