import { ClozeClassifier } from "../auto/cloze-classifier.js";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import { ConfigError } from "../base/errors.js";
import { readRows } from "../files/data-file.js";
import { TASK_FLAGS } from "../models/model.js";
import { BatchOrder, type BatchOrderOptions } from "../text/batch-order.js";
import { encodeClozeDataset } from "../text/cloze-dataset.js";
import type { ClozeOptions } from "../text/cloze-options.js";
import type { TaskBatch } from "../text/collate.js";
import { type Dataset, encodeDataset } from "../text/dataset.js";
import type { EncodingOptions } from "../text/encode-example.js";
import { findLabels, type LabelSet } from "../text/label-set.js";
import type { Row } from "../text/rows.js";
import { encodeSeq2SeqDataset } from "../text/seq2seq-dataset.js";
import { encodeTaskDataset } from "../text/task-dataset.js";
import { type LabelledTask, readTaskExamples } from "../text/task-rows.js";
import { findTasks, type TaskSet } from "../text/task-ids.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { checkCloze } from "./cloze-run.js";
import { dataPath } from "./embedded.js";
import { formatCount } from "./format.js";
import type { Terminal } from "./terminal.js";

/** Tasks that can be trained, by the name of their flag. A cloze predicts labels with the head for words. */
export const TASKS = { ...TASK_FLAGS, cloze: "CLOZE" } as const;

export type TaskName = keyof typeof TASKS;

type TrainingTask = (typeof TASKS)[TaskName];

/** Rows of a run, before the model is there. */
export interface TrainingRows {
  readonly task: TrainingTask;
  readonly rows: readonly Row[];
  readonly evalRows: readonly Row[] | undefined;
  readonly labels: LabelSet | undefined;
  /** Template and words, where labels are predicted as words. */
  readonly cloze: ClozeOptions | undefined;
}

export interface TrainingData {
  readonly dataset: Dataset;
  readonly evalDataset: Dataset | undefined;
  /** The tasks of the rows, where the adapter has tasks. */
  readonly tasks: TaskSet | undefined;
}

type Run = Readonly<Record<string, unknown>>;

const isLabelled = (task: TrainingTask): task is LabelledTask =>
  task === "SEQ_CLS" || task === "TOKEN_CLS" || task === "QUESTION_ANS";

/** The names that a model has for its labels serve where they hold those of the data. */
function agreed(found: LabelSet, known: readonly string[] | undefined): LabelSet {
  if (known === undefined || found.kind === "regression") return found;
  const numbered = found.names.every((name, i) => name === `LABEL_${i}`);
  const fits = numbered
    ? known.length >= found.names.length
    : found.names.every((name) => known.includes(name));
  return fits ? { ...found, names: known } : found;
}

/** Reads the rows of a run and finds out what their labels are. */
export async function readTrainingRows(
  run: Run,
  known: readonly string[] | undefined,
  cloze?: ClozeOptions,
): Promise<TrainingRows> {
  const task = TASKS[run["task"] as TaskName];
  const rows = await readRows(dataPath(run["dataset"] as string));
  const file = run["evalDataset"] as string | undefined;
  const evalRows = file === undefined ? undefined : await readRows(dataPath(file), "valid");
  const columns = run["columns"] as Record<string, string>;
  if (cloze !== undefined) {
    await checkCloze(run["model"] as string, cloze, [...rows, ...(evalRows ?? [])], columns);
    const names = Object.keys(cloze.verbalizer);
    return { task, rows, evalRows, labels: { kind: "single_label_classification", names }, cloze };
  }
  if (!isLabelled(task)) return { task, rows, evalRows, labels: undefined, cloze };
  const examples = readTaskExamples(task, [...rows, ...(evalRows ?? [])], columns);
  const labels = agreed(findLabels(examples), known);
  if (task !== "QUESTION_ANS" && labels.kind !== "regression" && labels.names.length < 2) {
    throw new ConfigError({
      code: "label_count",
      summary: `All rows have the same label, ${labels.names[0] ?? "none"}: there is nothing to tell apart.`,
      fields: { labels: labels.names },
    });
  }
  return { task, rows, evalRows, labels, cloze };
}

