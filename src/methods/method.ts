import type { ModulePattern } from "../base/module-pattern.js";
import type { Initialiser } from "../base/fill.js";
import type { HostTensor } from "../base/host-tensor.js";
import type { DType } from "../base/tensor-type.js";
import type { Option, Options, OptionValues } from "../base/option.js";
import type { Parameter } from "../nn/parameter.js";
import type { Value } from "../graph/value.js";
import type { Attachment, Site, SiteKind, VirtualContext } from "../nn/site.js";

/** A size that graphs keep symbolic, so that adapters of any such size share one compiled graph. */
export interface SymbolicSize {
  readonly symbol: string;
  readonly size: number;
}

/** A place of the model that an adapter holds on to. */
export interface Place<S extends Site = Site> {
  readonly path: string;
  readonly site: S;
  /** The parameter of the module that alone is adapted, where it was named by `targetParameters`. */
  readonly parameter?: string | undefined;
  /** Whether a pattern, as options have them, means this place. */
  named(this: void, pattern: ModulePattern): boolean;
}

/** Where a run stands when an optimiser step has been made. */
export interface StepFacts {
  /** Steps made so far, this one counted. */
  readonly step: number;
  /** Steps of the whole run, where they are known. */
  readonly totalSteps?: number | undefined;
}

/** Rows that reach a module: (N, width), those of all tokens of a batch or of its source, without padding. */
export interface InputRows {
  /** Written over when the call returns. */
  readonly data: Float32Array;
  readonly width: number;
  /** Tokens of row i of the batch are rowOffsets[i] … rowOffsets[i + 1] − 1. */
  readonly rowOffsets: Int32Array;
  /** Labels of the tokens; absent where the batch has none, or has them for whole rows, and for the tokens of a source. */
  readonly labels?: Int32Array | undefined;
}

/** A place that an adapter will hold on to, with the options that hold there. */
export interface Target<V = Readonly<Record<string, unknown>>> {
  readonly place: Place;
  readonly config: V;
}

/** What was found out about the data before an adapter is attached. */
export interface CalibrationResult {
  /** Options that the data decide, such as ranks. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Places that are better left as they are. */
  readonly without?: readonly Place[];
  /** What `calibrated` of the scope answers at each place, by path. */
  readonly found: ReadonlyMap<string, unknown>;
  readonly warnings?: readonly { readonly code: string; readonly text: string }[];
}

/** Looks at data through the model, without adapters, before an adapter is attached. Keeps no rows: every batch is reduced at once. */
export interface Calibration {
  /** The option that asks for it, as in `initLoraWeights: eva`. */
  readonly reason: string;
  /** Places that it has to see. */
  readonly places: readonly Place[];
  /** Takes the rows that reach these places, which are the same for all of them. */
  inputs?(places: readonly Place[], rows: InputRows): void;
  /** Takes the gradient of a weight (out, in), the mean over all batches. */
  gradient?(place: Place, gradient: Float32Array): void;
  /**
   * Asked before every batch, the first one too. Where it is there, the batches are gone through again and again until it says so.
   *
   * @param round - how often all batches have been seen.
   */
  enough?(round: number): boolean;
  finish(): CalibrationResult;
}

