import { ConfigError } from "../base/errors.js";
import { suggest } from "../base/suggest.js";
import type { TaskExample } from "./task-rows.js";

/** What the labels of a data set are. */
export interface LabelSet {
  /** `regression` has no names and one output. */
  readonly kind: "single_label_classification" | "multi_label_classification" | "regression";
  readonly names: readonly string[];
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Numbers that a text file holds as text are numbers. */
const plain = (value: unknown): unknown =>
  typeof value === "string" && NUMBER.test(value.trim()) ? Number(value) : value;

const isClass = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0;

function labelsOf(example: TaskExample): readonly unknown[] {
  if (example.task === "TOKEN_CLS") return example.tags;
  if (example.task === "QUESTION_ANS") return [];
  return Array.isArray(example.label) ? (example.label as unknown[]) : [example.label];
}

/** Names of classes from the labels found: numbers name themselves by their place, texts are sorted. */
function classNames(labels: readonly unknown[], source: string): string[] {
  if (labels.every(isClass)) {
    const most = labels.reduce((top, label) => Math.max(top, label), 0);
    return Array.from({ length: most + 1 }, (_, i) => `LABEL_${i}`);
  }
  const strange = labels.find((label) => typeof label !== "string" && typeof label !== "boolean");
  if (strange !== undefined) {
    throw new ConfigError({
      code: "label_kind",
      summary: `The labels of ${source} are of several kinds: ${JSON.stringify(strange)} stands among names.`,
      fixes: ["use names for all labels, or numbers from 0 for all"],
      fields: { label: strange },
    });
  }
  return [...new Set(labels.map(String))].sort();
}

/** Finds out what the labels of a data set are. Numbers with a fraction, or below 0, are to be predicted as numbers. */
export function findLabels(examples: readonly TaskExample[]): LabelSet {
  const labels = examples.flatMap((example) => labelsOf(example).map(plain));
  const source = examples[0]?.source ?? "the data set";
  const several = examples.some((example) => example.task === "SEQ_CLS" && Array.isArray(example.label));
  if (several) return { kind: "multi_label_classification", names: classNames(labels, source) };
  const numbers = labels.every((label) => typeof label === "number");
  if (examples[0]?.task === "SEQ_CLS" && numbers && labels.length > 0 && !labels.every(isClass))
    return { kind: "regression", names: [] };
  return { kind: "single_label_classification", names: classNames(labels, source) };
}

/**
 * The number of a label.
 *
 * @throws {@link ConfigError} `label_unknown` for a label that the model does not have
 */
export function labelId(value: unknown, names: readonly string[], source: string): number {
  const label = plain(value);
  const id = isClass(label) ? label : names.indexOf(String(value));
  if (id >= 0 && id < names.length) return id;
  const near = suggest(String(value), [...names]);
  throw new ConfigError({
    code: "label_unknown",
    summary: `${source}: the label ${JSON.stringify(value)} is none of the ${names.length} labels of the model.`,
    facts: [
      ...(near.length > 0 ? [["nearest", near.join(", ")] as const] : []),
      ["labels", names.slice(0, 20).join(", ")],
    ],
    fixes: ["mend the row, or train with rows that have every label"],
    fields: { source, label: value, labels: [...names] },
  });
}

/** The number that a row gives where one is to be predicted. */
export function labelNumber(value: unknown, source: string): number {
  const number = plain(value);
  if (typeof number === "number") return number;
  throw new ConfigError({
    code: "label_kind",
    summary: `${source}: the label ${JSON.stringify(value)} is no number; the model predicts one.`,
    fields: { source, label: value },
  });
}
