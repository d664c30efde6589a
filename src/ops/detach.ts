import { defineOp, type Op } from "./op.js";

/** y = x, with no gradient: what is computed from here on takes x for a constant. */
export const detach: Op<1> = defineOp({
  name: "detach",
  arity: 1,
  infer: ([x]) => x,
  gradient: () => [undefined],
  lower: ({ inputs: [x] }) => x,
  evaluate: ([x]) => x,
  samples: [{ inputs: [{ shape: [2, 3] }], attrs: {} }],
});