const sourceNotLearnt = (): ConfigError =>
  new ConfigError({
    code: "option_without_effect",
    summary:
      "lossOn all has no effect with the task seq2seq-lm: an encoder reads the source, and nothing predicts it.",
    fixes: ["leave lossOn out: the answers are learnt"],
    fields: { lossOn: "all" },
  });

/** Encodes the rows of a run. */
export function encodeTrainingRows(
  { task, rows, evalRows, labels }: TrainingRows,
  run: Run,
  tokenizer: Tokenizer,
  base: PretrainedModel,
): TrainingData {
  const columns = run["columns"] as Record<string, string>;
  const maxLength = Math.min(run["maxLength"] as number, base.contextLength);
  const lossOn = run["lossOn"] as EncodingOptions["lossOn"];
  if (task === "SEQ_2_SEQ_LM" && lossOn === "all") throw sourceNotLearnt();
  const all = [...rows, ...(evalRows ?? [])];
  const { taskCount } = base;
  const tasks = taskCount === undefined ? undefined : findTasks(all, taskCount, columns);
  const common = { maxLength, columns, tasks };
  const encode = (some: readonly Row[]): Dataset => {
    if (base instanceof ClozeClassifier) return encodeClozeDataset(some, base.cloze, common);
    if (isLabelled(task)) return encodeTaskDataset(some, tokenizer, { task, labels, ...common });
    if (task === "SEQ_2_SEQ_LM") return encodeSeq2SeqDataset(some, tokenizer, common);
    return encodeDataset(some, tokenizer, { lossOn, ...common });
  };
  const whole = encode(rows);
  if (evalRows !== undefined) return { dataset: whole, evalDataset: encode(evalRows), tasks };
  const share = run["valSetSize"] as number;
  if (share === 0) return { dataset: whole, evalDataset: undefined, tasks };
  const { train, heldOut } = whole.split(share, run["seed"] as number);
  return { dataset: train, evalDataset: heldOut, tasks };
}

/** The first batches of a run, which a start that depends on data looks at. */
export function* firstBatches(dataset: Dataset, run: Run): Generator<TaskBatch> {
  let left = run["calibrationBatches"] as number;
  for (const batches of new BatchOrder(dataset, run as unknown as BatchOrderOptions).steps(0)) {
    for (const rows of batches) {
      if (left === 0) return;
      left -= 1;
      yield dataset.collate(rows);
    }
  }
}

/** Says what a run learns from. */
export function describeData(
  terminal: Terminal,
  { dataset, evalDataset, tasks }: TrainingData,
  labels: LabelSet | undefined,
  maxLength: number,
): void {
  const { rows, tokens, trainedTokens, truncatedRows, skippedRows } = dataset.summary;
  const learnt = labels === undefined ? `, ${formatCount(trainedTokens)} of them learnt` : "";
  terminal.line(`data: ${formatCount(rows)} rows, ${formatCount(tokens)} tokens${learnt}`);
  if (labels !== undefined && labels.names.length > 0)
    terminal.line(`labels: ${labels.names.slice(0, 12).join(", ")}${labels.names.length > 12 ? " …" : ""}`);
  if (tasks?.names !== undefined) terminal.line(`tasks: ${tasks.names.join(", ")}`);
  if (evalDataset !== undefined) terminal.line(`held out: ${formatCount(evalDataset.length)} rows`);
  if (truncatedRows > 0)
    terminal.note(`warning: ${truncatedRows} rows were cut to ${maxLength} tokens (--max-length)`);
  if (skippedRows > 0)
    terminal.note(`warning: ${skippedRows} rows were left out: nothing of their answer was left`);
}
