import { CheckpointError, type Fact } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from "../base/half.js";
import type { LargeBuffers } from "../base/large-buffer.js";
import type { StoredBlocks } from "../base/packed-matrix.js";
import { Slab } from "../base/slab.js";
import { suggest } from "../base/suggest.js";
import type { Checkpoint } from "../files/checkpoint.js";
import type { TaskModule } from "../models/model.js";
import { type DType, formatShape } from "../base/tensor-type.js";
import { type Module, namedModules, namedParameters, ownParameters } from "../nn/module.js";
import type { Parameter } from "../nn/parameter.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import type { Bnb4Format } from "../base/bnb4.js";
import { decodedTensor, fromFile, isQuantised, linearPlaces, quantised } from "./quantise-weights.js";
import { decodeBlocks, decodesBlocks } from "../steps/decode-blocks.js";
import { separateTied } from "./separate-tied.js";

/** Element types that weights can have in memory; `auto` keeps what the file has. */
export type WeightDType = "auto" | "float32" | "float16" | "bfloat16";

/** Buffers that old checkpoints hold and no model needs. */
const NEEDLESS = /rotary_emb\.inv_freq$|\.attn\.(masked_)?bias$|position_ids$/;

/** The same numbers in another float type, rounded to nearest. */
export function convertTensor(tensor: HostTensor, dtype: DType): HostTensor {
  if (tensor.dtype === dtype) return tensor;
  const bits = tensor.data as Uint16Array;
  const real =
    tensor.dtype === "bfloat16"
      ? bfloat16ToFloat32(bits)
      : tensor.dtype === "float16"
        ? float16ToFloat32(bits)
        : (tensor.data as Float32Array);
  const data =
    dtype === "bfloat16" ? float32ToBfloat16(real) : dtype === "float16" ? float32ToFloat16(real) : real;
  return hostTensor(dtype, tensor.dims, data);
}

/** What decodes a tensor into memory of the caller; undefined where tensors are read in place. */
function decoderOf(
  checkpoint: Checkpoint,
  name: string,
  shape: readonly number[],
  packed: StoredBlocks | undefined,
): ((out: Float32Array) => void) | undefined {
  if (checkpoint.decode === undefined) return undefined;
  if (packed === undefined || !decodesBlocks(packed.raw)) return (out) => checkpoint.decode!(name, out);
  return (out) => decodeBlocks(packed.raw, shape as [number, number], out);
}

/** The names under which a parameter may be stored: more than one where the head shares the embedding. */
function storedNames(root: Module): Map<Parameter, string[]> {
  const names = new Map<Parameter, string[]>();
  for (const [path, module] of namedModules(root)) {
    for (const [name, parameter] of ownParameters(module)) {
      names.set(parameter, [...(names.get(parameter) ?? []), path === "" ? name : `${path}.${name}`]);
    }
  }
  return names;
}

export interface LoadedWeights {
  /** Tensors of the file that the model has no place for. */
  readonly unexpected: readonly string[];
  /** Parameters of the head that the file does not have; they have no elements yet. */
  readonly fresh: readonly Parameter[];
}

export interface LoadOptions {
  readonly dtype: WeightDType;
  readonly bfloat16Inputs: boolean;
  /** Where decoded weights are kept. */
  readonly buffers: LargeBuffers;
  /** The name that the body usually has in checkpoints of models with a head. */
  readonly bodyPrefix: string;
  /** Whether the head may be absent, since it is about to be trained. */
  readonly freshHead: boolean;
  /** How weights of linear layers are quantised, and which stay whole. */
  readonly quantise?: { readonly format: Bnb4Format; readonly whole: RegExp | undefined } | undefined;
}

/**
 * The names a tensor may have in a file, the likeliest first: bodies are saved by themselves or below a name, models are
 * loaded with other heads than they were saved with, and old checkpoints have gamma and beta in layer norms.
 */
function fileNames(name: string, prefix: string, bodyPrefix: string): string[] {
  const inBody = prefix !== "" && name.startsWith(`${prefix}.`);
  const rest = inBody ? name.slice(prefix.length + 1) : name;
  const below = bodyPrefix === "" ? [] : [`${bodyPrefix}.${rest}`];
  const names = inBody || prefix === "" ? [name, rest, ...below] : [name];
  const old = names.map((one) =>
    one.replace(/LayerNorm\.weight$/, "LayerNorm.gamma").replace(/LayerNorm\.bias$/, "LayerNorm.beta"),
  );
  return [...new Set([...names, ...old])];
}

/**
 * Connects every parameter of a model to its tensor in a checkpoint. Nothing is read yet.
 *
 * @throws {@link CheckpointError} `tensor_missing` or `tensor_shape`, naming every tensor that is absent or of another size.
 */
