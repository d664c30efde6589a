import { ConfigError, OutOfMemoryError } from "../base/errors.js";
import { largeBuffers } from "../base/large-buffer.js";
import { suggest } from "../base/suggest.js";
import { type Checkpoint, openCheckpoint } from "../files/checkpoint.js";
import { resolveModel } from "../files/hub.js";
import { models } from "../models/index.js";
import { buildModel, hasTrainedHead, type ModelDefinition, type TaskType } from "../models/model.js";
import { namedParameters } from "../nn/module.js";
import { addsByteBlocks, largestExactInt8 } from "../nn/int8-check.js";
import type { Arithmetic, RunnerOptions } from "../nn/runner.js";
import { RawConfig } from "../nn/raw-config.js";
import { defaultEngine } from "../runtime/engines.js";
import type { Engine } from "../runtime/engine.js";
import { availableMemoryBytes } from "../runtime/memory.js";
import { type Tokenizer, tokenizerFromFiles } from "../text/tokenizer.js";
import { checkOffloadFolder, temporaryDiskFolder } from "../files/offload-folder.js";
import { initialiseParameters, initialiseWeights } from "./initialise.js";
import { loadWeights, type WeightDType } from "./load-weights.js";
import type { PretrainedModelParts } from "./pretrained-model.js";
import { type QuantisationOptions, wantedFormat } from "./quantisation-options.js";

