import type { Parameter } from "../nn/parameter.js";
import type { StepFacts } from "./method.js";

/** One adapted layer: the singular values E (r, 1) with the vectors A (r, in) and B (out, r). */
export interface Triplet {
  readonly path: string;
  readonly E: Parameter;
  readonly A: Parameter;
  readonly B: Parameter;
}

export interface AllocatorOptions {
  readonly initR: number;
  readonly targetR: number;
  readonly tinit: number;
  readonly tfinal: number;
  readonly deltaT: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly totalStep?: number | undefined;
}

/** Running means of how much the loss depends on each element, |w · dL/dw|, and of how much that varies. */
interface Importance {
  readonly sensitivity: Float32Array;
  readonly uncertainty: Float32Array;
}

/**
 * Moves the rank of AdaLoRA between layers: after each step it scores every singular value with its two vectors and sets the worst of
 * the whole model to zero, so many that what is left fits a budget that falls from `initR` to `targetR` a layer.
 *
 * @see Zhang et al., arXiv:2303.10512, eq. 7-9 and algorithm 1
 */
export class RankAllocator {
  /** Which singular values are in use, by layer; undefined before the first were set to zero. */
  masks: ReadonlyMap<string, readonly boolean[]> | undefined;
  totalStep: number | undefined;
  readonly #triplets: Triplet[] = [];
  readonly #importance = new Map<Parameter, Importance>();

  constructor(readonly options: AllocatorOptions) {
    this.totalStep = options.totalStep;
  }

  add(triplet: Triplet): void {
    this.#triplets.push(triplet);
  }

  /** Singular values in use after a step, and whether this step enforces it. */
  budget(step: number, totalStep: number): { kept: number; due: boolean } {
    const { tinit, tfinal, deltaT, targetR } = this.options;
    const initial = this.#triplets.reduce((sum, { E }) => sum + E.size, 0);
    const target = targetR * this.#triplets.length;
    if (step <= tinit) return { kept: initial, due: false };
    if (step > totalStep - tfinal) return { kept: target, due: true };
    const left = 1 - (step - tinit) / (totalStep - tfinal - tinit);
    return { kept: Math.trunc((initial - target) * left ** 3 + target), due: step % deltaT === 0 };
  }

  afterStep({ step, totalSteps }: StepFacts): void {
    this.totalStep ??= totalSteps;
    const total = this.totalStep;
    if (total === undefined) return;
    const last = total - this.options.tfinal;
    if (step < last) for (const { E, A, B } of this.#triplets) for (const w of [E, A, B]) this.#observe(w);
    const { kept, due } = this.budget(step, total);
    if (step > last) this.#enforce();
    else if (due || step === last) this.#allocate(kept);
  }

  #observe(parameter: Parameter): void {
    const { beta1, beta2 } = this.options;
    const { data, grad } = parameter;
    if (grad === undefined) return;
    const known = this.#importance.get(parameter);
    const fresh = (): Float32Array => new Float32Array(data.length);
    const { sensitivity, uncertainty } = known ?? { sensitivity: fresh(), uncertainty: fresh() };
    this.#importance.set(parameter, { sensitivity, uncertainty });
    for (let i = 0; i < data.length; i += 1) {
      const now = Math.abs(data[i]! * grad[i]!);
      sensitivity[i] = beta1 * sensitivity[i]! + (1 - beta1) * now;
      uncertainty[i] = beta2 * uncertainty[i]! + (1 - beta2) * Math.abs(now - sensitivity[i]!);
    }
  }

  /** The score of each singular value of a layer: its own, and the means over its two vectors. */
  #scores({ E, A, B }: Triplet): Float32Array {
    const r = E.size;
    const scores = new Float32Array(r);
    for (const [parameter, stride, step] of [
      [E, 1, 1],
      [A, A.size / r, 1],
      [B, 1, r],
    ] as const) {
      const { sensitivity, uncertainty } = this.#importance.get(parameter) ?? {};
      if (sensitivity === undefined || uncertainty === undefined) continue;
      const count = parameter.size / r;
      for (let k = 0; k < r; k += 1) {
        let sum = 0;
        for (let i = 0; i < count; i += 1) {
          const at = k * stride + i * step;
          sum += sensitivity[at]! * uncertainty[at]!;
        }
        scores[k]! += sum / count;
      }
    }
    return scores;
  }

  #allocate(kept: number): void {
    const scores = this.#triplets.map((triplet) => this.#scores(triplet));
    const all = Float32Array.from(scores.flatMap((values) => [...values])).sort();
    const dropped = all.length - kept;
    const threshold = dropped > 0 ? all[dropped - 1]! : -Infinity;
    this.masks = new Map(
      this.#triplets.map(({ path }, i) => [path, [...scores[i]!].map((score) => score > threshold)]),
    );
    this.#enforce();
  }

  #enforce(): void {
    for (const { path, E } of this.#triplets) {
      const { data } = E;
      for (const [k, used] of (this.masks?.get(path) ?? []).entries()) if (!used) data[k] = 0;
    }
  }
}
