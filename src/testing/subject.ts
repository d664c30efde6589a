import type { PretrainedModel } from "../auto/pretrained-model.js";
import { Random } from "../base/random.js";
import type { PeftConfig } from "../methods/index.js";
import type { MethodDefinition } from "../methods/method.js";
import type { Parameter } from "../nn/parameter.js";
import { PeftModel } from "../peft/peft-model.js";
import { AdamW } from "../train/adamw.js";
import { fingerprint } from "../train/verify.js";
import { toyBatch } from "./tiny-model.js";

/** Models that a check can ask for. */
export interface Models {
  /** The model that checks share: they have to leave it as it was. */
  shared(): Promise<PretrainedModel>;
  /** The same weights, with no activation kept for the backward pass. */
  recomputing(): Promise<PretrainedModel>;
  /** The same weights rounded to bfloat16. */
  bfloat16(): Promise<PretrainedModel>;
  /** The same weights in a model of its own, to be changed and closed. */
  own(): Promise<PretrainedModel>;
  /** A new folder for files, which is removed in the end. */
  folder(): Promise<string>;
}

/** What a short training on the toy batch showed. */
export interface TrainingRecord {
  readonly lossBefore: number;
  readonly lossAfter: number;
  readonly before: ReadonlyMap<string, Float32Array>;
  readonly after: ReadonlyMap<string, Float32Array>;
  /** The largest |gradient| of each trained tensor over all steps. */
  readonly gradients: ReadonlyMap<string, number>;
  /** Parameters of the base that got a gradient. */
  readonly strayGradients: readonly string[];
  /** Parameters of the base whose bytes changed. */
  readonly changedBase: readonly string[];
}

/** Steps of the training that checks look at. */
export const STEPS = 5;

const trainedTensors = (model: PeftModel): [string, Parameter][] => {
  const { tensors, fixed } = model.adapter();
  return [...tensors].filter(([, parameter]) => !fixed.has(parameter));
};

/** Moves every trained tensor of the active adapter away from where it started, as training would. */
export function perturb(model: PeftModel, seed = 1): void {
  const random = new Random(seed);
  for (const [, { data }] of trainedTensors(model))
    for (let i = 0; i < data.length; i += 1) data[i]! += 0.05 * random.normal();
}

/** The scores of a model for the toy batch. */
export async function logitsOf(model: PretrainedModel | PeftModel): Promise<Float32Array> {
  const base = model instanceof PeftModel ? model.base : model;
  const output = await base.forward(toyBatch(base));
  return (output as unknown as { readonly logits: { readonly data: Float32Array } }).logits.data;
}

/** A few steps of AdamW on the toy batch. */
export async function trainToy(
  model: PeftModel,
  steps: number,
  learningRate = 3e-3,
): Promise<TrainingRecord> {
  const batch = toyBatch(model.base);
  const mean = async (): Promise<number> => {
    const { loss, supervisedTokens } = await model.evaluate(batch);
    return loss / supervisedTokens;
  };
  const tensors = trainedTensors(model);
  const values = (): Map<string, Float32Array> =>
    new Map(tensors.map(([name, { data }]) => [name, data.slice()]));
  const gradients = new Map(tensors.map(([name]) => [name, 0]));
  const strayGradients = new Set<string>();
  const [before, lossBefore] = [values(), await mean()];
  const prints = (): Map<string, string> =>
    new Map([...model.base.namedParameters()].map(({ name, tensor }) => [name, fingerprint(tensor)]));
  const printsBefore = prints();
  const optimizer = new AdamW(model.trainableParameters(), { learningRate });
  for (let step = 1; step <= steps; step += 1) {
    optimizer.zeroGrad();
    await model.backward(batch, { seed: step });
    for (const [name, { grad }] of tensors) {
      const largest = Math.max(0, ...Array.from(grad ?? [], Math.abs));
      gradients.set(name, Math.max(gradients.get(name)!, largest));
    }
    for (const { name, grad } of model.base.namedParameters())
      if (grad !== undefined) strayGradients.add(name);
    await optimizer.step();
    model.afterStep({ step, totalSteps: steps });
  }
  optimizer.zeroGrad();
  const printsAfter = prints();
  return {
    lossBefore,
    lossAfter: await mean(),
    before,
    after: values(),
    gradients,
    strayGradients: [...strayGradients],
    changedBase: [...printsBefore]
      .filter(([name, print]) => printsAfter.get(name) !== print)
      .map(([name]) => name),
  };
}

/** A method with options on a model: what a check looks at. */
export class Subject {
  #training: Promise<TrainingRecord> | undefined;

  constructor(
    readonly method: MethodDefinition,
    readonly options: Readonly<Record<string, unknown>>,
    readonly models: Models,
    readonly isVariant = false,
  ) {}

  /** The config as a user writes it. Where a model has no default targets, every linear layer is adapted. */
  config(base: PretrainedModel, more: Readonly<Record<string, unknown>> = {}): PeftConfig {
    const written = { ...this.options, ...more };
    const tables = (this.method.modelDefaults?.["targetModules"] ?? [this.method.name]).filter(
      (table) => base.definition.defaultTargets[table] !== undefined,
    );
    const open = "targetModules" in this.method.config && written["targetModules"] === undefined;
    const targets =
      open && tables.length === 0 && this.method.everywhere !== true ? { targetModules: "all-linear" } : {};
    return { ...targets, ...written, peftType: this.method.name } as unknown as PeftConfig;
  }

  /** Puts the method on a model for as long as `body` runs. */
  async attached<T>(
    base: PretrainedModel,
    body: (model: PeftModel) => Promise<T>,
    options: { readonly seed?: number; readonly more?: Readonly<Record<string, unknown>> } = {},
  ): Promise<T> {
    const model = new PeftModel(base);
    try {
      model.addAdapter(this.config(base, options.more), { seed: options.seed ?? 0 });
      return await body(model);
    } finally {
      for (const name of model.adapterNames) model.deleteAdapter(name);
    }
  }

  /** One training on the shared model, whoever asks first. */
  training(): Promise<TrainingRecord> {
    this.#training ??= this.models
      .shared()
      .then((base) => this.attached(base, (model) => trainToy(model, STEPS)));
    return this.#training;
  }
}
