import type { PretrainedModel } from "../auto/pretrained-model.js";
import type { PeftConfig } from "../methods/index.js";
import { attachAdapter } from "./adapter.js";
import { type PeftWarning, planAdapter } from "./adapter-plan.js";
import type { AttachedAdapter } from "./attached-adapter.js";
import { type Calibrated, type CalibrationBatches, calibrationMissing, calibrationOf } from "./calibrate.js";
import { attachToModel, isForModel } from "./model-adapter.js";
import { startFileOf, startFileUnread } from "./start-tensors.js";

export interface AttachOptions {
  /** @defaultValue "default" */
  readonly adapterName?: string | undefined;
  /** Seed of the random start. @defaultValue 0 */
  readonly seed?: number | undefined;
}

export interface CalibratedAttachOptions extends AttachOptions {
  /** Batches that a start looks at which depends on data, such as `initLoraWeights: "eva"`. */
  readonly calibration?: CalibrationBatches | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Attaches a fresh adapter of a config.
 *
 * @throws {@link ConfigError} `start_file_unread` where its start is made of a file; `calibration_missing` where its start looks at data and nothing was found out about them
 */
export function attachFresh(
  base: PretrainedModel,
  config: PeftConfig,
  start: {
    readonly name: string;
    readonly seed: number;
    /** What was found out about the data. */
    readonly calibrated?: Calibrated | undefined;
  },
): { readonly adapter: AttachedAdapter; readonly warnings: readonly PeftWarning[] } {
  const { name, seed, calibrated } = start;
  const tables = base.definition.defaultTargets;
  const plan = calibrated?.plan ?? planAdapter(base, config);
  if (isForModel(plan.method)) {
    const startTensors = calibrated?.startTensors;
    const path = startFileOf(plan);
    if (path !== undefined && startTensors === undefined) throw startFileUnread(path);
    return { adapter: attachToModel(base, plan, { name, seed, startTensors }), warnings: plan.warnings };
  }
  const calibration = calibrated === undefined ? calibrationOf(plan) : undefined;
  if (calibration !== undefined) throw calibrationMissing(calibration);
  const { report, subject, matches, warnings } = plan;
  const options = { name, seed, found: calibrated?.found, tables, report, subject, root: base.module };
  return { adapter: attachAdapter(plan.method, plan.config, matches, options), warnings };
}