/** What a method gets to make its tensors with. */
export interface Scope {
  /** The place that the adapter holds on to. */
  readonly place: Place;
  /** Whether the adapter is new; otherwise its saved tensors come from a file, and how they start does not matter. */
  readonly fresh: boolean;
  /** A seed for random numbers that depend on the place. */
  readonly seed: number;
  /** Every place of this adapter, this one too. */
  readonly places: readonly Place[];
  /** What the method's calibration found for this place; undefined where the adapter comes from a file, or nothing was asked for. */
  calibrated<T>(): T | undefined;
  /**
   * A trained tensor, saved with the adapter.
   *
   * @param key - its name in adapter files after the module's path, such as `lora_A.weight`.
   */
  param(
    key: string,
    shape: readonly (number | SymbolicSize)[],
    init: Initialiser,
    options?: {
      /** Name of the live parameter, where it is not that of the file. */
      readonly live?: string;
      /** Whether it is trained. @defaultValue true */
      readonly trained?: boolean;
    },
  ): Parameter;
  /** A trained tensor that places have in common which share the parameter `original`; saved under the name of each. */
  sharedParam(key: string, original: Parameter, make: () => Parameter): Parameter;
  /** A tensor that is saved and not trained. */
  state(key: string, tensor: HostTensor): Parameter;
  /** A tensor that all places of the adapter have in common; call it within `once`. Saved under `base_model.<key>`. */
  shared(
    key: string,
    tensor: HostTensor,
    options: {
      readonly saved: boolean;
      /** Whether it is trained. @defaultValue false */
      readonly trained?: boolean;
    },
  ): Parameter;
  /** A tensor that is neither trained nor saved. */
  frozen(tensor: HostTensor): Parameter;
  /** The same, made when a graph first reads it: after the saved tensors have been read from a file. */
  derived(
    type: { readonly dtype: DType; readonly dims: readonly number[] },
    make: () => HostTensor,
  ): Parameter;
  /** A number that graphs read when they run, so that its value is no part of them. It is not saved. */
  scalar(value: number): Parameter;
  /** What `make` gives at the first place of the adapter that asks for this key; the others get the same. */
  once<T>(key: string, make: () => T): T;
  /** What is written for a tensor when the adapter is saved, instead of the tensor itself. */
  savedTensor(parameter: Parameter, make: () => HostTensor): void;
  /** What an option is called where it was written, for errors: beside another method it goes by the option that asks for it. */
  written(option: string): string;
  /** An option as it was given, where a pattern gives this place another value. */
  general<T>(option: string): T;
  /** What is written for an option when the adapter is saved; call it within `once`. */
  savedOption(name: string, make: () => unknown): void;
  /** Calls a function after every optimiser step, with the gradients still there; call it within `once`. */
  afterStep(work: (facts: StepFacts) => void): void;
}

