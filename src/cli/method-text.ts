import { PeftError } from "../base/errors.js";
import type { Option } from "../base/option.js";
import { describeRange, optionRange } from "../base/option-range.js";
import { toKebabCase } from "../base/spelling.js";
import type { MethodDefinition } from "../methods/method.js";
import type { ModelDefinition } from "../models/model.js";
import type { Module } from "../nn/module.js";
import { estimateParameters } from "../peft/count-parameters.js";
import { formatCount } from "./format.js";

/** A model without weights, to count on. */
export interface CountedModel {
  readonly definition: ModelDefinition;
  readonly module: Module;
  readonly name: string;
}

/** A config with every default, which declarations of what a method can do are asked with. */
const defaults = (method: MethodDefinition): never =>
  Object.fromEntries(Object.entries(method.config).map(([name, option]) => [name, option.default])) as never;

const yesNo = (value: boolean): string => (value ? "yes" : "no");

/** What would be trained on a model, or why nothing can be. */
function countOn(method: MethodDefinition, model: CountedModel): string {
  try {
    const estimate = estimateParameters(method, model);
    return estimate === undefined ? "no such places" : formatCount(estimate);
  } catch (error) {
    if (error instanceof PeftError) return "does not fit";
    throw error;
  }
}

/** The heading of the table of methods, and a row for each. */
export function methodTable(
  methods: Iterable<MethodDefinition>,
  model: CountedModel | undefined,
): [heading: string[], ...rows: string[][]] {
  const heading = ["method", "parameters", "start", "merge", "quantised", "places", "paper"];
  const rows = [...methods].map((method) => [
    method.name,
    model === undefined ? method.parameters : countOn(method, model),
    method.identityStart(defaults(method)) ? "identity" : "changed",
    yesNo(method.mergeable(defaults(method))),
    yesNo(method.quantisedBase),
    (method.sites as readonly string[]).join(", "),
    method.paper,
  ]);
  return [heading, ...rows];
}

/** What the columns of the table mean. */
export const TABLE_NOTES = [
  "start: whether a fresh adapter leaves the outputs of the model as they are",
  "merge: whether it can be written into the weights, so that nothing is left to compute",
  "of every method, rows of one batch can have adapters of their own: adapterNames in forward and evaluate",
  "quantised: whether it works without reading the weights of the base",
];

/** The default of an option as a reader writes it. */
function shownDefault({ default: value }: Option<unknown>): string {
  if (value === undefined) return "";
  if (typeof value === "object" && value !== null && Object.keys(value).length === 0) return "";
  return value === "" ? "" : String(value);
}

/** One option: its name, default, range and sentence. */
export interface OptionLine {
  readonly name: string;
  readonly flag: string;
  readonly default: string;
  readonly range: string;
  readonly doc: string;
}

/** The options of a method, in the order they are declared. */
export const optionLines = (method: MethodDefinition): OptionLine[] =>
  Object.entries(method.config).map(([name, option]) => ({
    name,
    flag: `--${toKebabCase(name)}`,
    default: shownDefault(option),
    range: describeRange(optionRange(option)) || (option.placeholder ?? ""),
    doc: option.doc,
  }));

/** How a method is used, in TypeScript and on the command line. */
export function methodExample(method: MethodDefinition): [typescript: string, command: string] {
  const [name, option] = Object.entries(method.config).find(
    ([, { default: value }]) => typeof value === "number" && value !== 0,
  ) ?? ["", undefined];
  const setting = option === undefined ? "" : `, ${name}: ${String(option.default)}`;
  const flag = option === undefined ? "" : ` --${toKebabCase(name)} ${String(option.default)}`;
  return [
    `const model = await getPeftModel(base, { peftType: "${method.name}"${setting} });`,
    `peft train --model embedded --dataset embedded --peft-type ${method.name}${flag}`,
  ];
}

/** Advice that is about all methods. */
export const GUIDANCE = [
  "Start with LORA, r 8 and loraAlpha 16 (twice r). A rank of 4 to 32 covers most work; when quality is short, adapt more modules first (query and value, then query, key and value, then all-linear) and raise the rank after that.",
  "Dropout 0.05 to 0.2 on small data sets (below some thousand rows), none on large ones.",
  "Learning rates are ten times those of full fine-tuning: 1e-4 to 5e-4 for LORA and its relatives, 1e-3 to 1e-2 for IA3, VERA and other methods that train vectors.",
  "Virtual tokens: 10 to 20 for prompts. They are paid in every forward pass: n prompt tokens make every input n tokens longer; a prefix of n adds n keys and values to every layer, which costs n positions of the key/value cache a row and no feed-forward work.",
  "A method that can be merged costs nothing when serving; one that cannot is kept beside the base, which many adapters then share.",
];
