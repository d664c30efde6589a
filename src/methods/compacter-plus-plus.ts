import { defineMethod } from "./method.js";
import { bottleneckAdapter } from "./seq-bn-block.js";

/**
 * Compacter behind the feed-forward part alone.
 *
 * y = norm(h + σ(norm(h + r) H₁ + b) H₂ + c + r), H = Σᵢ Aᵢ ⊗ (sᵢ tᵢ)
 *
 * Shapes, start and sizes are those of {@link compacter}, with one place a layer.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "COMPACTER_PLUS_PLUS", reductionFactor: 32, phmDim: 4 });
 * @see Mahabadi et al., "Compacter: Efficient Low-Rank Hypercomplex Adapter Layers", arXiv:2106.04647, §4
 */
export const compacterPlusPlus = defineMethod({
  name: "COMPACTER_PLUS_PLUS",
  title: "Compacter++",
  paper: "arXiv:2106.04647",
  formula: "y = norm(h + up(σ(down(norm(h + r)))) + r), weights Σᵢ Aᵢ ⊗ (sᵢ tᵢ)",
  parameters: "2 · (D + m) · phmRank + m + D, m = D / reductionFactor, and n³ of the model",
  advice: "Compacter with half of its parameters and most of its quality; the smallest adapter of this kind.",
  ...bottleneckAdapter({
    mhAdapter: false,
    reductionFactor: 32,
    nonLinearity: "gelu",
    originalLnBefore: true,
    phmLayer: true,
  }),
});
