import type { HostTensor } from "../base/host-tensor.js";
import type { Value } from "../graph/value.js";
import type { OpTable } from "../ops/op.js";
import type { Parameter } from "./parameter.js";

/** What a product of a weight in codes gets. */
export interface CodedProduct {
  readonly f: OpTable;
  /** Rows (N, in). */
  readonly x: Value;
  /** A tensor that the weight is kept in, as it is. */
  read(part: Parameter): Value;
  /** dL/dx (N, in) of dL/dy (N, out) with the decoded weight, which is then lent to the backward pass alone. */
  inputGradient(dy: Value): Value;
}

/**
 * A frozen matrix W (out, in) that stays in codes: products read the codes, and W is decoded only for as long as somebody needs it.
 */
export interface CodedWeight {
  /** Bytes of codes and scales. */
  readonly bytes: number;
  /** Whether the module keeps W turned, as (in, out). */
  readonly turned: boolean;
  /** What `config.json` says of weights that are kept so. */
  readonly config: Readonly<Record<string, unknown>>;
  /** x Wᵀ. Shapes: x (N, in) → (N, out). */
  product(given: CodedProduct): Value;
  /** Decodes W, as the module keeps it. */
  decode(out: Float32Array): void;
  /** Other elements, in the order in which the module keeps them, in codes of the same kind. */
  recode(values: Float32Array): CodedWeight;
  /** The tensors that files keep it in, by what follows the name of the module. */
  stored(): readonly (readonly [suffix: string, tensor: HostTensor])[];
}

/** W (rows, columns) turned into (columns, rows). */
export function turn(values: Float32Array, rows: number, columns: number, out: Float32Array): void {
  for (let i = 0; i < rows; i += 1)
    for (let j = 0; j < columns; j += 1) out[j * rows + i] = values[i * columns + j]!;
}