/** Tensors that the start of an adapter is made of. */
export interface StartTensors {
  /** Where they come from, for messages. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, HostTensor>;
}

/** What a method gets that holds on to the model as a whole. */
export interface ModelScope {
  /** Whether the tensors come from an adapter file, which holds what is saved and no encoder. */
  readonly fromFile: boolean;
  /** The tensors of the method's `startFile`, by their names there. */
  readonly startTensors: StartTensors | undefined;
  /**
   * A trained tensor that is saved as it is.
   *
   * @param key - its name in the prompt encoder of Hugging Face, such as `embedding.weight`.
   * @param savedAs - its name in adapter files.
   */
  param(
    key: string,
    savedAs: string,
    shape: readonly (number | SymbolicSize)[],
    init: Initialiser,
  ): Parameter;
  /** A trained tensor that what is saved is computed from (`saves`); it is kept beside the adapter for further training. */
  encoder(key: string, shape: readonly number[], init: Initialiser): Parameter;
  /** Ids of a text, with the special tokens that the tokenizer of the base puts around it. */
  tokens(text: string): readonly number[];
}

/** What a method answers at a place. */
export type Adapter = Omit<Attachment, "adapter" | "active"> & {
  /** Options with what was taken from the model. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Whether the file held what an encoder computed, and not the encoder. */
  readonly withoutEncoder?: boolean;
  /** What is saved in place of encoder tensors, by name in adapter files. */
  readonly saves?: Readonly<Record<string, (context: VirtualContext) => Value>>;
};

/** A method that holds on to places of its own beside another one. */
export interface Companion {
  readonly method: MethodDefinition;
  /** Its options, all of them. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The option that asked for it, for messages. */
  readonly option: string;
  /** Modules that it holds on to; those of the model's tables for its method where absent. */
  readonly targets?: readonly string[];
  /** What stands between a module's path and the names of its tensors. */
  readonly prefix: string;
}

/** Options that do not go together. */
export interface ConfigFault {
  /** The options that it is about. */
  readonly keys: readonly string[];
  readonly text: string;
  /** Options with values that mend it; undefined for one that is left out. */
  readonly fix?: Readonly<Record<string, unknown>>;
}

/** A method of parameter-efficient fine-tuning. */
export interface MethodDefinition<O extends Options = Options, K extends SiteKind = SiteKind> {
  /** Its `peft_type`. */
  readonly name: string;
  readonly title: string;
  readonly paper: string;
  /** What it computes, in a line. */
  readonly formula: string;
  /** Trained parameters at one place, as a formula in a line. */
  readonly parameters: string;
  /** When a practitioner should choose it, in a sentence or two. */
  readonly advice: string;
  /** Kinds of places it can hold on to. */
  readonly sites: readonly K[];
  /** Options of the method, declared once for TypeScript, files, flags, checks and documentation. */
  readonly config: O;
  /** Keys of `adapter_config.json` that Hugging Face writes and this method has no use for, with the value that means off. */
  readonly inert: Readonly<Record<string, unknown>>;
  /** Options of other implementations that this one has not, each with what to do instead. */
  readonly refuses?: Readonly<Record<string, string>>;
  /** Whether a config of AdapterHub (`BnConfig`, keys as in files) is one of this method. */
  adapterHub?(config: Readonly<Record<string, unknown>>): boolean;
  /** Options that Hugging Face's config does not have; they are written only where they are set. */
  readonly ownOptions?: readonly string[];
  /**
   * Options that take their default from the model's `defaultTargets`: the first of these tables that the model has. Without it,
   * `targetModules` comes from the table of the method's own name.
   */
  readonly modelDefaults?: Readonly<Record<string, readonly string[]>>;
  /** Whether it holds on to every place of its kinds where `targetModules` is left out. */
  readonly everywhere?: boolean;
  /** Whether it holds on to a place with these options; to every place of its kinds unless said otherwise. */
  holds?(site: Extract<Site, { readonly kind: K }>, config: OptionValues<O>): boolean;
  /** Whether it also holds on to modules that share a parameter with a target, such as a head with the embedding. */
  readonly followsTies?: boolean;
  /** Whether a rank r above the smaller side of a layer adds nothing. */
  readonly lowRank?: boolean;
  /** Options that replace another one at single modules, such as `{ rankPattern: "r" }`. */
  readonly patterns?: Readonly<Record<string, string>>;
  /** Whether it works without reading the weights of the base, which then may be quantised. */
  readonly quantisedBase: boolean;
  /** Faults of options that do not go together. */
  check?(config: OptionValues<O>): readonly ConfigFault[];
  /** Trained parameters at a place. */
  parameterCount(place: Place<Extract<Site, { readonly kind: K }>>, config: OptionValues<O>): number;
  /** Trained parameters that all of its places have in common. */
  sharedParameterCount?(site: Extract<Site, { readonly kind: K }>, config: OptionValues<O>): number;
  /** Whether a fresh adapter leaves the model's outputs as they are. */
  identityStart(config: OptionValues<O>): boolean;
  /** Whether the adapter can be written into the weights. */
  mergeable(config: OptionValues<O>): boolean;
  /** Path of a file with tensors that its start is made of; undefined where it needs none. */
  startFile?(config: OptionValues<O>): string | undefined;
  /** What has to be known about the data before the adapter is attached; undefined where nothing has to. */
  calibration?(config: OptionValues<O>, targets: readonly Target<OptionValues<O>>[]): Calibration | undefined;
  /** Other methods that its options ask for at other places. */
  companions?(config: OptionValues<O>): readonly Companion[];
  attach(
    site: Extract<Site, { readonly kind: K }>,
    config: OptionValues<O>,
    scope: K extends "model" ? ModelScope : Scope,
  ): Adapter;
}

/**
 * Declares a method.
 *
 * @example
 * export const lora = defineMethod({ name: "LORA", title: "LoRA", sites: ["linear"], config: { r: integer({ ... }) }, ... });
 */
export function defineMethod<
  const O extends Readonly<Record<string, Option<never>>> | Options,
  const K extends SiteKind,
>(definition: MethodDefinition<O & Options, K>): MethodDefinition<O & Options, K> {
  return definition;
}
