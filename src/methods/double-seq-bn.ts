import { defineMethod } from "./method.js";
import { bottleneckAdapter } from "./seq-bn-block.js";

/**
 * Small networks behind attention and behind the feed-forward part of every layer (Houlsby).
 *
 * y = norm(h + s · U σ(D h + b) + c + r): h what the part gives, r the residual stream
 *
 * Shapes: h, r and y (N, D); down-projection D (m, D) with m = ⌊D / reductionFactor⌋, up-projection U (D, m).
 * Where no norm follows the sum, as in llama and gpt2, norm is left out. Projections start small (N(0, 0.02²)), so that the model
 * starts near what it was. Adds 2 · D · m + m + D parameters to a place, two places a layer. It cannot be merged.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "DOUBLE_SEQ_BN", reductionFactor: 16, nonLinearity: "gelu" });
 * @see Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751, §2
 */
export const doubleSeqBn = defineMethod({
  name: "DOUBLE_SEQ_BN",
  title: "Bottleneck adapters (Houlsby)",
  paper: "arXiv:1902.00751",
  formula: "y = norm(h + s · up(σ(down(h))) + r)",
  parameters: "2 · D · m + m + D, m = D / reductionFactor",
  advice:
    "Two networks a layer where SEQ_BN has one: twice the parameters, at times a little better on small data.",
  ...bottleneckAdapter({ mhAdapter: true, reductionFactor: 16, nonLinearity: "swish" }),
});
