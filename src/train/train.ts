import { NonFiniteError } from "../base/errors.js";
import { readOptions } from "../base/read-options.js";
import type { Answer, Answers } from "../auto/answers.js";
import type { BackwardOptions, BackwardOutput, Evaluation } from "../auto/pretrained-model.js";
import type { Parameter } from "../nn/parameter.js";
import type { Profiler } from "../nn/profiler.js";
import { BatchOrder } from "../text/batch-order.js";
import type { Dataset } from "../text/dataset.js";
import { type EncodedExample, IGNORED } from "../text/encode-example.js";
import { clipGradNorm, gradientNorm } from "./clip.js";
import type { TrainEvent } from "./event.js";
import { type Metrics, metricsOf } from "./metrics.js";
import { optimizers } from "./optimizers.js";
import { getScheduler } from "./schedule.js";
import { type TrainOptions, trainOptions } from "./train-options.js";

/** A model that can be trained: a base model with its weights unfrozen, or a model with adapters. */
export interface Trainable {
  /** Whether the first token of a row is predicted too, from virtual tokens before it. */
  readonly predictsFirstToken?: boolean;
  trainableParameters(): Parameter[];
  namedParameters(): Iterable<{ readonly size: number }>;
  backward(batch: never, options?: BackwardOptions): Promise<BackwardOutput>;
  evaluate(batch: never): Promise<Evaluation>;
  /** Called after every optimiser step, with the gradients still there. */
  afterStep?(facts: { readonly step: number; readonly totalSteps: number }): void;
}

export interface TrainRunOptions extends Partial<TrainOptions> {
  /** Rows that are never trained on; their loss is reported. */
  readonly evalDataset?: Dataset | undefined;
  /** Tokens that rows packed together fill; the longest row where absent. */
  readonly maxLength?: number | undefined;
  /** Ends the run after the step that is under way. */
  readonly signal?: AbortSignal | undefined;
  /** Hears how long the updates of the weights take. */
  readonly profiler?: Pick<Profiler, "record"> | undefined;
}

const seconds = (since: number): number => (performance.now() - since) / 1000;

/** Mean loss over all that is supervised in a data set, and the measures of the task. */
export async function evaluate(
  model: Pick<Trainable, "evaluate">,
  dataset: Dataset,
  batchSize = 8,
): Promise<{ loss: number; supervisedTokens: number; metrics: Metrics }> {
  // Rows of similar length together; the sum does not depend on the order.
  const rows = [...dataset.examples].sort((a, b) => a.inputIds.length - b.inputIds.length);
  let loss = 0;
  let supervisedTokens = 0;
  let answers: Answers | undefined;
  const answered: Answer[] = [];
  for (let i = 0; i < rows.length; i += batchSize) {
    const part = await model.evaluate(dataset.collate(rows.slice(i, i + batchSize)) as never);
    loss += part.loss;
    supervisedTokens += part.supervisedTokens;
    answers = part.answers ?? answers;
    answered.push(...(part.answers?.rows ?? []));
  }
  const mean = supervisedTokens === 0 ? 0 : loss / supervisedTokens;
  const metrics = {
    ...(answers === undefined || answers.kind === "tokens" ? { perplexity: Math.exp(mean) } : {}),
    ...(answers === undefined ? {} : metricsOf({ ...answers, rows: answered })),
  };
  return { loss: mean, supervisedTokens, metrics };
}

interface StepFacts {
  readonly step: number;
  readonly epoch: number;
  readonly loss: number;
  readonly gradNorm: number;
  readonly batches: readonly EncodedExample[][];
}

/** Stops the run where the loss or a gradient is not finite; the step has not been applied then. */
function checkFinite(facts: StepFacts, parameters: readonly Parameter[], settings: TrainOptions): void {
  if (Number.isFinite(facts.loss) && Number.isFinite(facts.gradNorm)) return;
  const bad = (values: Float32Array): number =>
    values.reduce((count, value) => count + (Number.isFinite(value) ? 0 : 1), 0);
  const weight = parameters.find(({ data }) => bad(data) > 0);
  const first = weight ?? parameters.find(({ grad }) => grad !== undefined && bad(grad) > 0);
  const values = weight?.data ?? first?.grad;
  const where =
    first === undefined || values === undefined
      ? "the loss itself; all weights and gradients are finite"
      : `${weight === undefined ? "gradient of " : ""}${first.name} (${bad(values).toLocaleString("en")} of ${first.size.toLocaleString("en")} values)`;
  const rows = facts.batches.flat().map(({ source }) => source);
  const shown =
    rows.length > 6 ? `${rows.slice(0, 5).join(", ")} and ${rows.length - 5} more` : rows.join(", ");
  const loss = Number.isNaN(facts.loss)
    ? "NaN"
    : Number.isFinite(facts.loss)
      ? String(facts.loss)
      : "infinite";
  throw new NonFiniteError({
    code: "loss_not_finite",
    summary: Number.isFinite(facts.loss)
      ? `The gradients became infinite or NaN at step ${facts.step}. Training stopped; step ${facts.step} was not applied.`
      : `Loss became ${loss} at step ${facts.step} (epoch ${facts.epoch.toFixed(2)}). Training stopped; step ${facts.step} was not applied.`,
    facts: [
      ["first", where],
      ["rows", shown],
      [
        "settings",
        `learningRate ${settings.learningRate}, maxGradNorm ${settings.maxGradNorm === 0 ? "off" : settings.maxGradNorm}`,
      ],
      ["kept", `the adapter as it was after step ${facts.step - 1}`],
    ],
    fixes: [
      `learningRate: ${settings.learningRate / 10}`,
      ...(settings.maxGradNorm === 0 ? ["maxGradNorm: 1"] : []),
    ],
    fields: { step: facts.step, loss: facts.loss, gradNorm: facts.gradNorm, first: first?.name, rows },
  });
}

