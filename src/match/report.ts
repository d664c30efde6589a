import type { ModuleKind } from "../base/module-pattern.js";
import type { Fact } from "../base/errors.js";
import type { ListedModule } from "./module-list.js";
import type { MatchMode } from "./parse-entry.js";

/** An entry of an option that names a module, and how it is read. */
export interface EntryUse {
  /** Name of the option, such as `targetModules`. */
  readonly option: string;
  /** The entry as it was written. */
  readonly entry: string;
  readonly mode: MatchMode;
}

/**
 * What becomes of a module: it is adapted, trained and saved as a whole (or part of one that is), left out by `excludeModules` or
 * by a `!` entry, left out because of its layer, of a kind that the method cannot adapt, or named by nothing.
 */
export type ModuleStatus = "adapted" | "saved" | "excluded" | "layer" | "unsupported" | "unmatched";

/** A module in a report. */
export interface ModuleMatch extends ListedModule {
  readonly status: ModuleStatus;
  /** The parameter that is named by `targetParameters`, and alone is adapted. */
  readonly parameter?: string | undefined;
  /** Every entry of every option that names it. */
  readonly matchedBy: readonly EntryUse[];
  /** What brought it here, in a few words. */
  readonly why: string;
  /** Options that have another value here, such as `{ r: 4 }` where `rankPattern` says so. */
  readonly values: Readonly<Record<string, number>>;
  /** Rank and alpha of the adapter here, where the method has them. */
  readonly rank?: number | undefined;
  readonly alpha?: number | undefined;
  /** Parameters that are trained here: of the adapter, or of the copy of the module. */
  readonly trained: number;
}

/** Modules of one kind and shape that an entry names. */
export interface EntryGroup {
  readonly type: string;
  readonly kind: ModuleKind | undefined;
  readonly shape: readonly number[] | undefined;
  readonly count: number;
}

/** An entry in a report. */
export interface EntryCount extends EntryUse {
  readonly optional: boolean;
  /** Modules that name it in their `matchedBy`. */
  readonly count: number;
  readonly groups: readonly EntryGroup[];
}

/** Something that attaching refuses, with all that its error says. */
export interface MatchFault {
  readonly code: string;
  readonly summary: string;
  readonly facts: readonly Fact[];
  readonly fixes: readonly string[];
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Something that attaching goes on with. */
export interface MatchWarning {
  readonly code: string;
  readonly text: string;
}

/** What a configuration does with a model, before it is done. Attaching takes this very object. */
export interface MatchReport {
  readonly model: string;
  /** `peft_type` of the method. */
  readonly method: string;
  /** Every module, each in one state. */
  readonly modules: readonly ModuleMatch[];
  /** Modules that the method adapts. */
  readonly targets: readonly ModuleMatch[];
  /** Modules that are trained and saved as a whole; what is below them is not listed. */
  readonly modulesToSave: readonly ModuleMatch[];
  readonly entries: readonly EntryCount[];
  /** Everything that attaching would refuse, all at once. */
  readonly faults: readonly MatchFault[];
  readonly warnings: readonly MatchWarning[];
}
