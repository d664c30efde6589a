import { NoSteps } from "../steps/emitter.js";
import { sumSteps } from "../steps/norms.js";
import { resolveAxis } from "../graph/broadcast.js";
import { sumToDims } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

export interface SumAttrs {
  readonly axis: number;
  /** Keeps the axis with size 1. */
  readonly keep?: boolean;
}

/** y = Σ x over one axis. */
export const sum: Op<1, SumAttrs> = defineOp({
  name: "sum",
  arity: 1,
  infer([x], { axis, keep = false }) {
    const at = resolveAxis(axis, x);
    return {
      dtype: x.dtype,
      shape: keep ? x.shape.map((dim, i) => (i === at ? 1 : dim)) : x.shape.filter((_, i) => i !== at),
    };
  },
  gradient({ f, dy, inputs: [x], attrs: { axis, keep = false } }) {
    const kept = keep ? dy : f.unsqueeze(dy, { axis: resolveAxis(axis, x.type) });
    return [f.expandLike(kept, x)];
  },
  lower: ({ emit, inputs: [x], attrs }) =>
    emit.node("ReduceSum", [x, emit.constant("int64", [1], [attrs.axis])], {
      attributes: { keepdims: Number(attrs.keep ?? false) },
    }),
  steps({ emit, inputs: [x], dims, attrs: { axis } }) {
    if (axis !== -1 && axis !== x.dims.length - 1) throw new NoSteps("a sum over rows");
    return sumSteps(emit, x, dims);
  },
  evaluate([x], { axis, keep = false }) {
    const at = axis < 0 ? axis + x.dims.length : axis;
    const y = sumToDims(
      x,
      x.dims.map((dim, i) => (i === at ? 1 : dim)),
    );
    return { dims: keep ? y.dims : y.dims.filter((_, i) => i !== at), data: y.data };
  },
  sumsRows: true,
  samples: [
    { inputs: [{ shape: [2, 3, 4] }], attrs: { axis: 1 } },
    { inputs: [{ shape: [2, 3, 4] }], attrs: { axis: -1, keep: true } },
    { inputs: [{ shape: [5] }], attrs: { axis: 0 } },
  ],
});
