import { gaussian, nothing } from "../base/fill.js";
import { ConfigError } from "../base/errors.js";
import { hostTensor } from "../base/host-tensor.js";
import { Mt19937 } from "../base/mt19937.js";
import { flag, integer, number, numbersByName } from "../base/option.js";
import { targetOptions, biasOption } from "../base/target-options.js";
import type { Value } from "../graph/value.js";
import type { AdaptContext } from "../nn/site.js";
import { defineMethod } from "./method.js";

/** Row k, column l of a table (size, 2 n): the cosines, then `sign` times the sines, of 2π k f / size for n frequencies f. */
function waves(size: number, frequencies: readonly number[], sign: number): Float32Array {
  const n = frequencies.length;
  const turn = (2 * Math.PI) / size;
  const cosines = Float64Array.from({ length: size }, (_, i) => Math.cos(turn * i));
  const sines = Float64Array.from({ length: size }, (_, i) => Math.sin(turn * i));
  const table = new Float32Array(size * 2 * n);
  for (let k = 0; k < size; k += 1) {
    for (let l = 0; l < n; l += 1) {
      const at = (k * frequencies[l]!) % size;
      table[k * 2 * n + l] = cosines[at]!;
      table[k * 2 * n + n + l] = sign * sines[at]!;
    }
  }
  return table;
}

/**
 * A few trained entries of the spectrum of a linear layer's update.
 *
 * ΔW = scaling · Re(ifft2(D)), D zero but for n entries c at fixed random places
 *
 * Shapes: x (N, in) → (N, out); c (n).
 * The places are the first n of `torch.randperm(out · in)` from `randomLocSeed`: they are not saved, and layers of one shape have the
 * same. c starts at random, so the layer is changed before the first step; with `initWeights` it starts at zero. Adds n parameters to a
 * layer.
 * ΔW is never made: cos(a + b) = cos a cos b − sin a sin b makes it a product of tables (out, 2 n) and (2 n, in), which layers of one
 * shape share; they take 8 · n · (in + out) bytes.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "FOURIERFT", nFrequency: 500, targetModules: ["q_proj", "v_proj"] });
 * @see Gao et al., "Parameter-Efficient Fine-Tuning with Discrete Fourier Transform", arXiv:2405.03003, eq. 2-4
 */
export const fourierft = defineMethod({
  name: "FOURIERFT",
  title: "FourierFT",
  paper: "arXiv:2405.03003",
  formula: "y = W x + scaling · Re(ifft2(D)) x, D with n entries",
  parameters: "n",
  advice:
    "Smaller files than LoRA at a like quality: 1000 numbers a layer; the scaling (100-300) matters as much as the rate.",
  sites: ["linear"],
  quantisedBase: true,
  modelDefaults: { targetModules: ["FOURIERFT", "LORA"] },
  patterns: { nFrequencyPattern: "nFrequency" },
  config: {
    nFrequency: integer({ default: 1000, min: 1, doc: "Trained entries of the spectrum, 1 to in · out." }),
    scaling: number({ default: 150, doc: "Factor on the update; any number." }),
    randomLocSeed: integer({
      default: 777,
      min: 0,
      max: 4_294_967_295,
      doc: "Seed of the places of the entries, 0 to 2³² − 1.",
    }),
    nFrequencyPattern: numbersByName({ doc: "Values of nFrequency of single modules, by name or pattern." }),
    initWeights: flag({ default: false, doc: "Starts the entries at zero instead of at random." }),
    bias: biasOption("fourier_only"),
    ...targetOptions,
  },
  inert: { fan_in_fan_out: false, layers_pattern: null, layers_to_transform: null },
  identityStart: ({ initWeights }) => initWeights,
  mergeable: () => true,
  parameterCount: (_place, { nFrequency }) => nFrequency,
  attach(site, { nFrequency: n, scaling, randomLocSeed, initWeights }, scope) {
    const { inFeatures, outFeatures } = site;
    const size = inFeatures * outFeatures;
    if (n > size) {
      throw new ConfigError({
        code: "too_many_frequencies",
        summary: `nFrequency: ${n} is more than the ${size.toLocaleString("en")} entries of ${scope.place.path} (${outFeatures}, ${inFeatures}).`,
        fixes: [`nFrequency: ${size}`, `nFrequencyPattern: { "${scope.place.path}": ${size} }`],
        fields: { path: scope.place.path, nFrequency: n, limit: size },
      });
    }
    const c = scope.param("fourierft_spectrum", [n], initWeights ? nothing : gaussian(1));
    const tables = scope.once(`waves ${outFeatures} ${inFeatures} ${n}`, () => {
      const places = [...new Mt19937(randomLocSeed).permutation(size, n)];
      const table = (width: number, frequencies: number[], sign: number) =>
        scope.frozen(hostTensor("float32", [width, 2 * n], waves(width, frequencies, sign)));
      return {
        rows: table(
          outFeatures,
          places.map((place) => Math.floor(place / inFeatures)),
          -1,
        ),
        columns: table(
          inFeatures,
          places.map((place) => place % inFeatures),
          1,
        ),
      };
    });
    const factor = scope.scalar(scaling / size);
    const twice = ({ f, p }: Pick<AdaptContext, "f" | "p">): Value => {
      const scaled = f.mul(p(c), p(factor));
      return f.concat([scaled, scaled], { axis: 0 }); // (2 n)
    };
    return {
      forward(context) {
        const { f, x, base, p } = context;
        const z = f.mul(f.matmul(x, p(tables.columns), {}), twice(context)); // (N, 2 n)
        return f.add(base(x), f.matmul(z, p(tables.rows), { transposeB: true })); // (N, out)
      },
      merged(context) {
        const { f, own, p } = context;
        const rows = f.mul(p(tables.rows), twice(context));
        return { weight: f.add(own("weight"), f.matmul(rows, p(tables.columns), { transposeB: true })) };
      },
    };
  },
});
