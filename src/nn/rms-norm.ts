import type { Value } from "../graph/value.js";
import { Module } from "./module.js";
import { Parameter } from "./parameter.js";
import type { Trace } from "./trace.js";

/**
 * y = x / √(mean(x²) + epsilon) ⊙ weight, over the last axis.
 *
 * Shapes: x (…, D) → (…, D); weight (D).
 */
export class RMSNorm extends Module {
  readonly kind: string;
  readonly weight: Parameter;

  constructor(
    readonly width: number,
    readonly epsilon: number,
    kind = "RMSNorm",
  ) {
    super();
    this.kind = kind;
    this.weight = new Parameter([width]);
  }

  forward(t: Trace, x: Value): Value {
    return t.f.rmsNorm(x, t.own(this, "weight"), { epsilon: this.epsilon });
  }
}
