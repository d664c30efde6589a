import { defineMethod } from "./method.js";
import { bottleneckAdapter } from "./seq-bn-block.js";

/**
 * The parallel bottleneck adapter with a trained factor.
 *
 * y = norm(h + s · (U σ(D r + b) + c) + r), s trained from 1
 *
 * Shapes: h, r and y (N, D); s (1); down-projection D (m, D) with m = ⌊D / reductionFactor⌋, up-projection U (D, m).
 * U starts at zero, so the model is unchanged before the first step. Adds 2 · D · m + m + D + 1 parameters to a place. It cannot be
 * merged.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "SCALED_PAR_BN", reductionFactor: 4 });
 * @see He et al., "Towards a Unified View of Parameter-Efficient Transfer Learning", arXiv:2110.04366, §3.2 and 4.6
 */
export const scaledParBn = defineMethod({
  name: "SCALED_PAR_BN",
  title: "Scaled parallel bottleneck adapter",
  paper: "arXiv:2110.04366",
  formula: "y = norm(h + s · up(σ(down(r))) + r), s trained",
  parameters: "2 · D · m + m + D + 1, m = D / reductionFactor",
  advice: "PAR_BN where the factor 4 is too much or too little: it learns its own.",
  ...bottleneckAdapter({
    mhAdapter: false,
    reductionFactor: 2,
    nonLinearity: "relu",
    isParallel: true,
    initWeights: "mam_adapter",
    scaling: "learned",
  }),
});