export function loadWeights(root: TaskModule, checkpoint: Checkpoint, options: LoadOptions): LoadedWeights {
  const present = new Set(checkpoint.names());
  const inFile = (name: string): string[] => fileNames(name, root.prefix, options.bodyPrefix);
  separateTied(root, checkpoint, (name) => inFile(name).find((one) => present.has(one)));
  const names = storedNames(root);
  const used = new Set<string>();
  const missing: string[] = [];
  const misshapen: string[] = [];
  const fresh: Parameter[] = [];
  const slab = new Slab(options.buffers);
  const places = linearPlaces(root);
  const mayBeFresh = (name: string): boolean =>
    options.freshHead && (root.headNames.includes(name.split(".")[0]!) || /(^|\.)pooler\./.test(name));
  for (const [, parameter] of namedParameters(root)) {
    const candidates = names.get(parameter)!;
    const found = candidates.flatMap(inFile).filter((name) => present.has(name));
    for (const name of found) used.add(name);
    const [name] = found;
    if (name === undefined) {
      if (mayBeFresh(candidates[0]!)) fresh.push(parameter);
      else missing.push(`${candidates[0]}  ${formatShape(parameter.shape)}`);
      continue;
    }
    const { dtype, shape } = checkpoint.describe(name);
    const place = places.get(parameter);
    const stored = place === undefined ? undefined : checkpoint.coded?.(name);
    const expected = stored === undefined ? parameter.shape : [place!.layout.out, place!.layout.width];
    if (formatShape(shape) !== formatShape(expected)) {
      misshapen.push(`${name}  ${formatShape(shape)} in the file, ${formatShape(expected)} in the model`);
      continue;
    }
    if (stored !== undefined) {
      const coded = fromFile(place!, stored);
      if (options.dtype === "auto") parameter.keepCoded(coded);
      else {
        const target = options.bfloat16Inputs || options.dtype !== "bfloat16" ? options.dtype : "float32";
        parameter.defer(target, () => convertTensor(decodedTensor(coded, parameter.shape), target));
      }
      continue;
    }
    const kept = options.dtype === "auto" ? (dtype as DType) : options.dtype;
    const target: DType = kept === "bfloat16" && !options.bfloat16Inputs ? "float32" : kept;
    const packed = checkpoint.packed?.(name);
    const decode = target === "float32" ? decoderOf(checkpoint, name, shape, packed) : undefined;
    const load = (): HostTensor => {
      if (decode === undefined) return convertTensor(checkpoint.read(name), target);
      const { buffer, byteOffset } = slab.take(4 * parameter.size);
      const data = new Float32Array(buffer, byteOffset, parameter.size);
      decode(data);
      return hostTensor("float32", parameter.shape, data);
    };
    const { quantise } = options;
    if (quantise !== undefined && place !== undefined && isQuantised(root, place, quantise.whole)) {
      const done = (): void => checkpoint.forget?.(name);
      parameter.keepCoded(quantised(place, quantise.format, load, done));
      continue;
    }
    const blocks = options.dtype === "auto" ? packed : undefined;
    parameter.defer(target, load, { blocks, decode });
  }
  const unexpected = [...present].filter((name) => !used.has(name) && !NEEDLESS.test(name));
  if (missing.length > 0 || misshapen.length > 0)
    throw weightsError(root, checkpoint, missing, misshapen, unexpected);
  return { unexpected, fresh };
}

/** The error for a checkpoint with the body alone, or with another head, where the head cannot be a new one. */
function headMissing(root: TaskModule, checkpoint: Checkpoint, missing: readonly string[]): CheckpointError {
  return new CheckpointError({
    code: "head_missing",
    summary: `${checkpoint.path} holds no head of ${root.kind}, which is not trained anew.`,
    facts: [["missing", firstFew(missing)]],
    fixes: [
      `choose a checkpoint that was saved with it (architectures: ${root.kind})`,
      "train a new head of another task: peft train --task seq-cls",
    ],
    fields: { path: checkpoint.path, kind: root.kind, missing },
  });
}

function weightsError(
  root: TaskModule,
  checkpoint: Checkpoint,
  missing: readonly string[],
  misshapen: readonly string[],
  unexpected: readonly string[],
): CheckpointError {
  const inHead = (line: string): boolean => root.headNames.includes(line.split(/[. ]/)[0]!);
  if (missing.length > 0 && misshapen.length === 0 && missing.every(inHead))
    throw headMissing(root, checkpoint, missing);
  const facts: Fact[] = [];
  if (missing.length > 0) facts.push(["missing", firstFew(missing)]);
  if (misshapen.length > 0) facts.push(["wrong size", firstFew(misshapen)]);
  if (unexpected.length > 0) facts.push(["not used", firstFew(unexpected)]);
  const [first] = missing;
  const near = first === undefined ? [] : suggest(first.split(" ")[0]!, unexpected);
  if (near.length > 0) facts.push(["nearest", near.join(", ")]);
  const count = missing.length + misshapen.length;
  return new CheckpointError({
    code: missing.length > 0 ? "tensor_missing" : "tensor_shape",
    summary: `${checkpoint.path} does not fit its config: ${count} ${count === 1 ? "tensor is" : "tensors are"} missing or of another size.`,
    facts,
    fixes: ["use the config.json that belongs to these weights, or fetch the model again"],
    fields: { path: checkpoint.path, missing, misshapen, unexpected },
  });
}
