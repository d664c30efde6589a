import { firstFew } from "../base/first-few.js";
import { suggest } from "../base/suggest.js";
import { type Cloze, columnFaults, labelsOf } from "./cloze.js";
import { assertNoClozeFaults, type ClozeFault } from "./cloze-fault.js";
import type { TaskBatch } from "./collate.js";
import { Dataset } from "./dataset.js";
import { encodeCloze } from "./encode-cloze.js";
import type { EncodedExample } from "./encode-example.js";
import type { Columns, Row } from "./rows.js";
import { taskIdsOf, type TaskSet, withTasks } from "./task-ids.js";

export interface ClozeEncodingOptions {
  /** Longest example in tokens, with its template; what is over is cut off the texts. @defaultValue 512 */
  readonly maxLength?: number | undefined;
  readonly columns?: Columns | undefined;
  /** The tasks of the adapter, where rows say which is theirs. */
  readonly tasks?: TaskSet | undefined;
}

type Value = Readonly<Record<string, unknown>>;

/** A batch of clozes, and where their masks are. */
export interface ClozeTaskBatch extends TaskBatch {
  readonly maskPositions?: readonly number[];
}

/** Columns under the names that templates have for them. */
export function renamedColumns({ source, value }: Row, columns: Columns = {}): Row {
  const entries = Object.entries(columns).flatMap(([name, column]) =>
    column in value ? [[name, value[column]] as const] : [],
  );
  return { source, value: { ...value, ...(Object.fromEntries(entries) as Value) } };
}

/** The names of all columns of a data set. */
export const columnNames = (rows: readonly Row[]): Set<string> =>
  new Set(rows.flatMap(({ value }) => Object.keys(value)));

const labelOf = (value: Value): unknown => value["label"] ?? value["labels"];

const isPlain = (value: unknown): value is string | number | boolean =>
  ["string", "number", "boolean"].includes(typeof value);

/** The texts of a row that a template shows, without space around them; or what is wrong with them. */
export function readClozeValues({ columns }: Cloze, value: Value): Map<string, string> | string {
  const wrong = columns.find((name) => !isPlain(value[name]));
  if (wrong !== undefined) return wrong in value ? `its ${wrong} is no text` : `it has no ${wrong}`;
  const values = new Map(columns.map((name) => [name, String(value[name]).trim()]));
  return [...values.values()].every((text) => text === "") ? `its ${columns.join(", ")} is empty` : values;
}

/** Labels of the data that stand for no class, each once. */
function labelFaults(rows: readonly Row[], labels: readonly string[]): ClozeFault[] {
  const unknown = new Map<string, string[]>();
  for (const { source, value } of rows) {
    const label = labelOf(value);
    if (!isPlain(label) || label === "" || labels.includes(String(label))) continue;
    unknown.set(String(label), [...(unknown.get(String(label)) ?? []), source]);
  }
  return [...unknown].map(([label, sources]) => {
    const near = suggest(label, [...labels]);
    const hint = near.length > 0 ? `; nearest ${near.join(", ")}` : `; it has ${labels.join(", ")}`;
    const rest = sources.length > 1 ? ` and ${sources.length - 1} more` : "";
    const text = `has no word for the label ${JSON.stringify(label)} of ${sources[0]}${rest}${hint}`;
    return { where: "verbalizer", text, cure: "give every label of the data a word" };
  });
}

/** Everything that keeps rows from being put into a template. */
export function clozeRowFaults(cloze: Cloze, rows: readonly Row[]): ClozeFault[] {
  const names = columnNames(rows);
  const known = { ...cloze, columns: cloze.columns.filter((name) => names.has(name)) };
  const lines = rows.flatMap(({ source, value }) => {
    const label = labelOf(value);
    const read = readClozeValues(known, value);
    const faults = [
      ...(typeof read === "string" && known.columns.length > 0 ? [read] : []),
      ...(isPlain(label) && label !== ""
        ? []
        : [Array.isArray(label) ? "it has several labels" : "it has no label"]),
    ];
    return faults.map((fault) => `${source}: ${fault}`);
  });
  const cure = 'rename columns: { text: "review", label: "score" }   (--columns text=review,label=score)';
  return [
    // A verbalizer without classes is a fault of its own.
    ...(cloze.classes.length === 0 ? [] : labelFaults(rows, labelsOf(cloze))),
    ...(lines.length === 0 ? [] : [{ where: "rows", text: firstFew(lines), cure } as const]),
  ];
}

/** Examples as a batch, with the columns of their masks. */
function collate(examples: readonly EncodedExample[]): ClozeTaskBatch {
  const typed = examples.some(({ tokenTypeIds }) => tokenTypeIds !== undefined);
  const masked = examples.every(({ maskAt }) => maskAt !== undefined);
  return {
    inputIds: examples.map(({ inputIds }) => inputIds),
    ...(typed
      ? { tokenTypeIds: examples.map(({ inputIds, tokenTypeIds }) => tokenTypeIds ?? inputIds.map(() => 0)) }
      : {}),
    ...(masked ? { maskPositions: examples.map(({ maskAt }) => maskAt!) } : {}),
    labels: examples.map(({ labels }) => labels[0]!),
    ...taskIdsOf(examples),
  };
}

/**
 * Puts rows with labels into the template of a cloze.
 *
 * @throws {@link ConfigError} `cloze` with every fault: columns that no row has, rows without text or label, labels without a word; `task_id`
 * @example
 * const dataset = encodeClozeDataset(rows, model.cloze, { maxLength: 128, columns: { text: "review", label: "score" } });
 */
export function encodeClozeDataset(
  rows: readonly Row[],
  cloze: Cloze,
  options: ClozeEncodingOptions = {},
): Dataset {
  const { maxLength = 512, columns, tasks } = options;
  const named = rows.map((row) => renamedColumns(row, columns));
  assertNoClozeFaults([...columnFaults(cloze.columns, columnNames(named)), ...clozeRowFaults(cloze, named)]);
  const labels = labelsOf(cloze);
  const examples = named.map(({ source, value }): EncodedExample => {
    const values = readClozeValues(cloze, value) as Map<string, string>;
    const label = labels.indexOf(String(labelOf(value)));
    return { source, ...encodeCloze(cloze, values, maxLength), labels: [label], trained: 1 };
  });
  return new Dataset(withTasks(examples, rows, { tasks, columns }), 0, collate);
}
