import { ndArray, sizeOf } from "../graph/nd-array.js";
import type { DType } from "../base/tensor-type.js";
import { defineOp, type Op } from "./op.js";

export interface ConstantAttrs {
  readonly dtype?: DType;
  readonly shape: readonly number[];
  /** One number for all elements, or one for each. */
  readonly value: number | readonly number[];
}

const valuesOf = ({ shape, value }: ConstantAttrs): number[] =>
  typeof value === "number" ? Array.from<number>({ length: sizeOf(shape) }).fill(value) : [...value];

/** A tensor known when the graph is built; float32 unless said otherwise. */
export const constant: Op<0, ConstantAttrs> = defineOp({
  name: "constant",
  arity: 0,
  infer: (_, { dtype = "float32", shape }) => ({ dtype, shape }),
  gradient: () => [],
  lower: ({ emit, type, attrs }) => emit.constant(type.dtype, attrs.shape, valuesOf(attrs)),
  evaluate: (_, attrs) => ndArray(attrs.shape, Float64Array.from(valuesOf(attrs))),
  samples: [{ inputs: [], attrs: { shape: [2, 2], value: [1, 2, 3, 4] } }],
});
