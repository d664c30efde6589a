import { Random } from "../base/random.js";
import { type HostTensor, hostTensor, zeros } from "../base/host-tensor.js";
import type { Over, StagedModel, TokenBatch } from "./stage.js";
import type { VirtualBatch } from "./virtual-tokens.js";

/** Keeps the dropout of source rows apart from that of the batch. */
const SOURCE_KEYS = 0x10000;

/** What the stages of a pass share, for the tokens of the batch and for those of its source. */
export function passTensors(
  model: StagedModel,
  { batch, tensors }: VirtualBatch,
  {
    training = false,
    seed = 0,
  }: { readonly training?: boolean | undefined; readonly seed?: number | undefined },
): Readonly<Record<Over, Readonly<Record<string, HostTensor>>>> {
  const of = (tokens: TokenBatch, keys: number): Record<string, HostTensor> => ({
    ...model.batchTensors(tokens),
    ...(training ? { rowKeys: uniform([tokens.tokens.length, 2], seed, keys) } : {}),
  });
  return {
    batch: { ...of(batch, 0), ...tensors.batch },
    source: batch.source === undefined ? {} : { ...of(batch.source, SOURCE_KEYS), ...tensors.source },
  };
}

/** Uniform numbers that depend on the seed and a number of their own. */
export function uniform(dims: readonly number[], seed: number, stream: number): HostTensor {
  const random = new Random((Math.imul(seed, 0x9e3779b1) ^ Math.imul(stream, 0x85ebca6b)) >>> 0);
  const tensor = zeros("float32", dims);
  const data = tensor.data as Float32Array;
  for (let i = 0; i < data.length; i += 1) data[i] = random.next();
  return hostTensor("float32", dims, data);
}
