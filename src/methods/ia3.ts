import { always, gaussian } from "../base/fill.js";
import { ConfigError } from "../base/errors.js";
import { flag } from "../base/option.js";
import { type ModuleEntry, modulePattern, type ModulePattern } from "../base/module-pattern.js";
import { targetOptions } from "../base/target-options.js";
import { defineMethod, type Place } from "./method.js";

/** An entry that means no adapted module would be without effect. */
function checkFeedforward(places: readonly Place[], modules: ModulePattern | undefined): void {
  const entries = (
    Array.isArray(modules) ? modules : modules === undefined ? [] : [modules]
  ) as readonly ModuleEntry[];
  const idle = entries.filter((entry) => {
    const pattern = Array.isArray(modules) ? [entry] : entry;
    return !places.some(({ named }) => named(pattern));
  });
  if (idle.length === 0) return;
  const quoted = idle.map((entry) => JSON.stringify(entry)).join(" and ");
  throw new ConfigError({
    code: "feedforward_not_adapted",
    summary: `feedforwardModules: ${quoted} ${idle.length === 1 ? "means" : "mean"} none of the ${places.length} modules that are adapted.`,
    facts: [["adapted", [...new Set(places.map(({ path }) => path.split(".").at(-1)!))].join(", ")]],
    fixes: ["name them in targetModules too, or leave them out of feedforwardModules"],
    fields: { entries: idle },
  });
}

/**
 * Learned factors on the outputs of keys, values and on the inputs of the feed-forward output.
 *
 * Attention: y = l ⊙ (W x + b). Feed-forward (`feedforwardModules`): y = W (l ⊙ x) + b.
 *
 * Shapes: x (N, in) → (N, out); l (out, 1), or (1, in) at feed-forward modules.
 * l starts at 1, so the layer is unchanged before the first step. Adds out parameters to a layer, in where it is feed-forward.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "IA3", targetModules: ["k_proj", "down_proj"], feedforwardModules: ["down_proj"] });
 * @see Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", arXiv:2205.05638, §3.3
 */
export const ia3 = defineMethod({
  name: "IA3",
  title: "(IA)³",
  paper: "arXiv:2205.05638",
  formula: "y = l ⊙ (W x + b); at feed-forward modules y = W (l ⊙ x) + b",
  parameters: "out, or in at feed-forward modules",
  advice: "The fewest parameters of all that adapt every layer; few examples, high learning rates (3e-3).",
  sites: ["linear"],
  quantisedBase: true,
  modelDefaults: { targetModules: ["IA3"], feedforwardModules: ["IA3_FEEDFORWARD"] },
  config: {
    ...targetOptions,
    feedforwardModules: modulePattern({
      doc: "Those of the target modules whose input is scaled instead of the output, in the same spellings.",
    }),
    initIa3Weights: flag({ default: true, doc: "Starts the factors at 1; otherwise at random, for tests." }),
  },
  inert: { fan_in_fan_out: false },
  identityStart: ({ initIa3Weights }) => initIa3Weights,
  mergeable: () => true,
  parameterCount({ site, named }, { feedforwardModules }) {
    return feedforwardModules !== undefined && named(feedforwardModules) ? site.inFeatures : site.outFeatures;
  },
  attach(site, { feedforwardModules, initIa3Weights }, scope) {
    scope.once("feedforward", () => checkFeedforward(scope.places, feedforwardModules));
    const init = initIa3Weights ? always(1) : gaussian(1);
    if (feedforwardModules !== undefined && scope.place.named(feedforwardModules)) {
      const l = scope.param("ia3_l", [1, site.inFeatures], init);
      return {
        forward: ({ f, x, base, p }) => base(f.mul(x, p(l))),
        merged: ({ f, own, p }) => ({ weight: f.mul(own("weight"), p(l)) }),
      };
    }
    const l = scope.param("ia3_l", [site.outFeatures, 1], init);
    return {
      forward: ({ f, x, base, p }) => f.mul(base(x), f.reshape(p(l), { shape: [site.outFeatures] })),
      merged: ({ f, own, p }) => ({
        weight: f.mul(own("weight"), p(l)),
        ...(site.bias && { bias: f.mul(own("bias"), f.reshape(p(l), { shape: [site.outFeatures] })) }),
      }),
    };
  },
});
