import { ConfigError } from "../base/errors.js";
import type { Initialiser } from "../base/fill.js";
import { asFloat32 } from "../base/half.js";
import type { StartTensors } from "./method.js";

/** Starts that are made of what was trained on other tasks. */
export const SOURCE_STARTS = ["AVERAGE_SOURCE_TASKS", "EXACT_SOURCE_TASK", "ONLY_SOURCE_SHARED"] as const;

export type SourceStart = (typeof SOURCE_STARTS)[number];

export const isSourceStart = (name: string): name is SourceStart =>
  (SOURCE_STARTS as readonly string[]).includes(name);

interface Sizes {
  /** Virtual tokens of all stacks. */
  readonly count: number;
  readonly ranks: number;
  readonly width: number;
  /** Virtual tokens of a stack, for messages. */
  readonly numVirtualTokens: number;
}

/** A tensor of the source, of the sizes that the adapter needs; sizes that are free are undefined. */
function tensorOf(
  { path, tensors }: StartTensors,
  name: string,
  shape: readonly (number | undefined)[],
  fix: string,
): { readonly data: Float32Array; readonly dims: readonly number[] } {
  const tensor = tensors.get(name);
  if (tensor === undefined) {
    throw new ConfigError({
      code: "start_tensor_missing",
      summary: `${path} holds no ${name}, which the start is made of.`,
      facts: [["it holds", [...tensors.keys()].slice(0, 6).join(", ") || "nothing"]],
      fixes: ["give the folder or the file of an adapter of multitask prompt tuning"],
      fields: { path, name },
    });
  }
  const { dims } = tensor;
  if (dims.length === shape.length && shape.every((size, i) => size === undefined || size === dims[i]))
    return { data: asFloat32(tensor), dims };
  const expected = shape.map((size) => size ?? "any").join(", ");
  throw new ConfigError({
    code: "start_tensor_shape",
    summary: `${path}: ${name} is of shape (${dims.join(", ")}); (${expected}) was expected.`,
    fixes: [fix, "the base that the source was trained on"],
    fields: { path, name, shape: dims, expected: shape },
  });
}

/** Task `task` of a factor (tasks, a, b), or the mean of all. */
function ofTasks(data: Float32Array, tasks: number, task: number | undefined): Float32Array {
  const size = data.length / tasks;
  if (task !== undefined) return data.slice(task * size, (task + 1) * size);
  const mean = new Float32Array(size);
  for (let i = 0; i < size; i += 1) {
    let sum = 0;
    for (let t = 0; t < tasks; t += 1) sum += data[t * size + i]!;
    mean[i] = sum / tasks;
  }
  return mean;
}

/**
 * The shared virtual tokens of a source, and where the start wants them the factors of one of its tasks or their mean, which every task
 * of the adapter begins with.
 *
 * @throws {@link ConfigError} `start_tensor_missing`, `start_tensor_shape` or `start_task`
 */
export function sourceStart(
  start: SourceStart,
  task: number,
  source: StartTensors,
  { count, ranks, width, numVirtualTokens }: Sizes,
): { readonly prompt: Initialiser; readonly columns?: Initialiser; readonly rows?: Initialiser } {
  const found = source.tensors.get("prompt_embeddings")?.dims[0] ?? count;
  const tokens = `numVirtualTokens: ${Math.max(1, Math.round((found * numVirtualTokens) / count))}`;
  const prompt = tensorOf(source, "prompt_embeddings", [count, width], tokens).data.slice();
  const shared: Initialiser = (data) => data.set(prompt);
  if (start === "ONLY_SOURCE_SHARED") return { prompt: shared };
  const rank = `numRanks: ${source.tensors.get("prefix_task_cols")?.dims[2] ?? ranks}`;
  const columns = tensorOf(source, "prefix_task_cols", [undefined, count, ranks], rank);
  const rows = tensorOf(source, "prefix_task_rows", [columns.dims[0], ranks, width], rank);
  const tasks = columns.dims[0]!;
  if (start === "EXACT_SOURCE_TASK" && task >= tasks) {
    throw new ConfigError({
      code: "start_task",
      summary: `promptTuningInitTask: ${source.path} knows the tasks 0 to ${tasks - 1}; there is no task ${task}.`,
      fixes: [`promptTuningInitTask: ${tasks - 1}`, 'promptTuningInit: "AVERAGE_SOURCE_TASKS"'],
      fields: { path: source.path, task, tasks },
    });
  }
  const chosen = start === "EXACT_SOURCE_TASK" ? task : undefined;
  const each = ({ data }: { readonly data: Float32Array }): Initialiser => {
    const one = ofTasks(data, tasks, chosen);
    return (all) => {
      for (let at = 0; at < all.length; at += one.length) all.set(one, at);
    };
  };
  return { prompt: shared, columns: each(columns), rows: each(rows) };
}
