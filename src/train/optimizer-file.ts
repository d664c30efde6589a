import { CheckpointError } from "../base/errors.js";
import { openSafetensors } from "../files/safetensors.js";
import { writeSafetensors } from "../files/safetensors-write.js";
import type { MomentArray } from "./moments.js";
import type { OptimizerState } from "./optimizer.js";

const SEPARATOR = "::";

/**
 * Writes the state of an optimiser as safetensors: what was in 8 bits stays in 8 bits.
 *
 * @returns the size of the file in bytes
 * @example
 * await saveOptimizerState("out/optimizer.safetensors", optimizer.state());
 */
export async function saveOptimizerState(path: string, state: OptimizerState): Promise<number> {
  const tensors = [...state.moments].flatMap(([parameter, arrays]) =>
    Object.entries(arrays).map(
      ([name, data]) =>
        [
          `${parameter}${SEPARATOR}${name}`,
          { dtype: data instanceof Uint8Array ? "uint8" : "float32", shape: [data.length], data },
        ] as const,
    ),
  );
  return writeSafetensors(path, tensors, { format: "pt", step: String(state.step) });
}

/**
 * Reads what {@link saveOptimizerState} wrote; an optimiser that goes on from it makes the same steps, bit for bit.
 *
 * @throws {@link CheckpointError} `optimizer_state` for a file that holds something else
 * @example
 * optimizer.loadState(await loadOptimizerState("out/optimizer.safetensors"));
 */
export async function loadOptimizerState(path: string): Promise<OptimizerState> {
  const file = await openSafetensors(path);
  try {
    const step = Number(file.metadata["step"] ?? Number.NaN);
    const moments = new Map<string, Record<string, MomentArray>>();
    let odd = Number.isInteger(step) && step >= 0 ? undefined : "it says no step";
    for (const [key, { dtype }] of file.tensors) {
      const at = key.lastIndexOf(SEPARATOR);
      if (at < 0 || (dtype !== "float32" && dtype !== "uint8")) odd ??= `it holds ${key} (${dtype})`;
      if (odd !== undefined) break;
      const arrays = moments.get(key.slice(0, at)) ?? {};
      arrays[key.slice(at + SEPARATOR.length)] = file.read(key).data.slice() as MomentArray;
      moments.set(key.slice(0, at), arrays);
    }
    if (odd === undefined) return { step, moments };
    throw new CheckpointError({
      code: "optimizer_state",
      summary: `${path} is not the state of an optimiser: ${odd}.`,
      fixes: ["give the file that saveOptimizerState wrote"],
      fields: { path },
    });
  } finally {
    file.close();
  }
}
