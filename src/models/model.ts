import type { Module } from "../nn/module.js";
import type { StagedModel } from "../nn/stage.js";
import type { RawConfig } from "../nn/raw-config.js";

/** What a head is for, as Hugging Face PEFT names it. */
export type TaskType =
  | "CAUSAL_LM"
  | "SEQ_2_SEQ_LM"
  | "SEQ_CLS"
  | "TOKEN_CLS"
  | "QUESTION_ANS"
  | "FEATURE_EXTRACTION";

/** A tree of modules that the runner can run. */
export type TaskModule = Module & StagedModel;

/** A causal language model. */
export type CausalLM = TaskModule;

/** An architecture: how its `config.json` is read and which modules it is made of. */
export interface ModelDefinition {
  /** The `model_type` of `config.json`. */
  readonly modelType: string;
  readonly title: string;
  /** Reads the config, reporting every fault at once, and builds the tree without weights. */
  causalLM(config: RawConfig): CausalLM;
  /** Modules that a method adapts where nothing is said, by `peft_type`. */
  readonly defaultTargets: Readonly<Record<string, readonly string[]>>;
  /** Longest input the model was trained for, in tokens. */
  contextLength(config: RawConfig): number;
}

/**
 * Declares an architecture.
 *
 * @example
 * export const llama = defineModel({ modelType: "llama", title: "Llama", causalLM: (config) => ..., ... });
 */
export function defineModel(definition: ModelDefinition): ModelDefinition {
  return definition;
}
