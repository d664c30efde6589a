import { layerNumbers, modulePattern } from "./module-pattern.js";
import { alias, choice, names, numbersByName, type Option, optionalChoice } from "./option.js";

/** Options that say how entries are compared. They steer the attaching and are no part of an adapter: files do not have them. */
export const STEERING_OPTIONS: readonly string[] = ["ambiguous", "matching"];

/** Options that say which modules a method holds on to; methods spread them into their config. */
export const targetOptions = {
  targetModules: alias(
    modulePattern({
      doc: "Modules to adapt: names, dotted suffixes, paths, patterns (*, **, {0-3,8}), a regular expression, or all-linear.",
      example: ["q_proj", "v_proj"],
    }),
    "loraTargetModules",
  ),
  excludeModules: modulePattern({ doc: "Modules to leave alone, in the same spellings." }),
  modulesToSave: modulePattern({
    doc: "Modules that are trained and saved as a whole beside the adapter, in the same spellings.",
  }),
  layersToTransform: layerNumbers({ doc: "Layers to adapt, by number; all unless said otherwise." }),
  layersPattern: names({ doc: "Names of the lists whose numbers layersToTransform means, such as layers." }),
  ambiguous: optionalChoice({
    values: ["error", "warn", "allow"],
    doc: "What a name does that fits unrelated places; warn for targetModules and error elsewhere unless said otherwise.",
  }),
  matching: choice({
    values: ["whole-names", "hugging-face"],
    default: "whole-names",
    doc: "Rules by which names are compared: whole names throughout, or those of Hugging Face PEFT, which differ by option.",
  }),
};

/** Options of methods that have a rank and an alpha at every module. */
export const patternOptions = {
  rankPattern: numbersByName({ doc: "Ranks of single modules, by name or pattern." }),
  alphaPattern: numbersByName({ doc: "Values of alpha of single modules, by name or pattern." }),
};

/**
 * Which biases of the base are trained beside the adapter.
 *
 * @param only - the method's word for those of the adapted modules, such as `lora_only`.
 */
export const biasOption = <const W extends string>(only: W): Option<"none" | "all" | W> =>
  choice({
    values: ["none", "all", only] as ("none" | "all" | W)[],
    default: "none" as NoInfer<"none" | "all" | W>,
    doc: `Which biases of the base are trained and saved too: none, all, or those of the adapted modules (${only}).`,
  });
