import { InternalError } from "../base/errors.js";
import type { Checkpoint } from "../files/checkpoint.js";
import type { ModelDefinition, TaskModule, TaskType } from "../models/model.js";
import { type Module, namedModules, namedParameters } from "../nn/module.js";
import type { Parameter } from "../nn/parameter.js";
import type { RawConfig } from "../nn/raw-config.js";
import { virtualTokensOf } from "../nn/virtual-tokens.js";
import { Runner, type RunnerOptions } from "../nn/runner.js";
import type { Engine } from "../runtime/engine.js";
import type { LabelledTokens, PackedBatch, TaskBatch } from "../text/collate.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { Answers } from "./answers.js";
import type { WeightDType } from "./load-weights.js";
import { saveModel } from "./save-model.js";

/** A tensor as plain data. */
export interface PlainTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

/** What `forward` of every model answers. */
export interface ModelOutput {
  /** Mean loss over what is supervised; undefined without labels. */
  readonly loss: number | undefined;
  /** What it is the mean over: tokens of a language model, rows of a classifier; 0 without labels. */
  readonly supervisedTokens: number;
}

export interface ForwardOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface BackwardOptions extends ForwardOptions {
  /** What the summed loss is divided by; the number of supervised tokens of this batch unless said otherwise. */
  readonly normalizer?: number | undefined;
  /** Seed of the dropout masks. */
  readonly seed?: number | undefined;
}

/** What `backward` answers. */
export interface BackwardOutput {
  /** Σ loss / normalizer. */
  readonly loss: number;
  /** What was scored: tokens of a language model, rows of a classifier. */
  readonly supervisedTokens: number;
  /** Real tokens that were run. */
  readonly tokens: number;
}

/** What `evaluate` answers: the summed loss, and how much it is summed over. */
export interface Evaluation {
  readonly loss: number;
  readonly supervisedTokens: number;
  /** What was answered, row by row, for tasks that are measured by more than their loss. */
  readonly answers?: Answers | undefined;
}

export interface PretrainedModelParts {
  readonly name: string;
  readonly definition: ModelDefinition;
  readonly config: RawConfig;
  readonly module: TaskModule;
  readonly engine: Engine;
  readonly checkpoint: Checkpoint | undefined;
  readonly tokenizer: Tokenizer | undefined;
  readonly generationConfig?: Readonly<Record<string, unknown>> | undefined;
  readonly runner?: RunnerOptions | undefined;
}

/**
 * A model that can run: modules, weights, tokenizer and the runner that owns the order of work. What a head computes, and
 * from which labels, is up to the task.
 */
export abstract class PretrainedModel {
  /** The task of its head, as `task_type` names it in adapter files. */
  abstract readonly taskType: TaskType;
  readonly name: string;
  readonly definition: ModelDefinition;
  readonly config: RawConfig;
  readonly module: TaskModule;
  readonly engine: Engine;
  readonly tokenizer: Tokenizer | undefined;
  readonly runner: Runner;
  readonly checkpoint: Checkpoint | undefined;
  readonly generationConfig: Readonly<Record<string, unknown>>;
  /** Keys of the config that a merge has changed. */
  readonly configOverrides: Record<string, unknown> = {};
  #closed = false;

  constructor(parts: PretrainedModelParts) {
    this.name = parts.name;
    this.definition = parts.definition;
    this.config = parts.config;
    this.module = parts.module;
    this.engine = parts.engine;
    this.tokenizer = parts.tokenizer;
    this.checkpoint = parts.checkpoint;
    this.generationConfig = parts.generationConfig ?? {};
    this.runner = new Runner(parts.module, parts.engine, parts.runner);
  }

  /** A batch as it is run: without padding. */
  abstract pack(batch: TaskBatch | PackedBatch): LabelledTokens;

  /** Output, and the mean loss where there are labels, without dropout and without gradients. */
  abstract forward(batch: TaskBatch | PackedBatch, options?: ForwardOptions): Promise<ModelOutput>;

  /** Loss and gradients: adds dL/dW to `parameter.grad` of every trainable parameter, with dropout on. */
  abstract backward(batch: TaskBatch | PackedBatch, options?: BackwardOptions): Promise<BackwardOutput>;

  /** Summed loss of a batch and what it is summed over, without gradients. */
  abstract evaluate(batch: TaskBatch | PackedBatch, options?: ForwardOptions): Promise<Evaluation>;

  get modelType(): string {
    return this.definition.modelType;
  }

  /** Longest input in tokens; virtual tokens of the active adapter take their part of it. */
  get contextLength(): number {
    return this.definition.contextLength(this.config) - this.virtualTokens;
  }

  /** Virtual tokens that the active adapter puts before every row. */
  get virtualTokens(): number {
    return virtualTokensOf(this.module)?.count ?? 0;
  }

  /** Those of them that have rows of hidden states of their own. */
  get insertedTokens(): number {
    const virtual = virtualTokensOf(this.module);
    return virtual?.into === "input" && virtual.over.includes("batch") ? virtual.count : 0;
  }

  /** Tasks that the active adapter knows, of which a batch says one for every row (`taskIds`); undefined where it has none. */
  get taskCount(): number | undefined {
    const virtual = virtualTokensOf(this.module);
    return virtual?.into === "input" ? virtual.tasks : undefined;
  }

  /** Whether the first token of a row is predicted too, from something that stands before it. */
  get predictsFirstToken(): boolean {
    return false;
  }

  /** Every module, parents first. */
  *modules(): Generator<Module> {
    for (const [, module] of namedModules(this.module)) yield module;
  }

  /** Every parameter once, under its name in checkpoints. */
  *namedParameters(): Generator<Parameter> {
    for (const [, parameter] of namedParameters(this.module)) yield parameter;
  }

  /** Parameters that `backward` gives a gradient to. */
  trainableParameters(): Parameter[] {
    return [...this.namedParameters()].filter((parameter) => parameter.trainable);
  }

  /**
   * Freezes all weights, or makes all of them trainable (full fine-tuning): they then live in memory as float32 of their own.
   */
  setTrainable(trainable: boolean): void {
    for (const parameter of this.namedParameters()) {
      parameter.trainable = trainable;
      if (trainable) {
        const values = Float32Array.from(parameter.data);
        parameter.allocate().set(values);
      }
    }
    this.structureChanged();
  }

  /** Must be called when adapters come, go, or change what is trained. */
  structureChanged(): void {
    this.runner.invalidate();
  }

  /**
   * Writes a folder that Python's transformers and peft.js load: config.json, model.safetensors and the tokenizer.
   *
   * @example
   * await (await model.mergeAndUnload()).savePretrained("merged");
   */
  async savePretrained(folder: string, options: { readonly dtype?: WeightDType } = {}): Promise<void> {
    await saveModel(this, folder, options);
  }

  /**
   * Contents of files that are written beside an adapter and beside weights, by name: what the use of the model needs and no other
   * file has a place for.
   */
  sidecars(): Readonly<Record<string, unknown>> {
    return {};
  }

  /** Throws where the model was closed. */
  protected assertOpen(): void {
    if (this.#closed) throw new InternalError(`${this.name} was used after it was closed.`);
  }

  /** Gives up compiled graphs, memory and the mapped weight files. Safe to call twice. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.runner.close();
    this.checkpoint?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
