import { flag, number, type OptionValues } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import type { Parameter } from "../nn/parameter.js";
import { plainMoments } from "./moments.js";
import { DecoupledAdam } from "./optimizer.js";

/** Options of all forms of AdamW. */
export const adamOptions = {
  learningRate: number({ default: 2e-4, min: 0, doc: "Step size; what the schedule multiplies." }),
  beta1: number({ default: 0.9, min: 0, below: 1, doc: "Decay of the mean of gradients, 0 to below 1." }),
  beta2: number({
    default: 0.999,
    min: 0,
    below: 1,
    doc: "Decay of the mean of squared gradients, 0 to below 1.",
  }),
  epsilon: number({ default: 1e-8, above: 0, doc: "Added to the root of the second mean, above 0." }),
  weightDecay: number({ default: 0, min: 0, doc: "Share of a weight taken off per unit of learning rate." }),
};

export const adamWOptions = {
  ...adamOptions,
  amsgrad: flag({ default: false, doc: "Divides by the largest second mean there was." }),
};

/**
 * Adam with decoupled weight decay.
 *
 * w ← w − η λ w − η m̂ / (√v̂ + ε); m and v are running means of g and g², m̂ and v̂ corrected for their start at zero.
 *
 * @example
 * const optimizer = new AdamW(model.trainableParameters(), { learningRate: 2e-4 });
 * await optimizer.step();
 * optimizer.zeroGrad();
 * @see Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv:1711.05101, algorithm 2
 */
export class AdamW extends DecoupledAdam<OptionValues<typeof adamWOptions>> {
  constructor(parameters: Iterable<Parameter>, options: Partial<OptionValues<typeof adamWOptions>> = {}) {
    const read = readOptions(adamWOptions, options, { source: "AdamW" });
    super(parameters, read, plainMoments(read.amsgrad));
  }
}
