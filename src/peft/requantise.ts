import type { CodedWeight } from "../nn/coded-weight.js";
import type { Parameter } from "../nn/parameter.js";

/** What was measured while merged weights were put back into codes. */
export interface RequantisedReport {
  /** How many weights were put into codes again. */
  readonly weights: number;
  /** How far the codes are from the merged weights: ‖decoded − merged‖ / ‖merged‖ over all of them. */
  readonly error: number;
  /** How far the adapter moved the weights: ‖merged − base‖ / ‖merged‖. What it learnt is lost where the error is much larger. */
  readonly update: number;
}

/** Puts merged weights into the codes that their base has, and measures what that costs. */
export class Requantiser {
  #weights = 0;
  #errors = 0;
  #updates = 0;
  #sizes = 0;

  /** Merged elements of a weight, in codes of the kind it is kept in. */
  recode(parameter: Parameter, coded: CodedWeight, merged: Float32Array): CodedWeight {
    const recoded = coded.recode(merged);
    const base = parameter.data;
    const decoded = new Float32Array(merged.length);
    recoded.decode(decoded);
    for (let i = 0; i < merged.length; i += 1) {
      const value = merged[i]!;
      this.#errors += (decoded[i]! - value) ** 2;
      this.#updates += (value - base[i]!) ** 2;
      this.#sizes += value * value;
    }
    this.#weights += 1;
    return recoded;
  }

  /** What was measured; undefined where nothing was put into codes. */
  get report(): RequantisedReport | undefined {
    if (this.#weights === 0) return undefined;
    const size = Math.max(this.#sizes, Number.MIN_VALUE);
    return {
      weights: this.#weights,
      error: Math.sqrt(this.#errors / size),
      update: Math.sqrt(this.#updates / size),
    };
  }
}
