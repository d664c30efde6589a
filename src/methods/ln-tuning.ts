import { targetOptions } from "../base/target-options.js";
import type { Replacement } from "../nn/site.js";
import { defineMethod } from "./method.js";

/**
 * Trained copies of norms, or of any other modules, in the place of the base's own.
 *
 * y = norm(x; weight', bias')
 *
 * Shapes: those of the module's own parameters, most often (D).
 * The copies start as what they stand in for, so the model is unchanged before the first step. Adds as many parameters as the modules
 * have. With other targets it is fine-tuning of selected layers: `targetModules: ["layers.11.mlp.down_proj"]`.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "LN_TUNING" });
 * @see Zhao et al., "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning", arXiv:2312.11420, §3
 */
export const lnTuning = defineMethod({
  name: "LN_TUNING",
  title: "LN tuning",
  paper: "arXiv:2312.11420",
  formula: "y = module(x) with its own parameters trained",
  parameters: "those of the module: D or 2 · D for a norm",
  advice: "The fewest parameters of all; enough to change style and domain, not to teach facts.",
  sites: ["module"],
  quantisedBase: true,
  modelDefaults: { targetModules: ["LN_TUNING"] },
  config: { ...targetOptions },
  inert: {},
  identityStart: () => true,
  mergeable: () => true,
  parameterCount: ({ site }) => [...site.parameters.values()].reduce((sum, { size }) => sum + size, 0),
  attach({ module, parameters }, _config, scope) {
    const replaces = [...parameters].map(([name, original]): [string, Replacement] => {
      const copy = scope.param(`ln_tuning_layers.${name}`, original.shape, (data) => data.set(original.data));
      // Copies are kept as checkpoints have them; what replaces a weight is (out, in).
      const turned = module.transposed.includes(name);
      return [name, ({ f, p }) => (turned ? f.transpose(p(copy), { axes: [1, 0] }) : p(copy))];
    });
    return { replaces: Object.fromEntries(replaces) };
  },
});
