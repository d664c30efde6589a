import { flag, number, type OptionValues } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import type { Parameter } from "../nn/parameter.js";

export const adamWOptions = {
  learningRate: number({ default: 2e-4, min: 0, doc: "Step size; what the schedule multiplies." }),
  beta1: number({ default: 0.9, min: 0, below: 1, doc: "Decay of the mean of gradients, 0 to below 1." }),
  beta2: number({
    default: 0.999,
    min: 0,
    below: 1,
    doc: "Decay of the mean of squared gradients, 0 to below 1.",
  }),
  epsilon: number({ default: 1e-8, above: 0, doc: "Added to the root of the second mean, above 0." }),
  weightDecay: number({ default: 0, min: 0, doc: "Share of a weight taken off per unit of learning rate." }),
  amsgrad: flag({ default: false, doc: "Divides by the largest second mean there was." }),
};

interface Moments {
  readonly first: Float32Array;
  readonly second: Float32Array;
  readonly largest: Float32Array | undefined;
}

/** What an optimiser has to remember, for a checkpoint. */
export interface OptimizerState {
  readonly step: number;
  readonly moments: ReadonlyMap<string, Readonly<Record<string, Float32Array>>>;
}

/**
 * Adam with decoupled weight decay.
 *
 * w ← w − η λ w − η m̂ / (√v̂ + ε); m and v are running means of g and g², m̂ and v̂ corrected for their start at zero.
 *
 * @example
 * const optimizer = new AdamW(model.trainableParameters(), { learningRate: 2e-4 });
 * await optimizer.step();
 * optimizer.zeroGrad();
 * @see Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv:1711.05101, algorithm 2
 */
export class AdamW {
  readonly parameters: readonly Parameter[];
  readonly options: OptionValues<typeof adamWOptions>;
  /** The rate of the next step; schedules set it. */
  learningRate: number;
  #step = 0;
  readonly #moments = new Map<Parameter, Moments>();

  constructor(parameters: Iterable<Parameter>, options: Partial<OptionValues<typeof adamWOptions>> = {}) {
    this.parameters = [...parameters];
    this.options = readOptions(adamWOptions, options, { source: "AdamW" });
    this.learningRate = this.options.learningRate;
  }

  /** Steps taken. */
  get stepCount(): number {
    return this.#step;
  }

  /** Moves every parameter that has a gradient. */
  async step(): Promise<void> {
    this.#step += 1;
    for (const parameter of this.parameters) {
      if (parameter.grad !== undefined) this.#update(parameter, parameter.grad);
    }
  }

  #update(parameter: Parameter, gradient: Float32Array): void {
    const { beta1, beta2, epsilon, weightDecay, amsgrad } = this.options;
    const { first, second, largest } = this.#momentsOf(parameter, amsgrad);
    const weights = parameter.data;
    const rate = this.learningRate;
    const size = rate / (1 - beta1 ** this.#step);
    const correction = Math.sqrt(1 - beta2 ** this.#step);
    const shrink = 1 - rate * weightDecay;
    for (let i = 0; i < weights.length; i += 1) {
      const g = gradient[i]!;
      const m = (first[i]! += (1 - beta1) * (g - first[i]!));
      let v = beta2 * second[i]! + (1 - beta2) * g * g;
      second[i] = v;
      if (largest !== undefined) v = largest[i] = Math.max(largest[i]!, v);
      weights[i] = weights[i]! * shrink - (size * m) / (Math.sqrt(v) / correction + epsilon);
    }
  }

  #momentsOf(parameter: Parameter, amsgrad: boolean): Moments {
    let moments = this.#moments.get(parameter);
    if (moments === undefined) {
      const zeros = (): Float32Array => new Float32Array(parameter.size);
      moments = { first: zeros(), second: zeros(), largest: amsgrad ? zeros() : undefined };
      this.#moments.set(parameter, moments);
    }
    return moments;
  }

  /** Forgets the gradients. */
  zeroGrad(): void {
    for (const parameter of this.parameters) parameter.grad = undefined;
  }

  /** The step count and the running means, by parameter name. */
  state(): OptimizerState {
    const moments = new Map<string, Record<string, Float32Array>>();
    for (const [parameter, { first, second, largest }] of this.#moments) {
      moments.set(parameter.name, { first, second, ...(largest && { largest }) });
    }
    return { step: this.#step, moments };
  }

  /** Goes on from a saved state. */
  loadState(state: OptimizerState): void {
    this.#step = state.step;
    for (const parameter of this.parameters) {
      const saved = state.moments.get(parameter.name);
      if (saved === undefined) continue;
      const moments = this.#momentsOf(parameter, this.options.amsgrad);
      moments.first.set(saved["first"]!);
      moments.second.set(saved["second"]!);
      if (saved["largest"] !== undefined) moments.largest?.set(saved["largest"]);
    }
  }
}
