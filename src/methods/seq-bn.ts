import { defineMethod } from "./method.js";
import { bottleneckAdapter } from "./seq-bn-block.js";

/**
 * A small network behind the feed-forward part of every layer (Pfeiffer).
 *
 * y = norm(h + s · U σ(D norm(h + r) + b) + c + r): h what the part gives, r the residual stream
 *
 * Shapes: h, r and y (N, D); down-projection D (m, D) with m = ⌊D / reductionFactor⌋, up-projection U (D, m).
 * Where no norm follows the sum, as in llama and gpt2, norm is left out. Projections start small (N(0, 0.02²)), so that the model
 * starts near what it was. Adds 2 · D · m + m + D parameters to a place. It cannot be merged, as σ is no linear map.
 * `mhAdapter: true` also adapts attention, `crossAdapter: true` that of a decoder over its source; layers of a decoder are counted behind
 * those of its encoder. The other options are those of AdapterHub's `BnConfig`.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "SEQ_BN", reductionFactor: 16 });
 * @see Pfeiffer et al., "AdapterFusion: Non-Destructive Task Composition for Transfer Learning", arXiv:2005.00247, §3 and app. A
 */
export const seqBn = defineMethod({
  name: "SEQ_BN",
  title: "Bottleneck adapter (Pfeiffer)",
  paper: "arXiv:2005.00247",
  formula: "y = norm(h + s · up(σ(down(norm(h + r)))) + r)",
  parameters: "2 · D · m + m + D, m = D / reductionFactor",
  advice:
    "The usual adapter of AdapterHub: one small network a layer, quick to train, good for sharing many tasks on one encoder; learning rates around 1e-4.",
  ...bottleneckAdapter({
    mhAdapter: false,
    reductionFactor: 16,
    nonLinearity: "relu",
    originalLnBefore: true,
  }),
});