export interface FromPretrainedOptions extends Partial<QuantisationOptions> {
  /**
   * Element type of the weights in memory; arithmetic is float32 whatever this says.
   *
   * @defaultValue "auto": what the file has; float32 for GGUF
   */
  readonly dtype?: WeightDType | undefined;
  readonly revision?: string | undefined;
  readonly engine?: Engine | undefined;
  /**
   * Bytes of activations kept for the backward pass. What the stages of the model hand on is kept in any case, and matrix products as
   * far as they fit beside it; the others are computed again, which costs at most a seventh more time.
   *
   * @defaultValue 512 MiB, or a quarter of the free memory where that is less
   */
  readonly activationBytes?: number | undefined;
  /**
   * Bytes that the process should stay below while it trains: weights of packed files are decoded for each use, batches of language
   * models are run in parts, and fewer products are kept. Gradients are those of the whole batch.
   *
   * @defaultValue no limit
   */
  readonly memoryBytes?: number | undefined;
  /**
   * Folder, on a disk, of a file that holds what training reads again in its backward pass: memory for long rows, paid for in
   * writing and reading. Results are the same bit for bit; the file goes when the model is closed or the process ends. Under a memory
   * limit a temporary one serves batches that would not fit otherwise; with `false`, these are run in parts, each of which decodes
   * packed weights anew.
   *
   * @defaultValue everything stays in memory, unless `memoryBytes` is given and a batch needs more
   */
  readonly offloadFolder?: string | false | undefined;
  /**
   * What matrix products with frozen weights are computed in. `int8` rounds weights and what they are multiplied with, forward and
   * backward, to 8 bits: faster where the processor multiplies bytes. A product is 1 to 6 % off, and what adds up over
   * the layers of a model more (docs/performance.md); the adapters that came out of it were as good. They are ordinary ones.
   *
   * @defaultValue "float32"
   */
  readonly arithmetic?: Arithmetic | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with what is worth knowing and no error, such as tensors that are not used. */
  readonly onWarning?: ((text: string) => void) | undefined;
  /** Seed of a head that the checkpoint does not have. @defaultValue 0 */
  readonly seed?: number | undefined;
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

/** The arithmetic that was asked for, as far as this machine has it. */
async function usableArithmetic(
  wanted: Arithmetic | undefined,
  engine: Engine,
  onWarning: (text: string) => void,
): Promise<Pick<RunnerOptions, "arithmetic" | "largestInt8" | "byteBlocks">> {
  if (wanted !== "int8") return { arithmetic: wanted ?? "float32" };
  const largestInt8 = await largestExactInt8(engine);
  const byteBlocks = largestInt8 !== undefined && (await addsByteBlocks(engine));
  if (largestInt8 === 127) return { arithmetic: "int8", byteBlocks };
  const needs = "AVX-VNNI, AVX-512 VNNI, AMX or Arm dot products";
  onWarning(
    largestInt8 === undefined
      ? `arithmetic "int8": this processor cuts off sums of products of bytes, so float32 is used (${needs} add them exactly)`
      : `arithmetic "int8": weights are rounded to 7 bits, since this processor cuts off sums of larger products (${needs} add them exactly)`,
  );
  return largestInt8 === undefined
    ? { arithmetic: "float32" }
    : { arithmetic: "int8", largestInt8, byteBlocks };
}

/** What is asked of a model besides the options of the user. */
export interface Wanted {
  /** The task of the head, or what chooses it for an architecture. */
  readonly task: TaskType | ((definition: ModelDefinition) => TaskType);
  /** Keys of the config that the user has set, such as the number of labels. */
  readonly config?: Readonly<Record<string, unknown>> | undefined;
}

/** Opens the parts of a model from a Hugging Face folder, a `.gguf` file, or a Hub id, with the head for a task. */
export async function openPretrained(
  idOrPath: string,
  wanted: Wanted,
  options: FromPretrainedOptions,
): Promise<PretrainedModelParts> {
  const { revision, signal } = options;
  const path = await resolveModel(idOrPath, { ...(revision && { revision }), ...(signal && { signal }) });
  const checkpoint = await openCheckpoint(path);
  try {
    return await openParts(idOrPath, checkpoint, wanted, options);
  } catch (error) {
    checkpoint.close();
    throw error;
  }
}

async function openParts(
  name: string,
  checkpoint: Checkpoint,
  { task: wanted, config: changes }: Wanted,
  options: FromPretrainedOptions,
): Promise<PretrainedModelParts> {
  const { dtype = "auto", seed = 0, onWarning = console.warn } = options;
  const values = { ...checkpoint.config(), ...changes };
  const definition = findModel(values, checkpoint.path);
  const config = new RawConfig(values, `${checkpoint.path}/config.json`);
  const task = typeof wanted === "function" ? wanted(definition) : wanted;
  const module = buildModel(definition, task, config);
  const format = wantedFormat(options, checkpoint, onWarning);
  const engine = options.engine ?? (await defaultEngine());
  const { unexpected, fresh } = loadWeights(module, checkpoint, {
    dtype,
    quantise: format && { format, whole: definition.wholeLinears },
    bfloat16Inputs: engine.capabilities.bfloat16Inputs,
    buffers: largeBuffers(engine.capabilities),
    bodyPrefix: definition.prefix,
    freshHead: !hasTrainedHead(task),
  });
  initialiseParameters(fresh, { seed, deviation: config.number("initializer_range", 0.02) });
  let bytes = 0;
  for (const [, parameter] of namedParameters(module)) {
    const mapped = checkpoint.format === "safetensors" && dtype === "auto";
    // Codes are counted at half a byte: what their scales take is small.
    if (parameter.coded !== undefined) bytes += parameter.size / 2;
    else bytes += mapped ? 0 : parameter.size * (parameter.type.dtype === "float32" ? 4 : 2);
  }
  checkMemory(name, bytes);
  // What a memory limit leaves is counted from what is resident then, so codes have to be there.
  if (options.memoryBytes !== undefined)
    for (const [, { coded }] of namedParameters(module)) void coded?.bytes;
  const few = (list: readonly string[]): string => list.slice(0, 3).join(", ");
  if (fresh.length > 0) {
    const names = few(fresh.map((parameter) => parameter.name));
    onWarning(
      `${name}: ${fresh.length} tensors are not in the file and start at random (seed ${seed}), so they have to be trained: ${names}`,
    );
  }
  if (unexpected.length > 0) {
    onWarning(
      `${name}: ${unexpected.length} tensors of the file are not used by ${definition.title}: ${few(unexpected)}`,
    );
  }
  const files = checkpoint.tokenizerFiles();
  const { activationBytes = defaultActivationBytes(), memoryBytes, offloadFolder } = options;
  if (typeof offloadFolder === "string") await checkOffloadFolder(offloadFolder, onWarning);
  const spills = memoryBytes !== undefined && offloadFolder === undefined;
  const folders = {
    offloadFolder: offloadFolder === false ? undefined : offloadFolder,
    spillFolder: spills ? await temporaryDiskFolder() : undefined,
  };
  const arithmetic = await usableArithmetic(options.arithmetic, engine, onWarning);
  return {
    name,
    definition,
    config,
    module,
    engine,
    checkpoint,
    tokenizer: files === undefined ? undefined : tokenizerFromFiles(files),
    generationConfig: checkpoint.generationConfig?.(),
    runner: { activationBytes, ...arithmetic, memoryBytes, ...folders, onWarning },
  };
}

/** The parts of a model with random weights. */
export async function buildFromConfig(
  values: Readonly<Record<string, unknown>>,
  task: TaskType,
  options: FromConfigOptions,
): Promise<PretrainedModelParts> {
  const { name = "new model", seed = 0, tokenizer, activationBytes = defaultActivationBytes() } = options;
  const definition = findModel(values, name);
  const config = new RawConfig(values, name);
  const module = buildModel(definition, task, config);
  initialiseWeights(module, { seed, deviation: config.number("initializer_range", 0.02) });
  const engine = options.engine ?? (await defaultEngine());
  return {
    name,
    definition,
    config,
    module,
    engine,
    checkpoint: undefined,
    tokenizer,
    runner: { activationBytes },
  };
}
