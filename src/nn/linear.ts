import type { Value } from "../graph/value.js";
import { Module } from "./module.js";
import { Parameter } from "./parameter.js";
import { product } from "./product.js";
import type { LinearSite } from "./site.js";
import type { Trace } from "./trace.js";

/**
 * y = x Wᵀ + b.
 *
 * Shapes: x (N, in) → (N, out); weight (out, in); bias (out).
 */
export class Linear extends Module {
  readonly kind = "Linear";
  readonly weight: Parameter;
  readonly bias?: Parameter;

  constructor(
    readonly inFeatures: number,
    readonly outFeatures: number,
    options: { readonly bias?: boolean | Parameter; readonly weight?: Parameter } = {},
  ) {
    super();
    this.weight = options.weight ?? new Parameter([outFeatures, inFeatures]);
    const { bias = false } = options;
    if (bias !== false) this.bias = bias === true ? new Parameter([outFeatures]) : bias;
  }

  forward(t: Trace, x: Value): Value {
    return t.adapt(this, x, (input) => {
      const y = product(t, this, input); // (N, out)
      return this.bias === undefined ? y : t.f.add(y, t.own(this, "bias"));
    });
  }

  override site(): LinearSite {
    const { inFeatures, outFeatures, weight, bias } = this;
    return { kind: "linear", module: this, inFeatures, outFeatures, weight, bias };
  }
}
