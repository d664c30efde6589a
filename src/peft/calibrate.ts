import type { ForwardOptions, PretrainedModel } from "../auto/pretrained-model.js";
import { ConfigError } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import { zeros } from "../base/host-tensor.js";
import type { PeftConfig } from "../methods/index.js";
import type { Calibration, Place, StartTensors, Target } from "../methods/method.js";
import type { Module } from "../nn/module.js";
import type { Observer } from "../nn/observe.js";
import { Parameter } from "../nn/parameter.js";
import type { Attachment, LinearSite } from "../nn/site.js";
import { tokensOver } from "../nn/stage.js";
import type { LabelledTokens, PackedBatch, TaskBatch } from "../text/collate.js";
import { type AdapterPlan, type PeftWarning, planAdapter } from "./adapter-plan.js";
import { placeAt } from "./adapter-report.js";
import { readStartTensors } from "./start-tensors.js";

/** A batch that a calibration looks at. */
export type CalibrationBatch = TaskBatch | PackedBatch;

/** Batches for a calibration; a function is called only where data are looked at. */
export type CalibrationBatches =
  | Iterable<CalibrationBatch>
  | AsyncIterable<CalibrationBatch>
  | (() => Iterable<CalibrationBatch> | AsyncIterable<CalibrationBatch>);

/** A config that data have settled, and what was found out. */
export interface Calibrated {
  readonly config: PeftConfig;
  /** What attaching it will do; absent where data changed the config, and for a method of the model as a whole. */
  readonly plan?: AdapterPlan | undefined;
  readonly found: ReadonlyMap<string, unknown>;
  /** What the method's `startFile` holds. */
  readonly startTensors?: StartTensors | undefined;
  readonly warnings: readonly PeftWarning[];
}

/** The places of a plan, each with the options that hold there. */
function targetsOf({ report, matches, subject, method, config }: AdapterPlan): Target[] {
  return report.targets.map((module, i) => ({
    place: placeAt(subject, module, method)!,
    config: { ...config, ...matches.targets[i]!.values },
  }));
}

/** What a plan has to know about the data; undefined where nothing has to be. */
export function calibrationOf(plan: AdapterPlan): Calibration | undefined {
  return plan.method.calibration?.(plan.config, targetsOf(plan));
}

/** The error for a config that looks at data where there are none. */
export function calibrationMissing({ reason }: Calibration): ConfigError {
  return new ConfigError({
    code: "calibration_missing",
    summary: `${reason} looks at data before the adapter is attached, and no batches were given.`,
    fixes: [
      "getPeftModel(base, config, { calibration: batches })",
      "peft train, which takes them from its data",
      "another start, which looks at no data: initLoraWeights: true",
    ],
    fields: { reason },
  });
}

/** Runs the batches forward and shows what reaches the places. */
async function readInputs(
  base: PretrainedModel,
  calibration: Calibration,
  batches: readonly CalibrationBatch[],
  { signal }: ForwardOptions,
): Promise<void> {
  const places = new Map<Module, Place>(calibration.places.map((place) => [place.site.module, place]));
  const unseen = new Set(calibration.places);
  let current: LabelledTokens;
  const observer: Observer = {
    modules: new Set(places.keys()),
    take(modules, { data, dims }, over) {
      const here = modules.map((module) => places.get(module)!);
      for (const place of here) unseen.delete(place);
      const { rowOffsets } = tokensOver(current, over)!;
      // A source is read, and nothing of it predicted.
      const labels = over === "batch" ? current.labels : undefined;
      calibration.inputs?.(here, { data: data as Float32Array, width: dims[1]!, rowOffsets, labels });
    },
  };
  for (let round = 0; ; round += 1) {
    for (const batch of batches) {
      if (calibration.enough?.(round) === true) return;
      current = "rowOffsets" in batch ? batch : base.pack(batch);
      const pass = await base.runner.forward(current, { observer, signal });
      pass.release();
      if (unseen.size > 0) throw notReached(calibration, [...unseen]);
    }
    if (calibration.enough === undefined) return;
  }
}

function notReached({ reason }: Calibration, unseen: readonly Place[]): ConfigError {
  const paths = unseen.map(({ path }) => path);
  return new ConfigError({
    code: "calibration_not_reached",
    summary: `${reason} cannot look at the inputs of ${paths[0]}${paths.length > 1 ? ` and ${paths.length - 1} more` : ""}: the head reads them, and calibration runs the body alone.`,
    facts: [["modules", firstFew(paths)]],
    fixes: [
      `excludeModules: [${paths
        .slice(0, 3)
        .map((path) => JSON.stringify(path))
        .join(", ")}]`,
    ],
    fields: { paths },
  });
}

