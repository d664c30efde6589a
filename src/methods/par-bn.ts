import { defineMethod } from "./method.js";
import { bottleneckAdapter } from "./seq-bn-block.js";

/**
 * A small network beside the feed-forward part of every layer.
 *
 * y = norm(h + s · (U σ(D r + b) + c) + r): h what the part gives, r the residual stream
 *
 * Shapes: h, r and y (N, D); down-projection D (m, D) with m = ⌊D / reductionFactor⌋, up-projection U (D, m).
 * Where no norm follows the sum, as in llama and gpt2, norm is left out; r is the stream before the norm of the part. U starts at zero,
 * so the model is unchanged before the first step. s is 4. Adds 2 · D · m + m + D parameters to a place. It cannot be merged.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "PAR_BN", reductionFactor: 4 });
 * @see He et al., "Towards a Unified View of Parameter-Efficient Transfer Learning", arXiv:2110.04366, §3.2 and 4.6
 */
export const parBn = defineMethod({
  name: "PAR_BN",
  title: "Parallel bottleneck adapter",
  paper: "arXiv:2110.04366",
  formula: "y = norm(h + s · up(σ(down(r))) + r), s = 4",
  parameters: "2 · D · m + m + D, m = D / reductionFactor",
  advice:
    "Reads the residual stream beside the feed-forward part; stronger than SEQ_BN where parameters may be many.",
  ...bottleneckAdapter({
    mhAdapter: false,
    reductionFactor: 2,
    nonLinearity: "relu",
    isParallel: true,
    initWeights: "mam_adapter",
    scaling: 4,
  }),
});
