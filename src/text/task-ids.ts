import { ConfigError } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import { suggest } from "../base/suggest.js";
import type { EncodedExample } from "./encode-example.js";
import type { Columns, Row } from "./rows.js";

/** The tasks that an adapter knows, such as those of multitask prompt tuning. */
export interface TaskSet {
  readonly count: number;
  /** Names of the tasks by number, where rows name them. */
  readonly names?: readonly string[] | undefined;
}

const COLUMNS = ["task_id", "task_ids"] as const;

/** What a row says of its task: a number or a name in the column `task_id`, or in one that stands for it. */
function taskOf({ value }: Row, columns: Columns): unknown {
  const names = [...COLUMNS.flatMap((name) => columns[name] ?? []), ...COLUMNS];
  const name = names.find((one) => one in value);
  return name === undefined ? undefined : value[name];
}

const isMissing = (task: unknown): boolean => task === undefined || task === null || task === "";

/** A whole number that a row says, in digits where its file holds texts alone. */
function wholeNumber(task: unknown): number | undefined {
  const number = typeof task === "string" && /^\d+$/.test(task.trim()) ? Number(task) : task;
  return Number.isInteger(number) ? (number as number) : undefined;
}

/**
 * The tasks of rows. Where they are named and not numbered, names get their numbers in alphabetical order.
 *
 * @param count - tasks that the adapter knows
 * @throws {@link ConfigError} `task_count` where rows name more
 * @example
 * const tasks = findTasks(rows, 3);
 * const dataset = encodeDataset(rows, tokenizer, { tasks });
 */
export function findTasks(rows: readonly Row[], count: number, columns: Columns = {}): TaskSet {
  const said = rows.map((row) => taskOf(row, columns)).filter((task) => !isMissing(task));
  if (said.every((task) => wholeNumber(task) !== undefined)) return { count };
  const names = [...new Set(said.map(String))].sort();
  if (names.length <= count) return { count, names };
  throw new ConfigError({
    code: "task_count",
    summary: `The rows name ${names.length} tasks; the adapter knows ${count}.`,
    facts: [["tasks", names.slice(0, 20).join(", ")]],
    fixes: [`numTasks: ${names.length}   (--num-tasks ${names.length})`],
    fields: { names, count },
  });
}

/** A row of a task, unless it says one itself. */
export const withTask = (row: Row, task: number, columns: Columns = {}): Row =>
  isMissing(taskOf(row, columns)) ? { ...row, value: { ...row.value, [COLUMNS[0]]: task } } : row;

/** The number of a task that is said as a number or a name; a text with what is wrong where there is none. */
export function taskNumber(task: unknown, { count, names }: TaskSet): number | string {
  const number = wholeNumber(task);
  const id = names === undefined ? number : names.indexOf(String(task));
  if (id !== undefined && id >= 0 && id < count) return id;
  const shown = JSON.stringify(task);
  if (names === undefined) return `${shown} is none of the tasks 0 to ${count - 1}`;
  // Where names are known, a number is still a number.
  if (number !== undefined && number >= 0 && number < names.length) return number;
  const [near] = number === undefined ? suggest(String(task), [...names]) : [];
  return `${shown} is none of the tasks ${names.join(", ")}${near === undefined ? "" : ` (${near}?)`}`;
}

/**
 * Encoded rows with the numbers of their tasks. Rows need not say a task where there is one alone.
 *
 * @param encoded - one for each row, in order
 * @throws {@link ConfigError} `task_id` with every row that says none, or one that the adapter does not know
 */
export function withTasks(
  encoded: readonly EncodedExample[],
  rows: readonly Row[],
  { tasks, columns = {} }: { readonly tasks?: TaskSet | undefined; readonly columns?: Columns | undefined },
): readonly EncodedExample[] {
  if (tasks === undefined) return encoded;
  const faults: string[] = [];
  const found = encoded.map((example, i) => {
    const task = taskOf(rows[i]!, columns);
    if (isMissing(task) && tasks.count === 1) return { ...example, taskId: 0 };
    const taskId = isMissing(task) ? "it has no task_id" : taskNumber(task, tasks);
    if (typeof taskId === "number") return { ...example, taskId };
    faults.push(`${example.source}: ${taskId}`);
    return example;
  });
  if (faults.length === 0) return found;
  throw new ConfigError({
    code: "task_id",
    summary: `${faults.length} of ${rows.length} rows say no task that the adapter knows.`,
    facts: [
      ["rows", firstFew(faults)],
      ["tasks", tasks.names?.join(", ") ?? (tasks.count === 1 ? "0" : `0 to ${tasks.count - 1}`)],
    ],
    fixes: [
      'give every row a task_id, or name the column that holds it: { task_id: "kind" }   (--columns task_id=kind)',
    ],
    fields: { faults, tasks },
  });
}

/** The tasks of a batch of examples, where they have any. */
export const taskIdsOf = (examples: readonly EncodedExample[]): { readonly taskIds?: readonly number[] } =>
  examples.every(({ taskId }) => taskId === undefined)
    ? {}
    : { taskIds: examples.map(({ taskId }) => taskId ?? 0) };
