import { ConfigError, OutOfMemoryError } from "../base/errors.js";
import { suggest } from "../base/suggest.js";
import { type Checkpoint, openCheckpoint } from "../files/checkpoint.js";
import { resolveModel } from "../files/hub.js";
import { models } from "../models/index.js";
import type { ModelDefinition } from "../models/model.js";
import { namedParameters } from "../nn/module.js";
import { RawConfig } from "../nn/raw-config.js";
import { defaultEngine } from "../runtime/engines.js";
import type { Engine } from "../runtime/engine.js";
import { availableMemoryBytes } from "../runtime/memory.js";
import { type Tokenizer, tokenizerFromFiles } from "../text/tokenizer.js";
import { CausalLanguageModel } from "./causal-language-model.js";
import { initialiseWeights } from "./initialise.js";
import { loadWeights, type WeightDType } from "./load-weights.js";

export interface FromPretrainedOptions {
  /**
   * Element type of the weights in memory; arithmetic is float32 whatever this says.
   *
   * @defaultValue "auto": what the file has; float32 for GGUF
   */
  readonly dtype?: WeightDType | undefined;
  readonly revision?: string | undefined;
  readonly engine?: Engine | undefined;
  /**
   * Bytes of matrix products kept for the backward pass; what is over is computed again, which costs at most a seventh more time.
   *
   * @defaultValue 512 MiB, or a quarter of the free memory where that is less
   */
  readonly activationBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with what is worth knowing and no error, such as tensors that are not used. */
  readonly onWarning?: ((text: string) => void) | undefined;
}

export interface FromConfigOptions {
  readonly name?: string | undefined;
  /** Seed of the weights. @defaultValue 0 */
  readonly seed?: number | undefined;
  readonly tokenizer?: Tokenizer | undefined;
  readonly engine?: Engine | undefined;
  readonly activationBytes?: number | undefined;
}

const DEFAULT_ACTIVATION_BYTES = 512 * 2 ** 20;

const defaultActivationBytes = (): number => Math.min(DEFAULT_ACTIVATION_BYTES, availableMemoryBytes() / 4);

/** The architecture that a config asks for. */
export function findModel(config: Readonly<Record<string, unknown>>, path: string): ModelDefinition {
  const modelType = config["model_type"];
  const registry: Readonly<Record<string, ModelDefinition>> = models;
  const found = typeof modelType === "string" ? registry[modelType] : undefined;
  if (found !== undefined) return found;
  const near = typeof modelType === "string" ? suggest(modelType, Object.keys(models)) : [];
  throw new ConfigError({
    code: "model_type_unknown",
    summary: `model_type ${JSON.stringify(modelType) ?? "(absent)"} of ${path} is not supported.`,
    facts: [
      ...(near.length > 0 ? [["nearest", near.join(", ")] as const] : []),
      ["supported", Object.keys(models).join(", ")],
    ],
    fields: { modelType, supported: Object.keys(models), suggestions: near },
  });
}

/** Refuses early where the weights alone would not fit. Weights of a mapped file can be dropped and count as nothing. */
function checkMemory(name: string, bytes: number): void {
  const available = availableMemoryBytes();
  if (bytes <= available) return;
  const gib = (value: number): string => `${(value / 2 ** 30).toFixed(1)} GiB`;
  throw new OutOfMemoryError({
    code: "out_of_memory",
    summary: `${name} needs ${gib(bytes)} for its weights; ${gib(available)} are free.`,
    fixes: ['load with dtype "bfloat16"', "choose a smaller model, or close other programs"],
    fields: { name, wanted: bytes, free: available },
  });
}

/** A tokenizer from a model folder, a GGUF file or a Hub id. */
export const AutoTokenizer = {
  /**
   * @example
   * const tokenizer = await AutoTokenizer.fromPretrained("embedded");
   */
  async fromPretrained(
    idOrPath: string,
    options: { readonly revision?: string; readonly signal?: AbortSignal } = {},
  ): Promise<Tokenizer> {
    const checkpoint = await openCheckpoint(await resolveModel(idOrPath, options));
    try {
      const files = checkpoint.tokenizerFiles();
      if (files !== undefined) return tokenizerFromFiles(files);
      throw new ConfigError({
        code: "tokenizer_missing",
        summary: `${idOrPath} holds no tokenizer.`,
        fixes: ["put tokenizer.json and tokenizer_config.json beside the weights"],
        fields: { path: idOrPath },
      });
    } finally {
      checkpoint.close();
    }
  },
};

