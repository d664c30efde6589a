import { defineMethod } from "./method.js";
import { bottleneckAdapter } from "./seq-bn-block.js";

/**
 * Bottleneck adapters behind attention and feed-forward whose weights are sums of Kronecker products with shared left factors.
 *
 * y = norm(h + σ(h H₁ + b) H₂ + c + r), H = Σᵢ Aᵢ ⊗ (sᵢ tᵢ)
 *
 * Shapes: h, r and y (N, D); H₁ (D, m), H₂ (m, D) with m = ⌊D / reductionFactor⌋; n = phmDim; A (n, n, n), shared by all places;
 * s (n, in/n, phmRank), t (n, phmRank, out/n).
 * A starts at 1e-4 · normal, so the model starts as it was to 1e-5. Adds 2 · (D + m) · phmRank + m + D parameters to a place and
 * n³ to the model. n has to divide D and m. It cannot be merged.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "COMPACTER", reductionFactor: 32, phmDim: 4 });
 * @see Mahabadi et al., "Compacter: Efficient Low-Rank Hypercomplex Adapter Layers", arXiv:2106.04647, §4
 */
export const compacter = defineMethod({
  name: "COMPACTER",
  title: "Compacter",
  paper: "arXiv:2106.04647",
  formula: "y = norm(h + up(σ(down(h))) + r), weights Σᵢ Aᵢ ⊗ (sᵢ tᵢ)",
  parameters: "2 · (D + m) · phmRank + m + D, m = D / reductionFactor, and n³ of the model",
  advice:
    "A tenth of the parameters of bottleneck adapters for nearly their quality; learning rates around 3e-3.",
  ...bottleneckAdapter({ mhAdapter: true, reductionFactor: 32, nonLinearity: "gelu", phmLayer: true }),
});
