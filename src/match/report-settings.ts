import type { ModuleEntry, ModulePattern } from "../base/module-pattern.js";
import type { LayerChoice } from "./layers.js";
import type { ListedModule } from "./module-list.js";

/** What to do with an entry that names modules in unrelated places. */
export type Ambiguous = "error" | "warn" | "allow";

/** A configuration as matching takes it: options with their defaults filled in. */
export interface MatchSettings extends LayerChoice {
  readonly model: string;
  readonly method: string;
  readonly targetModules: ModulePattern;
  /** Parameters of modules that are adapted by themselves. */
  readonly targetParameters?: readonly ModuleEntry[] | undefined;
  /** Whether the targets come from the model's table, and were written by nobody. */
  readonly defaultTargets: boolean;
  /** Whether it is right that nothing is adapted, as for a method that has its own places. */
  readonly emptyTargets?: boolean;
  /** Whether every module that the method can adapt is a target. */
  readonly everywhere?: boolean;
  /** Modules that share a parameter with a target and are adapted with it. */
  readonly tiedWith?: (name: string) => readonly string[];
  readonly excludeModules?: ModulePattern | undefined;
  readonly modulesToSave?: ModulePattern | undefined;
  /** Heads that the task asks to save, where the model has them. */
  readonly heads: readonly string[];
  /** Options that hold values by name, with the option that each replaces: `[["rankPattern", "r", { q_proj: 4 }]]`. */
  readonly patterns: readonly (readonly [
    option: string,
    replaces: string,
    values: Readonly<Record<string, number>>,
  ])[];
  /** Values at a module where they do not come from `patterns`. */
  readonly valuesAt?: (module: ListedModule) => Readonly<Record<string, number>>;
  readonly ambiguous?: Ambiguous | undefined;
  readonly matching: "whole-names" | "hugging-face";
  /** Whether the method can adapt a module, or one of its parameters. */
  readonly supports: (module: ListedModule, parameter?: string) => boolean;
  /** Rank and alpha at a module, and the parameters that are trained there. */
  readonly adapterAt: (
    module: ListedModule & { readonly parameter?: string | undefined },
    values: Readonly<Record<string, number>>,
  ) => { readonly rank?: number | undefined; readonly alpha?: number | undefined; readonly trained: number };
}
