import type { Value } from "../graph/value.js";
import { Module } from "./module.js";
import { Parameter } from "./parameter.js";
import { product } from "./product.js";
import type { LinearSite } from "./site.js";
import type { Trace } from "./trace.js";

/**
 * y = x W + b: a linear layer whose weight is kept (in, out), as GPT-2 keeps it. Adapters see it (out, in).
 *
 * Shapes: x (N, in) → (N, out); weight (in, out); bias (out).
 */
export class Conv1D extends Module {
  readonly kind = "Conv1D";
  readonly weight: Parameter;
  readonly bias: Parameter;
  override readonly transposed = ["weight"];

  constructor(
    readonly inFeatures: number,
    readonly outFeatures: number,
  ) {
    super();
    this.weight = new Parameter([inFeatures, outFeatures]);
    this.bias = new Parameter([outFeatures]);
  }

  forward(t: Trace, x: Value): Value {
    return t.adapt(this, x, (input) => t.f.add(product(t, this, input), t.own(this, "bias"))); // (N, out)
  }

  override site(): LinearSite {
    const { inFeatures, outFeatures, weight, bias } = this;
    return { kind: "linear", module: this, inFeatures, outFeatures, weight, bias };
  }
}
