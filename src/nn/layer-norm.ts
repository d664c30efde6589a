import type { Value } from "../graph/value.js";
import { Module } from "./module.js";
import { Parameter } from "./parameter.js";
import type { Trace } from "./trace.js";

/**
 * y = (x − mean(x)) / √(var(x) + epsilon) ⊙ weight + bias, over the last axis.
 *
 * Shapes: x (…, D) → (…, D); weight and bias (D).
 */
export class LayerNorm extends Module {
  readonly kind = "LayerNorm";
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(
    readonly width: number,
    readonly epsilon: number,
  ) {
    super();
    this.weight = new Parameter([width]);
    this.bias = new Parameter([width]);
  }

  forward(t: Trace, x: Value): Value {
    return t.f.layerNorm(x, t.own(this, "weight"), t.own(this, "bias"), { epsilon: this.epsilon });
  }
}
