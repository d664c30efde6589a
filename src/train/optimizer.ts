import { ConfigError } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import type { Parameter } from "../nn/parameter.js";
import type { MomentArray, MomentFormat, MomentPiece, Moments } from "./moments.js";

/** What an optimiser has to remember, for a checkpoint. */
export interface OptimizerState {
  readonly step: number;
  /** What the running means of each parameter are kept in, by name: float32, or codes of 8 bits and the magnitudes of their blocks. */
  readonly moments: ReadonlyMap<string, Readonly<Record<string, MomentArray>>>;
}

/** Settings that all forms of AdamW have. */
export interface AdamSettings {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

const described = (arrays: Readonly<Record<string, MomentArray>>): string =>
  Object.entries(arrays)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([name, array]) =>
        `${name} ${array instanceof Uint8Array ? "uint8" : "float32"} (${array.length.toLocaleString("en")})`,
    )
    .join(", ");

const stateMismatch = (faults: readonly string[]): ConfigError =>
  new ConfigError({
    code: "optimizer_state",
    summary: "The state of an optimiser does not fit, so it cannot go on from there.",
    facts: [["state", firstFew(faults)]],
    fixes: ["make the optimiser, and the adapter, with the options that the state was saved with"],
    fields: { faults },
  });

interface Factors {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly size: number;
  readonly correction: number;
  readonly shrink: number;
}

/** Moves the weights of a piece. A function of its own with everything in locals runs twice as fast as a closure. */
function move(
  weights: Float32Array,
  gradient: Float32Array,
  { start, count, first, second, largest }: MomentPiece,
  { beta1, beta2, epsilon, size, correction, shrink }: Factors,
): void {
  const [rest1, rest2] = [1 - beta1, 1 - beta2];
  for (let i = 0; i < count; i += 1) {
    const g = gradient[start + i]!;
    const m = first[i]! + rest1 * (g - first[i]!);
    first[i] = m;
    let v = beta2 * second[i]! + rest2 * g * g;
    second[i] = v;
    if (largest !== undefined) v = largest[i] = Math.max(largest[i]!, v);
    weights[start + i] = weights[start + i]! * shrink - (size * m) / (Math.sqrt(v) / correction + epsilon);
  }
}

/**
 * Adam with decoupled weight decay, whatever its running means are kept in.
 *
 * w ← w − η λ w − η m̂ / (√v̂ + ε); m and v are running means of g and g², m̂ and v̂ corrected for their start at zero.
 */
export abstract class DecoupledAdam<O extends AdamSettings = AdamSettings> {
  readonly parameters: readonly Parameter[];
  readonly options: O;
  /** The rate of the next step; schedules set it. */
  learningRate: number;
  #step = 0;
  readonly #format: MomentFormat;
  readonly #moments = new Map<Parameter, Moments>();

  constructor(parameters: Iterable<Parameter>, options: O, format: MomentFormat) {
    this.parameters = [...parameters];
    this.options = options;
    this.learningRate = options.learningRate;
    this.#format = format;
  }

  /** Steps taken. */
  get stepCount(): number {
    return this.#step;
  }

  /** Bytes that the running means take once every parameter has moved. */
  stateBytes(): number {
    return this.parameters.reduce((sum, { size }) => sum + this.#format.bytes(size), 0);
  }

  /** Moves every parameter that has a gradient. */
  async step(): Promise<void> {
    this.#step += 1;
    for (const parameter of this.parameters) {
      if (parameter.grad !== undefined) this.#update(parameter, parameter.grad);
    }
  }

  #update(parameter: Parameter, gradient: Float32Array): void {
    const { beta1, beta2, epsilon, weightDecay } = this.options;
    const weights = parameter.data;
    const rate = this.learningRate;
    const factors = {
      beta1,
      beta2,
      epsilon,
      size: rate / (1 - beta1 ** this.#step),
      correction: Math.sqrt(1 - beta2 ** this.#step),
      shrink: 1 - rate * weightDecay,
    };
    this.#momentsOf(parameter).update((piece) => move(weights, gradient, piece, factors));
  }

  #momentsOf(parameter: Parameter): Moments {
    let moments = this.#moments.get(parameter);
    if (moments === undefined) {
      moments = this.#format.make(parameter.size);
      this.#moments.set(parameter, moments);
    }
    return moments;
  }

  /** Forgets the gradients. With `reuse`, which is for loops that hand them to nobody, the next ones are written into their arrays. */
  zeroGrad({ reuse = false }: { readonly reuse?: boolean } = {}): void {
    for (const parameter of this.parameters) {
      parameter.spareGrad = reuse ? (parameter.grad ?? parameter.spareGrad) : undefined;
      parameter.grad = undefined;
    }
  }

  /** The step count and the running means, by parameter name; the arrays are those at work. */
  state(): OptimizerState {
    const moments = new Map<string, Readonly<Record<string, MomentArray>>>();
    for (const [parameter, { arrays }] of this.#moments) moments.set(parameter.name, arrays);
    return { step: this.#step, moments };
  }

  /**
   * Goes on from a saved state, bit for bit.
   *
   * @throws {@link ConfigError} `optimizer_state` where running means are of other sizes, or were kept in another form
   */
  loadState(state: OptimizerState): void {
    const faults: string[] = [];
    const taken: (() => void)[] = [];
    for (const parameter of this.parameters) {
      const saved = state.moments.get(parameter.name);
      if (saved === undefined) continue;
      const { arrays } = this.#momentsOf(parameter);
      const [theirs, ours] = [described(saved), described(arrays)];
      if (theirs !== ours) faults.push(`${parameter.name}: holds ${theirs}; expected ${ours}`);
      else taken.push(() => Object.entries(arrays).forEach(([name, array]) => array.set(saved[name]!)));
    }
    if (faults.length > 0) throw stateMismatch(faults);
    this.#step = state.step;
    for (const take of taken) take();
  }
}
