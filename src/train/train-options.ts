import { alias, choice, flag, integer, number, optionalInteger, type OptionValues } from "../base/option.js";
import { optimizerNames } from "./optimizers.js";
import { scheduleNames } from "./schedule.js";

/** Settings of a training run, declared once for TypeScript, run files and flags. */
export const trainOptions = {
  epochs: alias(
    number({ default: 3, above: 0, doc: "Passes over the data set; a part of one is allowed." }),
    "numTrainEpochs",
  ),
  maxSteps: optionalInteger({ min: 1, doc: "Optimizer steps; replaces epochs." }),
  batchSize: alias(
    integer({ default: 4, min: 1, doc: "Rows of one forward and backward pass." }),
    "perDeviceTrainBatchSize",
  ),
  gradientAccumulation: alias(
    integer({ default: 1, min: 1, doc: "Batches whose gradients make one step." }),
    "gradientAccumulationSteps",
  ),
  optim: choice({
    values: optimizerNames,
    default: "adamw",
    doc: "AdamW, or AdamW with running means in 8 bits (adamw_8bit); adamw_torch and adamw_bnb_8bit are Hugging Face's names for them.",
  }),
  learningRate: number({ default: 2e-4, min: 0, doc: "Peak learning rate of AdamW." }),
  lrSchedulerType: choice({
    values: scheduleNames,
    default: "linear",
    doc: "Course of the learning rate after warm-up.",
  }),
  warmupSteps: integer({ default: 0, min: 0, doc: "Steps in which the learning rate rises from zero." }),
  warmupRatio: number({
    default: 0,
    min: 0,
    max: 1,
    doc: "Warm-up as a share of all steps, where warmupSteps is 0.",
  }),
  weightDecay: number({ default: 0, min: 0, doc: "Decoupled weight decay of AdamW." }),
  adamBeta1: number({ default: 0.9, min: 0, below: 1, doc: "AdamW: decay of the mean of gradients." }),
  adamBeta2: number({
    default: 0.999,
    min: 0,
    below: 1,
    doc: "AdamW: decay of the mean of squared gradients.",
  }),
  adamEpsilon: number({ default: 1e-8, above: 0, doc: "AdamW: added to the root of the second mean." }),
  maxGradNorm: number({
    default: 1,
    min: 0,
    doc: "Gradients are scaled down to this norm; 0 switches it off.",
  }),
  shuffle: flag({ default: true, doc: "A new order of the rows for every epoch, from the seed." }),
  groupByLength: flag({
    default: false,
    doc: "Steps of rows of like length, the longest row in the first step.",
  }),
  packing: flag({
    default: false,
    doc: "Puts short rows together, up to maxLength tokens; batchSize then counts these. Rows do not see each other.",
  }),
  seed: integer({
    default: 0,
    min: 0,
    doc: "Seed of the order, the split, dropout and the adapter's start.",
  }),
  evalSteps: integer({ default: 0, min: 0, doc: "Evaluates every so many steps; 0: after each epoch." }),
  evalBatchSize: alias(
    integer({ default: 8, min: 1, doc: "Rows of one evaluation pass." }),
    "perDeviceEvalBatchSize",
  ),
};

export type TrainOptions = OptionValues<typeof trainOptions>;
