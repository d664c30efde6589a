import { alias, names, numbersByName } from "./option.js";

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
