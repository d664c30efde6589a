import type { Option, Options, OptionValues } from "../base/option.js";
import type { Random } from "../base/random.js";
import type { Parameter } from "../nn/parameter.js";
import type { Attachment, Site, SiteKind } from "../nn/site.js";

/** A size that graphs keep symbolic, so that adapters of any such size share one compiled graph. */
export interface SymbolicSize {
  readonly symbol: string;
  readonly size: number;
}

/** Fills a fresh tensor. */
export type Initialiser = (data: Float32Array, random: Random) => void;

/** What a method gets to make its tensors with. */
export interface Scope {
  /** Path of the module that the adapter holds on to. */
  readonly path: string;
  /**
   * A trained tensor.
   *
   * @param key - its name in adapter files after the module's path, such as `lora_A.weight`.
   */
  param(key: string, shape: readonly (number | SymbolicSize)[], init: Initialiser): Parameter;
  /** A number that graphs read when they run, so that its value is no part of them. It is not saved. */
  scalar(value: number): Parameter;
}

/** What a method answers at a site. */
export type Adapter = Pick<Attachment, "forward" | "replaces" | "merged">;

/** A method of parameter-efficient fine-tuning. */
export interface MethodDefinition<O extends Options = Options, K extends SiteKind = SiteKind> {
  /** Its `peft_type`. */
  readonly name: string;
  readonly title: string;
  readonly paper: string;
  /** Kinds of places it can hold on to. */
  readonly sites: readonly K[];
  /** Options of the method, declared once for TypeScript, files, flags, checks and documentation. */
  readonly config: O;
  /** Keys of `adapter_config.json` that Hugging Face writes and this method has no use for, with the value that means off. */
  readonly inert: Readonly<Record<string, unknown>>;
  attach(site: Extract<Site, { readonly kind: K }>, config: OptionValues<O>, scope: Scope): Adapter;
}

/** Options that every method has. */
export interface CommonConfig {
  readonly targetModules?: string | readonly string[] | undefined;
  readonly excludeModules?: string | readonly string[] | undefined;
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
