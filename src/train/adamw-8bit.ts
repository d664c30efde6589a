import { integer, type OptionValues } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import type { Parameter } from "../nn/parameter.js";
import { adamOptions } from "./adamw.js";
import { codedMoments } from "./moments.js";
import { DecoupledAdam } from "./optimizer.js";

export const adamW8bitOptions = {
  ...adamOptions,
  min8bitSize: integer({
    default: 4096,
    min: 0,
    doc: "Parameters of fewer values keep their means in float32.",
  }),
};

/**
 * AdamW whose running means are kept in codes of 8 bits, 2.03 bytes a value instead of 8.
 *
 * The formula is that of {@link AdamW}, in float32, block by block; then m and v of each 256 values are put to the nearest numbers of a
 * dynamic map (with and without signs) over their largest magnitude.
 *
 * @example
 * const optimizer = new AdamW8bit(model.trainableParameters(), { learningRate: 2e-4 });
 * @see Dettmers et al., "8-bit Optimizers via Block-wise Quantization", arXiv:2110.02861, §2
 */
export class AdamW8bit extends DecoupledAdam<OptionValues<typeof adamW8bitOptions>> {
  constructor(parameters: Iterable<Parameter>, options: Partial<OptionValues<typeof adamW8bitOptions>> = {}) {
    const read = readOptions(adamW8bitOptions, options, { source: "AdamW8bit" });
    super(parameters, read, codedMoments(read.min8bitSize));
  }
}