/**
 * Trains and reports what happens, one event after the other.
 *
 * The loss of a step is the mean over all its supervised tokens, however its rows are cut into batches.
 *
 * @throws {@link NonFiniteError} `loss_not_finite`; the model is as it was before that step
 * @example
 * for await (const event of train(model, dataset, { epochs: 1, batchSize: 4 })) console.log(event);
 */
export async function* train(
  model: Trainable,
  dataset: Dataset,
  options: TrainRunOptions = {},
): AsyncGenerator<TrainEvent> {
  const { evalDataset, maxLength, signal, profiler, ...named } = options;
  const settings = readOptions(trainOptions, named, { source: "train" });
  const parameters = model.trainableParameters();
  const optimizer = new optimizers[settings.optim](parameters, {
    learningRate: settings.learningRate,
    beta1: settings.adamBeta1,
    beta2: settings.adamBeta2,
    epsilon: settings.adamEpsilon,
    weightDecay: settings.weightDecay,
  });
  const order = new BatchOrder(dataset, { ...settings, maxLength });
  const stepsOfEpoch = order.stepsPerEpoch;
  const totalSteps = settings.maxSteps ?? Math.max(1, Math.round(settings.epochs * stepsOfEpoch));
  const warmupSteps =
    settings.warmupSteps > 0 ? settings.warmupSteps : Math.round(settings.warmupRatio * totalSteps);
  const scheduler = getScheduler(settings.lrSchedulerType, optimizer, { warmupSteps, totalSteps });
  const started = performance.now();
  const size = (list: Iterable<{ readonly size: number }>): number =>
    [...list].reduce((sum, one) => sum + one.size, 0);
  yield {
    type: "start",
    totalSteps,
    rows: dataset.length,
    trainableParameters: size(parameters),
    allParameters: size(model.namedParameters()),
    optimizer: settings.optim,
    optimizerBytes: optimizer.stateBytes(),
  };
  let step = 0;
  let lossSum = 0;
  let tokenSum = 0;
  let recent = { tokens: 0, seconds: 0 };
  for (let epoch = 0; step < totalSteps; epoch += 1) {
    for (const batches of order.steps(epoch)) {
      if (step >= totalSteps || signal?.aborted === true) break;
      const began = performance.now();
      const first = model.predictsFirstToken ?? false;
      const normalizer = batches
        .flat()
        .reduce((sum, row) => sum + row.trained + (first && row.labels[0] !== IGNORED ? 1 : 0), 0);
      optimizer.zeroGrad({ reuse: true });
      let loss = 0;
      let tokens = 0;
      for (const [i, rows] of batches.entries()) {
        const seed = Math.imul(settings.seed + 1, 0x9e3779b1) + step * 1024 + i;
        const result = await model.backward(dataset.collate(rows) as never, { normalizer, seed });
        loss += result.loss;
        tokens += result.tokens;
      }
      const { maxGradNorm } = settings;
      const gradNorm = maxGradNorm > 0 ? clipGradNorm(parameters, maxGradNorm) : gradientNorm(parameters);
      const done = (step + 1) / stepsOfEpoch;
      checkFinite({ step: step + 1, epoch: done, loss, gradNorm, batches }, parameters, settings);
      const learningRate = optimizer.learningRate;
      const beforeUpdate = performance.now();
      await optimizer.step();
      profiler?.record("optimizer", beforeUpdate);
      step += 1;
      model.afterStep?.({ step, totalSteps });
      scheduler.step();
      lossSum += loss;
      tokenSum += tokens;
      const took = seconds(began);
      // The rate is that of the last steps: older ones count less and less.
      recent = { tokens: 0.9 * recent.tokens + tokens, seconds: 0.9 * recent.seconds + took };
      const elapsedSeconds = seconds(started);
      yield {
        type: "step",
        step,
        totalSteps,
        epoch: done,
        loss,
        learningRate,
        gradNorm,
        tokens,
        supervisedTokens: normalizer,
        tokensPerSecond: recent.tokens / recent.seconds,
        elapsedSeconds,
        remainingSeconds: (elapsedSeconds / step) * (totalSteps - step),
      };
      const last = step === totalSteps;
      const due = settings.evalSteps > 0 ? step % settings.evalSteps === 0 : step % stepsOfEpoch === 0;
      if (evalDataset !== undefined && (due || last)) {
        const result = await evaluate(model, evalDataset, settings.evalBatchSize);
        yield { type: "eval", step, epoch: done, ...result, elapsedSeconds: seconds(started) };
      }
    }
    if (signal?.aborted === true) break;
  }
  optimizer.zeroGrad();
  yield {
    type: "end",
    reason: signal?.aborted === true && step < totalSteps ? "aborted" : "completed",
    steps: step,
    elapsedSeconds: seconds(started),
    loss: step === 0 ? 0 : lossSum / step,
    tokens: tokenSum,
  };
}
