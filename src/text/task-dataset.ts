import { ConfigError } from "../base/errors.js";
import { type TaskBatch } from "./collate.js";
import { Dataset } from "./dataset.js";
import type { EncodedExample } from "./encode-example.js";
import { encodeTaskExample } from "./encode-task.js";
import { findLabels, type LabelSet } from "./label-set.js";
import type { Columns, Row } from "./rows.js";
import { type LabelledTask, readTaskExamples } from "./task-rows.js";
import { taskIdsOf, type TaskSet, withTasks } from "./task-ids.js";
import type { Tokenizer } from "./tokenizer.js";

export interface TaskEncodingOptions {
  readonly task: LabelledTask;
  /** What the labels are; found in the rows where absent. */
  readonly labels?: LabelSet | undefined;
  /** Longest example in tokens. @defaultValue 512 */
  readonly maxLength?: number | undefined;
  readonly columns?: Columns | undefined;
  /** The tasks of the adapter, where rows say which is theirs. */
  readonly tasks?: TaskSet | undefined;
}

const COLLATE: Readonly<Record<LabelledTask, (examples: readonly EncodedExample[]) => TaskBatch>> = {
  SEQ_CLS: (examples) => ({
    ...inputs(examples),
    labels: examples.every(({ labels }) => labels.length === 1)
      ? examples.map(({ labels }) => labels[0]!)
      : examples.map(({ labels }) => labels),
  }),
  TOKEN_CLS: (examples) => ({ ...inputs(examples), labels: examples.map(({ labels }) => labels) }),
  QUESTION_ANS: (examples) => ({
    ...inputs(examples),
    startPositions: examples.map(({ labels }) => labels[0]!),
    endPositions: examples.map(({ labels }) => labels[1]!),
  }),
};

function inputs(examples: readonly EncodedExample[]): TaskBatch {
  const types = examples.map(({ inputIds, tokenTypeIds }) => tokenTypeIds ?? inputIds.map(() => 0));
  return {
    inputIds: examples.map(({ inputIds }) => inputIds),
    ...(examples.some(({ tokenTypeIds }) => tokenTypeIds !== undefined) ? { tokenTypeIds: types } : {}),
    ...taskIdsOf(examples),
  };
}

/**
 * Encodes rows with labels.
 *
 * @throws {@link ConfigError} `row_shape`, `label_unknown`, `label_kind`, `task_id`, or `nothing_to_train`
 * @example
 * const dataset = encodeTaskDataset(rows, tokenizer, { task: "SEQ_CLS", labels: { kind: "single_label_classification", names: ["bad", "good"] } });
 */
export function encodeTaskDataset(
  rows: readonly Row[],
  tokenizer: Tokenizer,
  options: TaskEncodingOptions,
): Dataset {
  const { task, maxLength = 512, columns, tasks } = options;
  const examples = readTaskExamples(task, rows, columns);
  const labels = options.labels ?? findLabels(examples);
  const plain = examples.map((example) => encodeTaskExample(example, tokenizer, labels, maxLength));
  const encoded = withTasks(plain, rows, { tasks, columns });
  const useful = encoded.filter(({ trained }) => trained > 0);
  if (useful.length > 0) return new Dataset(useful, encoded.length - useful.length, COLLATE[task]);
  throw new ConfigError({
    code: "nothing_to_train",
    summary: `None of the ${encoded.length} rows has a label left to learn.`,
    facts: [["maxLength", `${maxLength} tokens`]],
    fixes: ["raise maxLength   (--max-length)"],
    fields: { rows: encoded.length, maxLength },
  });
}
