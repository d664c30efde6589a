import { gaussian, nothing } from "../base/fill.js";
import { ConfigError } from "../base/errors.js";
import { hostTensor } from "../base/host-tensor.js";
import { Mt19937 } from "../base/mt19937.js";
import { choice, flag, integer, optionalInteger } from "../base/option.js";
import { targetOptions } from "../base/target-options.js";
import type { Value } from "../graph/value.js";
import type { ReplaceContext } from "../nn/site.js";
import { defineMethod } from "./method.js";

/**
 * A few trained entries of a linear layer's weight.
 *
 * W' = W + S, S zero but for r · (in + out) entries at fixed random places
 *
 * Shapes: values (r (in + out)); places (2, r (in + out)), rows and columns of W, int32, saved with the adapter.
 * The values start at zero, so the layer is unchanged before the first step. Adds r · (in + out) parameters to a layer, as LoRA of
 * rank r does.
 * The values are added into the weight where they belong, so a forward pass costs what it costs without the adapter.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "SHIRA", r: 8, targetModules: ["q_proj", "v_proj"] });
 * @see Bhardwaj et al., "Sparse High Rank Adapters", arXiv:2406.13175, §3
 */
export const shira = defineMethod({
  name: "SHIRA",
  title: "SHiRA",
  paper: "arXiv:2406.13175",
  formula: "y = (W + S) x + b, S sparse",
  parameters: "r · (in + out)",
  advice:
    "Where adapters are switched or added up often: they touch 1-2 % of the weights and hardly the same ones.",
  sites: ["linear"],
  quantisedBase: false,
  modelDefaults: { targetModules: ["SHIRA", "LORA"] },
  lowRank: true,
  config: {
    r: integer({
      default: 32,
      min: 1,
      doc: "As many entries as LoRA of this rank has parameters; 1 or more.",
    }),
    maskType: choice({ values: ["random"], default: "random", doc: "How the places are chosen: random." }),
    randomSeed: optionalInteger({
      min: 0,
      max: 4_294_967_295,
      doc: "Seed of the places, 0 to 2³² − 1; without it they differ from layer to layer.",
    }),
    initWeights: flag({ default: true, doc: "Starts the entries at zero; otherwise at random, for tests." }),
    ...targetOptions,
  },
  ownOptions: ["excludeModules"],
  inert: { fan_in_fan_out: false },
  identityStart: ({ initWeights }) => initWeights,
  mergeable: () => true,
  parameterCount: ({ site }, { r }) => r * (site.inFeatures + site.outFeatures),
  attach(site, { r, randomSeed, initWeights }, scope) {
    const { inFeatures, outFeatures } = site;
    const size = inFeatures * outFeatures;
    const count = r * (inFeatures + outFeatures);
    if (count > size) {
      const limit = Math.floor(size / (inFeatures + outFeatures));
      throw new ConfigError({
        code: "rank_too_large",
        summary: `r: ${r} would train ${count.toLocaleString("en")} entries of ${scope.place.path}, which has ${size.toLocaleString("en")}.`,
        fixes: [`r: ${limit}`, "leave small modules out: excludeModules"],
        fields: { path: scope.place.path, rank: r, limit },
      });
    }
    const values = scope.param("shira_weight", [count], initWeights ? nothing : gaussian(1));
    const places = new Int32Array(2 * count);
    if (scope.fresh) {
      const chosen = new Mt19937(randomSeed ?? scope.seed).permutation(size, count).sort();
      for (const [i, place] of chosen.entries()) {
        places[i] = Math.floor(place / inFeatures);
        places[count + i] = place % inFeatures;
      }
    }
    const saved = scope.state("shira_indices", hostTensor("int32", [2, count], places));
    const flat = scope.derived({ dtype: "int64", dims: [count] }, () => {
      const index = saved.tensor.data as Int32Array;
      const at = BigInt64Array.from({ length: count }, (_, i) =>
        BigInt(index[i]! * inFeatures + index[count + i]!),
      );
      return hostTensor("int64", [count], at);
    });
    return {
      replaces: {
        weight({ f, base, p }: ReplaceContext): Value {
          const column = f.reshape(base, { shape: [size, 1] });
          const update = f.scatterRows(f.reshape(p(values), { shape: [count, 1] }), p(flat), column);
          return f.add(base, f.reshape(update, { shape: [outFeatures, inFeatures] }));
        },
      },
    };
  },
});
