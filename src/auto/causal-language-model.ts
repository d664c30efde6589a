import { InternalError } from "../base/errors.js";
import type { Checkpoint } from "../files/checkpoint.js";
import type { CausalLM, ModelDefinition } from "../models/model.js";
import { LanguageHead } from "../nn/language-head.js";
import { type Module, namedModules, namedParameters } from "../nn/module.js";
import type { Parameter } from "../nn/parameter.js";
import type { RawConfig } from "../nn/raw-config.js";
import { Runner, type RunnerOptions } from "../nn/runner.js";
import type { Engine } from "../runtime/engine.js";
import { type Batch, packBatch, type PackedBatch } from "../text/collate.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { WeightDType } from "./load-weights.js";
import { saveModel } from "./save-model.js";

/** A tensor as plain data. */
export interface PlainTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

/** What `forward` answers. */
export interface CausalOutput {
  /** Scores (B, T, V) in the padded shape of the batch; rows of padding are zero. */
  readonly logits: PlainTensor;
  /** Mean cross-entropy of the supervised tokens; undefined without labels. */
  readonly loss: number | undefined;
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
  /** Σ cross-entropy / normalizer. */
  readonly loss: number;
  /** Tokens whose prediction was scored. */
  readonly supervisedTokens: number;
  /** Real tokens that were run. */
  readonly tokens: number;
}

export interface CausalLanguageModelParts {
  readonly name: string;
  readonly definition: ModelDefinition;
  readonly config: RawConfig;
  readonly module: CausalLM;
  readonly engine: Engine;
  readonly checkpoint: Checkpoint | undefined;
  readonly tokenizer: Tokenizer | undefined;
  readonly generationConfig?: Readonly<Record<string, unknown>> | undefined;
  readonly runner?: RunnerOptions | undefined;
}

/** A causal language model that can run: modules, weights, tokenizer and the runner that owns the order of work. */
export class CausalLanguageModel {
  readonly name: string;
  readonly definition: ModelDefinition;
  readonly config: RawConfig;
  readonly module: CausalLM;
  readonly engine: Engine;
  readonly tokenizer: Tokenizer | undefined;
  readonly runner: Runner;
  readonly head: LanguageHead;
  readonly checkpoint: Checkpoint | undefined;
  readonly generationConfig: Readonly<Record<string, unknown>>;
  /** Keys of the config that a merge has changed. */
  readonly configOverrides: Record<string, unknown> = {};
  #closed = false;

  constructor(parts: CausalLanguageModelParts) {
    this.name = parts.name;
    this.definition = parts.definition;
    this.config = parts.config;
    this.module = parts.module;
    this.engine = parts.engine;
    this.tokenizer = parts.tokenizer;
    this.checkpoint = parts.checkpoint;
    this.generationConfig = parts.generationConfig ?? {};
    this.runner = new Runner(parts.module, parts.engine, parts.runner);
    this.head = new LanguageHead(this.runner);
  }

  get modelType(): string {
    return this.definition.modelType;
  }

  /** Longest input in tokens. */
  get contextLength(): number {
    return this.definition.contextLength(this.config);
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
    this.head.invalidate();
  }

  /** Token ids that end an answer: those of the generation config, else of the config and the tokenizer. */
  get endTokenIds(): number[] {
    const named = this.generationConfig["eos_token_id"] ?? this.config.values["eos_token_id"];
    const ids = Array.isArray(named) ? named : [named];
    const known = ids.filter((id): id is number => typeof id === "number");
    return [...new Set([...known, ...(this.tokenizer?.eosTokenIds ?? [])])];
  }

  pack(batch: Batch | PackedBatch): PackedBatch {
    if (this.#closed) throw new InternalError(`${this.name} was used after it was closed.`);
    return "rowOffsets" in batch
      ? batch
      : packBatch(batch, { vocabularySize: this.head.vocabularySize, maxLength: this.contextLength });
  }

  /**
   * Scores and loss, without dropout and without gradients.
   *
   * @example
   * const { logits, loss } = await model.forward({ inputIds: [[1, 2, 3]], labels: [[1, 2, 3]] });
   */
  async forward(batch: Batch | PackedBatch, options: ForwardOptions = {}): Promise<CausalOutput> {
    const packed = this.pack(batch);
    const pass = await this.runner.forward(packed, { signal: options.signal });
    try {
      const width = this.head.vocabularySize;
      const real = await this.head.logits(pass.hidden, 0, packed.tokens.length, options);
      const data = new Float32Array(packed.rows * packed.padded * width);
      for (const [i, at] of packed.paddedIndex.entries()) {
        data.set(real.subarray(i * width, (i + 1) * width), at * width);
      }
      const loss =
        packed.labels === undefined ? undefined : await this.#meanLoss(packed, pass.hidden, options);
      return { logits: { data, dims: [packed.rows, packed.padded, width] }, loss };
    } finally {
      pass.release();
    }
  }

  async #meanLoss(
    packed: PackedBatch,
    hidden: Parameters<LanguageHead["loss"]>[0],
    options: ForwardOptions,
  ): Promise<number> {
    const count = packed.supervised.length;
    const supervision = { rows: packed.supervised, labels: packed.supervisedLabels };
    const { loss } = await this.head.loss(hidden, supervision, 1 / count, {
      ...options,
      gradients: false,
      hiddenGradient: false,
    });
    return loss;
  }

  /** Summed loss of a batch and the number of tokens it is summed over, without gradients. */
  async evaluate(
    batch: Batch | PackedBatch,
    options: ForwardOptions = {},
  ): Promise<{ loss: number; supervisedTokens: number }> {
    const packed = this.pack(batch);
    const pass = await this.runner.forward(packed, { signal: options.signal });
    try {
      const supervisedTokens = packed.supervised.length;
      const mean = await this.#meanLoss(packed, pass.hidden, options);
      return { loss: supervisedTokens === 0 ? 0 : mean * supervisedTokens, supervisedTokens };
    } finally {
      pass.release();
    }
  }

  /**
   * Loss and gradients: adds dL/dW to `parameter.grad` of every trainable parameter, with dropout on.
   *
   * @example
   * const { loss } = await model.backward({ inputIds, labels });
   */
  async backward(batch: Batch | PackedBatch, options: BackwardOptions = {}): Promise<BackwardOutput> {
    const packed = this.pack(batch);
    const supervisedTokens = packed.supervised.length;
    const tokens = packed.tokens.length;
    if (supervisedTokens === 0) return { loss: 0, supervisedTokens, tokens };
    const weight = 1 / (options.normalizer ?? supervisedTokens);
    const { signal, seed } = options;
    const pass = await this.runner.forward(packed, { training: true, gradients: true, seed, signal });
    try {
      const supervision = { rows: packed.supervised, labels: packed.supervisedLabels };
      const hiddenGradient = pass.plan.hiddenWanted;
      const { loss, dHidden } = await this.head.loss(pass.hidden, supervision, weight, {
        training: true,
        gradients: true,
        hiddenGradient,
        signal,
      });
      if (dHidden !== undefined) await pass.backward(dHidden);
      return { loss, supervisedTokens, tokens };
    } finally {
      pass.release();
    }
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
