import { AutoModelForCloze } from "../auto/auto-cloze.js";
import { autoModels } from "../auto/auto-model.js";
import type { LabelOptions } from "../auto/label-options.js";
import type { WeightDType } from "../auto/load-weights.js";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import { pickQuantisation } from "../auto/quantisation-options.js";
import type { Arithmetic } from "../nn/runner.js";
import type { LabelSet } from "../text/label-set.js";
import { modelPath } from "./embedded.js";
import type { Terminal } from "./terminal.js";
import type { TrainingRows } from "./training-data.js";

/** What the head of a classifier is given: as many outputs as there are labels, or one for a number. */
const labelOptions = ({ kind, names }: LabelSet): LabelOptions =>
  kind === "regression" ? { numLabels: 1, problemType: kind } : { id2label: names, problemType: kind };

/** Opens the base model of a run with the head for its task. */
export async function openTrainingModel(
  { task, labels, cloze }: TrainingRows,
  run: Readonly<Record<string, unknown>>,
  { terminal, signal }: { readonly terminal: Terminal; readonly signal: AbortSignal },
): Promise<PretrainedModel> {
  const path = modelPath(run["model"] as string);
  const offloads = run["offloadActivations"] as string | undefined;
  const options = {
    seed: run["seed"] as number,
    dtype: run["dtype"] as WeightDType,
    arithmetic: run["arithmetic"] as Arithmetic,
    ...pickQuantisation(run),
    memoryBytes: run["memoryLimit"] as number | undefined,
    activationBytes: run["activationMemory"] as number | undefined,
    offloadFolder: offloads === "none" ? (false as const) : offloads,
    signal,
    onWarning: (text: string) => terminal.note(`warning: ${text}`),
  };
  if (task === "CLOZE") return AutoModelForCloze.fromPretrained(path, { ...options, ...cloze! });
  const named = labels === undefined || task === "QUESTION_ANS" ? {} : labelOptions(labels);
  return autoModels[task].fromPretrained(path, { ...named, ...options });
}
