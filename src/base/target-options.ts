import { alias, choice, names, type Option, numbersByName } from "./option.js";

/** Options that say which modules a method holds on to; methods spread them into their config. */
export const targetOptions = {
  targetModules: alias(
    names({ doc: "Modules to adapt: names or dotted suffixes, a regular expression, or all-linear." }),
    "loraTargetModules",
  ),
  excludeModules: names({ doc: "Modules to leave alone, in the same spellings." }),
  modulesToSave: names({
    doc: "Modules that are trained and saved as a whole beside the adapter, by name or dotted suffix.",
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
