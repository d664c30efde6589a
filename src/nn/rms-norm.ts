import type { Value } from "../graph/value.js";
import { Module } from "./module.js";
import { Parameter } from "./parameter.js";
import type { Trace } from "./trace.js";

/**
 * y = x / √(mean(x²) + epsilon) ⊙ (weight + offset), over the last axis.
 *
 * Shapes: x (…, D) → (…, D); weight (D).
 */
export class RMSNorm extends Module {
  readonly kind: string;
  readonly weight: Parameter;
  /** Added to the weight: 1 in the Gemma family, whose weights are kept as differences from one. */
  readonly offset: number;

  constructor(
    readonly width: number,
    readonly epsilon: number,
    options: { readonly kind?: string | undefined; readonly offset?: number | undefined } = {},
  ) {
    super();
    this.kind = options.kind ?? "RMSNorm";
    this.offset = options.offset ?? 0;
    this.weight = new Parameter([width]);
  }

  forward(t: Trace, x: Value): Value {
    const weight = t.own(this, "weight");
    const factor = this.offset === 0 ? weight : t.f.offset(weight, { by: this.offset });
    return t.f.rmsNorm(x, factor, { epsilon: this.epsilon });
  }
}
