import { type Initialiser, kaiming } from "../base/fill.js";
import { flag, inFiles, integer } from "../base/option.js";
import { targetOptions, biasOption } from "../base/target-options.js";
import type { Value } from "../graph/value.js";
import type { AdaptContext } from "../nn/site.js";
import { defineMethod } from "./method.js";

/** Columns in equal pairs: two equal reflections cancel. */
const pairs =
  (r: number): Initialiser =>
  (data, random) => {
    kaiming(r / 2)(data, random);
    for (let i = 0; i < data.length; i += 2) data[i + 1] = data[i]!;
  };

/** Columns of u (in, r) divided by their length. */
const normalised = (f: AdaptContext["f"], u: Value): Value => {
  const rows = f.transpose(u, { axes: [1, 0] });
  return f.transpose(f.div(rows, f.sqrt(f.sumSquare(rows))), { axes: [1, 0] });
};

/** Columns of u (in, r) made orthonormal one after another. */
function orthonormal(f: AdaptContext["f"], u: Value, r: number): Value {
  let done: Value | undefined;
  for (let i = 0; i < r; i += 1) {
    let column = f.slice(u, { axis: 1, start: i, end: i + 1 }); // (in, 1)
    if (done !== undefined)
      column = f.sub(column, f.matmul(done, f.matmul(done, column, { transposeA: true }), {}));
    column = normalised(f, column);
    done = done === undefined ? column : f.concat([done, column], { axis: 1 });
  }
  return done!;
}

/** Ones above the diagonal of an r × r matrix, or `diagonal` on it. */
const triangle = (f: AdaptContext["f"], r: number, above: number, diagonal: number): Value =>
  f.constant({
    shape: [r, r],
    value: Array.from({ length: r * r }, (_, i) => {
      const [row, column] = [Math.floor(i / r), i % r];
      return column > row ? above : column === row ? diagonal : 0;
    }),
  });

/**
 * The middle T of I − U T Uᵀ = (I − 2 u₁u₁ᵀ) … (I − 2 uᵣuᵣᵀ): T⁻¹ = ½ I + the part of UᵀU above its diagonal. As that part is
 * nilpotent, T = 2 (I + N)(I + N²)(I + N⁴) … with N = −2 · part.
 */
function middle(f: AdaptContext["f"], U: Value, r: number): Value {
  let power = f.mul(f.matmul(U, U, { transposeA: true }), triangle(f, r, -2, 0)); // N
  let T = f.add(power, triangle(f, r, 0, 1));
  for (let length = 2; length < r; length *= 2) {
    power = f.matmul(power, power, {});
    T = f.add(T, f.matmul(T, power, {}));
  }
  return f.scale(T, { by: 2 });
}

/**
 * A chain of reflections of a linear layer's input.
 *
 * W' = W (I − 2 u₁u₁ᵀ) … (I − 2 uᵣuᵣᵀ), with all u of length 1
 *
 * Shapes: x (N, in) → (N, out); u (in, r).
 * Columns start in equal pairs, which cancel: with an even r the layer is unchanged before the first step, with an odd one it is not.
 * Adds r · in parameters to a layer.
 * Differs from Hugging Face: with `applyGS` the columns start at random, since equal ones have no orthogonal parts.
 * No matrix in × in is made: the product of the reflections is I − U T Uᵀ with T (r, r).
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "HRA", r: 8, targetModules: ["q_proj", "v_proj"] });
 * @see Yuan et al., "Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection Adaptation",
 * arXiv:2405.17484, eq. 4; the product form: Schreiber and Van Loan, "A Storage-Efficient WY Representation" (1989)
 */
export const hra = defineMethod({
  name: "HRA",
  title: "HRA",
  paper: "arXiv:2405.17484",
  formula: "y = W (I − 2 u₁u₁ᵀ) … (I − 2 uᵣuᵣᵀ) x + b",
  parameters: "r · in",
  advice: "Orthogonal like OFT at the cost of LoRA; keeps the lengths of the base's features.",
  sites: ["linear"],
  quantisedBase: true,
  modelDefaults: { targetModules: ["HRA", "LORA"] },
  config: {
    r: integer({
      default: 8,
      min: 1,
      doc: "Number of reflections, 1 or more; an even one starts as the identity.",
    }),
    applyGS: inFiles(
      flag({ default: false, doc: "Makes the u orthogonal to each other (Gram and Schmidt)." }),
      "apply_GS",
    ),
    initWeights: flag({
      default: true,
      doc: "Starts in equal pairs, where r is even; otherwise all at random.",
    }),
    bias: biasOption("hra_only"),
    ...targetOptions,
  },
  inert: { layers_pattern: null, layers_to_transform: null },
  identityStart: ({ r, initWeights, applyGS }) => initWeights && r % 2 === 0 && !applyGS,
  mergeable: () => true,
  parameterCount: ({ site }, { r }) => (site.kind === "linear" ? r * site.inFeatures : 0),
  attach(site, { r, applyGS, initWeights }, scope) {
    const paired = initWeights && r % 2 === 0 && !applyGS;
    const u = scope.param("hra_u", [site.inFeatures, r], paired ? pairs(r) : kaiming(r));
    /** x (N, in) times the reflections, or their transpose. */
    const reflect = ({ f, p }: Pick<AdaptContext, "f" | "p">, x: Value, transposed: boolean): Value => {
      if (applyGS) {
        const U = orthonormal(f, p(u), r);
        return f.sub(x, f.scale(f.matmul(f.matmul(x, U, {}), U, { transposeB: true }), { by: 2 }));
      }
      const U = normalised(f, p(u));
      const inner = f.matmul(f.matmul(x, U, {}), middle(f, U, r), { transposeB: transposed }); // (N, r)
      return f.sub(x, f.matmul(inner, U, { transposeB: true }));
    };
    return {
      forward: (context) => context.base(reflect(context, context.x, true)),
      merged: (context) => ({ weight: reflect(context, context.own("weight"), false) }),
    };
  },
});
