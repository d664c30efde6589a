import type { PretrainedModel } from "../auto/pretrained-model.js";
import { CheckpointError, InternalError } from "../base/errors.js";
import { type HostTensor, zeros } from "../base/host-tensor.js";
import { runBound } from "../nn/graph-runner.js";
import type { Source } from "../nn/token-program.js";
import { Trace } from "../nn/trace.js";
import { ENCODER_PREFIX } from "./model-adapter.js";
import type { AttachedAdapter } from "./attached-adapter.js";

/** Whether a tensor of an adapter belongs to its encoder, by its name in files. */
export const isEncoderTensor = (key: string): boolean => key.startsWith(ENCODER_PREFIX);

/** The tensors that an adapter saves in place of its own, computed from them. */
export async function computedTensors(
  base: PretrainedModel,
  saves: NonNullable<AttachedAdapter["saves"]>,
): Promise<Map<string, HostTensor>> {
  const t = new Trace();
  const values = Object.entries(saves).map(([name, compute]) => [name, compute(t.virtualContext())] as const);
  const leaves = [...t.leaves];
  const bound = {
    graph: {
      name: "encode",
      inputs: leaves.map(([value]) => value),
      outputs: values.map(([, value]) => value),
    },
    sources: leaves.map(([, leaf]): Source => leaf),
  };
  const results = values.map(([, { type }]) => zeros("float32", type.shape as readonly number[]));
  const unresolved = (): never => {
    throw new InternalError("An encoder asked for something that is no parameter.");
  };
  await runBound(base.runner, bound, unresolved, results, {});
  return new Map(values.map(([name], i) => [name, results[i]!]));
}

/**
 * Refuses an encoder that does not compute what lies beside it: the two files are not of one training.
 *
 * @throws {@link CheckpointError} `encoder_differs`
 */
export async function checkEncoder(
  base: PretrainedModel,
  { saves = {} }: AttachedAdapter,
  saved: (name: string) => Float32Array,
  files: { readonly encoder: string; readonly weights: string },
): Promise<void> {
  for (const [name, { data }] of await computedTensors(base, saves)) {
    const expected = saved(name);
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
    if (expected.every((value, i) => Math.abs(value - Number(data[i])) <= 1e-3 * largest)) continue;
    throw new CheckpointError({
      code: "encoder_differs",
      summary: `${files.encoder} does not compute the ${name} of ${files.weights}.`,
      fixes: [
        "load the adapter without isTrainable",
        `remove ${files.encoder} to train ${name} itself further`,
      ],
      fields: { ...files, name },
    });
  }
}
