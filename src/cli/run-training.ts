import { NonFiniteError } from "../base/errors.js";
import type { OutputFolder } from "../files/folder.js";
import type { AdapterLayout } from "../peft/adapter-layout.js";
import type { PeftModel } from "../peft/peft-model.js";
import type { Dataset } from "../text/dataset.js";
import type { TaskSet } from "../text/task-ids.js";
import type { TrainEvent } from "../train/event.js";
import { train, type TrainRunOptions } from "../train/train.js";
import { takeSnapshot, type VerificationReport, verifyOnlyAdapterMoved } from "../train/verify.js";
import { formatCount, formatSeconds } from "./format.js";
import { lossCurve } from "./loss-curve.js";
import { showProgress } from "./progress.js";
import { saveTaskNames } from "./task-names.js";
import type { Terminal } from "./terminal.js";

export interface TrainingRun {
  readonly events: readonly TrainEvent[];
  readonly verification: VerificationReport | undefined;
}

/** What verification found, as a line or a few. */
export function verificationLines(report: VerificationReport): string[] {
  const same = report.baseTensors - report.baseChanged.length;
  const moved = report.adapterTensors - report.adapterUnmoved.length;
  const list = (names: readonly string[]): string =>
    `${names.slice(0, 3).join(", ")}${names.length > 3 ? " …" : ""}`;
  return [
    `verified: ${same} of ${report.baseTensors} base tensors bit-identical, ${moved} of ${report.adapterTensors} adapter tensors moved`,
    ...(report.baseChanged.length > 0 ? [`  changed  ${list(report.baseChanged)}`] : []),
    ...(report.adapterUnmoved.length > 0 ? [`  unmoved  ${list(report.adapterUnmoved)}`] : []),
  ];
}

interface SavedWith {
  readonly title: string;
  readonly tasks: TaskSet | undefined;
  readonly layout: AdapterLayout;
}

async function saveRun(
  model: PeftModel,
  folder: OutputFolder,
  events: readonly TrainEvent[],
  { title, tasks, layout }: SavedWith,
): Promise<void> {
  await model.savePretrained(folder.path, { layout });
  await saveTaskNames(folder, tasks);
  await folder.text("train.jsonl", events.map((event) => `${JSON.stringify(event)}\n`).join(""));
  await folder.text("loss.svg", lossCurve(events, title));
}

/**
 * Trains with everything a person expects around it: a progress line, an event log, a loss curve, and the check that only the
 * adapter moved. The adapter is saved also when the run is ended by Ctrl-C or by a loss that is not finite.
 */
export async function runTraining(
  model: PeftModel,
  dataset: Dataset,
  options: TrainRunOptions & {
    readonly verify: boolean;
    /** The tasks of the rows, whose names are kept beside the adapter. */
    readonly tasks?: TaskSet | undefined;
    readonly folder: OutputFolder;
    /** How the adapter is laid out. @defaultValue "peft" */
    readonly layout?: AdapterLayout;
    readonly terminal: Terminal;
  },
): Promise<TrainingRun> {
  const { verify, folder, terminal, tasks, layout = "peft", ...rest } = options;
  const show = showProgress(terminal);
  const events: TrainEvent[] = [];
  const title = `${model.base.name}: ${model.adapter().method.title}`;
  const snapshot = verify ? takeSnapshot(model) : undefined;
  try {
    for await (const event of train(model, dataset, rest)) {
      events.push(event);
      show(event);
    }
  } catch (error) {
    if (error instanceof NonFiniteError) {
      await saveRun(model, folder, events, { title, tasks, layout });
      terminal.note(`The last good adapter is in ${folder.path}.`);
    }
    throw error;
  }
  await saveRun(model, folder, events, { title, tasks, layout });
  const end = events.at(-1);
  if (end?.type === "end") {
    const stopped = end.reason === "aborted" ? "stopped by Ctrl-C, " : "";
    terminal.line(
      `${stopped}${formatCount(end.steps)} steps, ${formatCount(end.tokens)} tokens in ${formatSeconds(end.elapsedSeconds)}, ` +
        `mean loss ${end.loss.toFixed(4)}`,
    );
  }
  const verification = snapshot === undefined ? undefined : verifyOnlyAdapterMoved(model, snapshot);
  if (verification !== undefined) for (const line of verificationLines(verification)) terminal.line(line);
  return { events, verification };
}
