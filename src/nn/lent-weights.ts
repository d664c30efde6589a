import type { HostTensor } from "../base/host-tensor.js";
import type { BufferPool } from "./buffer-pool.js";
import type { Int8Weights } from "./int8-weights.js";
import type { Parameter } from "./parameter.js";
import type { Source } from "./token-program.js";

interface Loan {
  readonly tensor: HostTensor;
  uses: number;
}

/**
 * Weights that have to be decoded, for as long as somebody runs with them: into memory that the next ones use again. Without it
 * they are decoded once and kept.
 */
export class LentWeights {
  readonly #loans = new Map<Parameter, Loan>();

  constructor(
    readonly pool: BufferPool,
    /** Whether decoded weights are kept after all. */
    readonly keep: boolean,
    readonly int8: Int8Weights,
  ) {}

  #lends(parameter: Parameter): boolean {
    return (!this.keep || parameter.transient) && parameter.decodes && !parameter.loaded;
  }

  /** Decodes what the sources need, until `release` is called as often. */
  hold(sources: readonly Source[]): void {
    for (const source of sources) {
      if (source.kind !== "parameter") continue;
      const { parameter } = source;
      const known = this.#loans.get(parameter);
      if (known !== undefined) known.uses += 1;
      else if (this.#lends(parameter)) {
        const tensor = this.pool.acquire("float32", parameter.shape);
        parameter.decodeInto(tensor.data as Float32Array);
        this.#loans.set(parameter, { tensor, uses: 1 });
      } else void parameter.tensor;
    }
    // Of weights that are there in floats too, these serve.
    for (const source of sources) {
      if (source.kind !== "int8") continue;
      const { parameter } = source;
      const lent = this.#loans.get(parameter)?.tensor;
      this.int8.make(parameter, source.sides, lent);
    }
  }

  /** Holds what the sources need while some work goes on. */
  async during<T>(sources: readonly Source[], work: () => Promise<T>): Promise<T> {
    this.hold(sources);
    try {
      return await work();
    } finally {
      this.release(sources);
    }
  }

  tensor(parameter: Parameter): HostTensor {
    return this.#loans.get(parameter)?.tensor ?? parameter.tensor;
  }

  release(sources: readonly Source[]): void {
    for (const source of sources) {
      const loan = source.kind === "parameter" ? this.#loans.get(source.parameter) : undefined;
      if (source.kind !== "parameter" || loan === undefined) continue;
      loan.uses -= 1;
      if (loan.uses > 0) continue;
      this.pool.release(loan.tensor);
      this.#loans.delete(source.parameter);
    }
  }
}

/** Holds the weights of what runs next, in place of those it held before. */
export class HeldAhead {
  #sources: readonly Source[] = [];

  constructor(readonly weights: LentWeights) {}

  take(sources: readonly Source[]): void {
    this.weights.release(this.#sources);
    this.weights.hold(sources);
    this.#sources = sources;
  }
}