/** Causal language models. */
export const AutoModelForCausalLM = {
  /**
   * Opens a model from a Hugging Face folder, a `.gguf` file, or a Hub id. Weights stay in the mapped file until they are used.
   *
   * @throws {@link ConfigError} for an unknown `model_type` or a config that no model can be built from
   * @throws {@link CheckpointError} for absent or damaged files, and tensors that do not fit
   * @example
   * const model = await AutoModelForCausalLM.fromPretrained("SmolLM2-135M-Instruct.Q4_1.gguf");
   */
  async fromPretrained(idOrPath: string, options: FromPretrainedOptions = {}): Promise<CausalLanguageModel> {
    const { dtype = "auto", revision, signal, onWarning = console.warn, activationBytes } = options;
    const path = await resolveModel(idOrPath, { ...(revision && { revision }), ...(signal && { signal }) });
    const checkpoint = await openCheckpoint(path);
    try {
      return await open(idOrPath, checkpoint, { ...options, dtype, onWarning, activationBytes });
    } catch (error) {
      checkpoint.close();
      throw error;
    }
  },

  /**
   * A model with random weights, to be trained from nothing.
   *
   * @example
   * const model = await AutoModelForCausalLM.fromConfig(config, { seed: 0 });
   * model.setTrainable(true);
   */
  fromConfig,
};

async function fromConfig(
  values: Readonly<Record<string, unknown>>,
  options: FromConfigOptions = {},
): Promise<CausalLanguageModel> {
  const { name = "new model", seed = 0, tokenizer, activationBytes = defaultActivationBytes() } = options;
  const definition = findModel(values, name);
  const config = new RawConfig(values, name);
  const module = definition.causalLM(config);
  initialiseWeights(module, { seed, deviation: config.number("initializer_range", 0.02) });
  const engine = options.engine ?? (await defaultEngine());
  const runner = { activationBytes };
  return new CausalLanguageModel({
    name,
    definition,
    config,
    module,
    engine,
    checkpoint: undefined,
    tokenizer,
    runner,
  });
}

async function open(
  name: string,
  checkpoint: Checkpoint,
  options: FromPretrainedOptions & {
    readonly dtype: WeightDType;
    readonly onWarning: (text: string) => void;
  },
): Promise<CausalLanguageModel> {
  const values = checkpoint.config();
  const definition = findModel(values, checkpoint.path);
  const config = new RawConfig(values, `${checkpoint.path}/config.json`);
  const module = definition.causalLM(config);
  const engine = options.engine ?? (await defaultEngine());
  const { bfloat16Inputs } = engine.capabilities;
  const { unexpected } = loadWeights(module, checkpoint, { dtype: options.dtype, bfloat16Inputs });
  let bytes = 0;
  for (const [, parameter] of namedParameters(module)) {
    const mapped = checkpoint.format === "safetensors" && options.dtype === "auto";
    bytes += mapped ? 0 : parameter.size * (parameter.type.dtype === "float32" ? 4 : 2);
  }
  checkMemory(name, bytes);
  if (unexpected.length > 0) {
    const shown = unexpected.slice(0, 3).join(", ");
    options.onWarning(
      `${name}: ${unexpected.length} tensors of the file are not used by ${definition.title}: ${shown}`,
    );
  }
  const files = checkpoint.tokenizerFiles();
  const { activationBytes = defaultActivationBytes() } = options;
  return new CausalLanguageModel({
    name,
    definition,
    config,
    module,
    engine,
    checkpoint,
    tokenizer: files === undefined ? undefined : tokenizerFromFiles(files),
    generationConfig: checkpoint.generationConfig?.(),
    runner: { activationBytes },
  });
}