/** Something added to a weight whose gradient is that of the weight: zero, and one tensor of zeros for all of a size. */
function probe(
  site: LinearSite,
  zero: Map<string, ReturnType<typeof zeros>>,
): { parameter: Parameter; attachment: Attachment } {
  const dims = [site.outFeatures, site.inFeatures];
  const key = dims.join();
  const tensor = zero.get(key) ?? zeros("float32", dims);
  zero.set(key, tensor);
  const parameter = new Parameter(dims, { trainable: true });
  parameter.name = `${site.module.path}.probe`;
  parameter.assign(tensor);
  const attachment: Attachment = {
    adapter: "calibration",
    active: true,
    replaces: { weight: ({ f, base, p }) => f.add(base, p(parameter)) },
  };
  return { parameter, attachment };
}

/** Runs the batches forward and backward and shows the mean gradients of the weights. */
async function readGradients(
  base: PretrainedModel,
  calibration: Calibration,
  batches: readonly CalibrationBatch[],
  { signal }: ForwardOptions,
): Promise<void> {
  const zero = new Map<string, ReturnType<typeof zeros>>();
  const probes = calibration.places.map((place) => ({ place, ...probe(place.site as LinearSite, zero) }));
  for (const { place, attachment } of probes) place.site.module.attachments.push(attachment);
  base.structureChanged();
  try {
    let seen = 0;
    for (const batch of batches) {
      const { supervisedTokens } = await base.backward(batch, { signal });
      if (supervisedTokens > 0) seen += 1;
    }
    if (seen === 0) {
      throw new ConfigError({
        code: "calibration_labels",
        summary: `${calibration.reason} needs gradients, and none of the ${batches.length} batches has a label to learn.`,
        fixes: ["calibration batches with labels, as for training"],
        fields: { batches: batches.length },
      });
    }
    for (const { place, parameter } of probes) {
      const gradient = parameter.grad ?? new Float32Array(parameter.size);
      parameter.grad = undefined;
      for (let i = 0; i < gradient.length; i += 1) gradient[i]! /= seen;
      calibration.gradient?.(place, gradient);
    }
  } finally {
    for (const { place, attachment } of probes) {
      const { module } = place.site;
      module.attachments = module.attachments.filter((one) => one !== attachment);
    }
    base.structureChanged();
  }
}

/**
 * Looks at data as a config asks for it. The adapters of the model have to be off.
 *
 * @throws {@link ConfigError} `calibration_missing`, `calibration_empty` and what the method says of the data
 */
export async function calibrate(
  base: PretrainedModel,
  config: PeftConfig,
  given: CalibrationBatches | undefined,
  options: ForwardOptions = {},
): Promise<Calibrated> {
  const plan = planAdapter(base, config);
  const calibration = calibrationOf(plan);
  if (calibration === undefined) {
    const startTensors = await readStartTensors(plan);
    return { config, plan, found: new Map(), startTensors, warnings: unused(given, config) };
  }
  if (given === undefined) throw calibrationMissing(calibration);
  const batches: CalibrationBatch[] = [];
  for await (const batch of typeof given === "function" ? given() : given) batches.push(batch);
  if (batches.length === 0) {
    throw new ConfigError({
      code: "calibration_empty",
      summary: `${calibration.reason} looks at data before the adapter is attached, and calibration holds no batch.`,
      fixes: ["calibration: [{ inputIds: [[...]], labels: [[...]] }, ...]"],
      fields: { reason: calibration.reason },
    });
  }
  if (calibration.places.length > 0) {
    const read = calibration.gradient === undefined ? readInputs : readGradients;
    await read(base, calibration, batches, options);
  }
  const { options: settled = {}, without = [], found, warnings = [] } = calibration.finish();
  const left = new Set(without.map(({ path }) => path));
  const kept = plan.report.targets.filter(({ name }) => !left.has(name)).map(({ name }) => ({ exact: name }));
  const targets =
    left.size === 0
      ? {}
      : {
          targetModules: kept,
          excludeModules: undefined,
          layersToTransform: undefined,
          layersPattern: undefined,
        };
  return { config: { ...config, ...settled, ...targets } as PeftConfig, found, warnings };
}

/** Batches that nobody looks at; a function is there in case somebody does. */
function unused(given: CalibrationBatches | undefined, { peftType }: PeftConfig): PeftWarning[] {
  if (given === undefined || typeof given === "function") return [];
  return [
    {
      code: "calibration_unused",
      text: `calibration has no effect: ${peftType} with these options looks at no data.`,
    },
  ];
}
