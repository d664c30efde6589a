import type { Value } from "../graph/value.js";
import type { OpTable } from "../ops/op.js";

/** Activations by the names that configs use. */
export const activations: Readonly<Record<string, (f: OpTable, x: Value) => Value>> = {
  gelu: (f, x) => f.gelu(x, { approximate: "none" }),
  gelu_new: (f, x) => f.gelu(x, { approximate: "tanh" }),
  gelu_pytorch_tanh: (f, x) => f.gelu(x, { approximate: "tanh" }),
  gelu_fast: (f, x) => f.gelu(x, { approximate: "tanh" }),
  relu: (f, x) => f.relu(x),
  silu: (f, x) => f.silu(x),
  swish: (f, x) => f.silu(x),
  tanh: (f, x) => f.tanh(x),
};

export const activationNames = Object.keys(activations);

/** cap · tanh(x / cap): scores that grow beyond a cap are bent down to it. */
export function softCap(f: OpTable, x: Value, cap: number | undefined): Value {
  return cap === undefined ? x : f.scale(f.tanh(f.scale(x, { by: 1 / cap })), { by: cap });
}
