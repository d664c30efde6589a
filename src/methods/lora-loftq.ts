import { quantise4 } from "../base/bnb4.js";
import { ConfigError } from "../base/errors.js";
import { float16ToFloat32, float32ToFloat16 } from "../base/half.js";
import { roundRows } from "../base/int8-rows.js";
import { numberChoice } from "../base/number-options.js";
import { groupValues, integer, optionGroup, type OptionValues } from "../base/option.js";
import { type Svd, truncatedSvd } from "../base/svd.js";
import { Bnb4Weight, type MatrixLayout } from "../nn/bnb4-weight.js";
import type { CodedWeight } from "../nn/coded-weight.js";
import { Int8RowsWeight } from "../nn/int8-rows-weight.js";
import { Parameter } from "../nn/parameter.js";
import { type LinearSite, weightData } from "../nn/site.js";
import { checkRank, type LoraStart, type Pair, pairStart, type StartOptions, toPair } from "./lora-pair.js";

/** Settings of the start that makes up for what quantising the weight loses. */
const loftqOptions = {
  loftqBits: numberChoice({
    values: [4, 8],
    default: 4,
    doc: "Bits of a weight: 4 (nf4 in blocks of 64) or 8 (rows over their largest magnitude).",
  }),
  loftqIter: integer({
    default: 1,
    min: 1,
    doc: "How often the weight is quantised and A and B are fitted to what is missing, 1 or more.",
  }),
};

/** The option that has them. */
export const loftqConfig = optionGroup({
  options: loftqOptions,
  doc: "Settings of initLoraWeights: loftq (loftqBits: 4 or 8; loftqIter: 1 or more).",
  absent: {},
});

interface LoftqConfig extends StartOptions {
  readonly loftqConfig?: Partial<OptionValues<typeof loftqOptions>> | undefined;
}

const NF4 = { quantType: "nf4", blockSize: 64, nested: false } as const;

/** A weight in codes, made of elements (out, in) when they are first needed. */
const codes: Readonly<Record<4 | 8, (layout: MatrixLayout, make: () => Float32Array) => CodedWeight>> = {
  4: (layout, make) => new Bnb4Weight(layout, NF4, () => quantise4(make(), NF4)),
  // bitsandbytes rounds to float16 before it rounds to 8 bits.
  8: (layout, make) =>
    new Int8RowsWeight(layout, () =>
      roundRows(float16ToFloat32(float32ToFloat16(make())), layout.out, layout.width),
    ),
};

const difference = (a: Float32Array, b: Float32Array): Float32Array => a.map((value, i) => value - b[i]!);

/** W − U S Vᵀ */
function without(W: Float32Array, { U, S, V }: Svd, width: number): Float32Array {
  const rest = W.slice();
  for (const [k, u] of U.entries()) {
    const v = V[k]!;
    for (let i = 0; i < u.length; i += 1) {
      const factor = S[k]! * u[i]!;
      for (let j = 0; j < width; j += 1) rest[i * width + j]! -= factor * v[j]!;
    }
  }
  return rest;
}

/** The pair whose s · B A is nearest to a matrix (out, in). */
function nearestPair({ U, S, V }: Svd, scaling: number): Pair {
  return toPair(U, V, (k) => Math.sqrt(S[k]! / scaling));
}

/** Sets A and B so that W + s · B A is as near as it can be to another weight (out, in); answers what takes that back. */
export function fitPair(
  site: LinearSite,
  { A, B }: { readonly A: Parameter; readonly B: Parameter },
  original: Float32Array,
  scaling: number,
): () => void {
  const { outFeatures, inFeatures } = site;
  const missing = difference(original, weightData(site));
  const pair = nearestPair(truncatedSvd(missing, outFeatures, inFeatures, A.shape[0]!), scaling);
  const before = [A.data.slice(), B.data.slice()] as const;
  A.data.set(pair.A);
  B.data.set(pair.B);
  return () => {
    A.data.set(before[0]);
    B.data.set(before[1]);
  };
}

/** Codes of codes repeat what is lost already, and leave A and B nothing to make up for. */
function checkWhole({ weight }: LinearSite, path: string): void {
  if (weight.coded === undefined) return;
  throw new ConfigError({
    code: "quantised_already",
    summary: `initLoraWeights: loftq quantises a float weight, and that of ${path} is in codes already.`,
    fixes: [
      "load the base without loadIn4bit: the adapter keeps the weights that it adapts in codes by itself",
      "initLoraWeights: true, and replaceLoraWeightsLoftq(model) after it",
    ],
    fields: { path },
  });
}

/**
 * The weight is quantised, and A and B start as what is nearest to W − Q; with more iterations W − s · B A is quantised next, and so on.
 *
 * @see Li, Yu, Liang, He, Karampatziakis, Chen and Zhao, "LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models",
 * arXiv:2310.08659, algorithm 1
 */
export const loftq: LoraStart<LoftqConfig> = {
  settings: "loftqConfig",
  moves: true,
  start({ site, r, scaling, scope, config }) {
    const { outFeatures: out, inFeatures: width, module } = site;
    checkRank(scope, [out, width], r, "loftq");
    checkWhole(site, scope.place.path);
    const { loftqBits, loftqIter } = groupValues(loftqOptions, config.loftqConfig);
    const W = (): Float32Array => weightData(site);
    const plain = { out, width, turned: false };
    const svdOf = (matrix: Float32Array): Svd => truncatedSvd(matrix, out, width, r);
    /** What an approximation in codes leaves of W. */
    const missing = (coded: CodedWeight): Float32Array => {
      const decoded = new Float32Array(out * width);
      coded.decode(decoded);
      return difference(W(), decoded);
    };
    /** What is quantised in the last round. */
    const last = (): Float32Array => {
      let target = W();
      for (let round = 1; round < loftqIter; round += 1) {
        const part = target;
        target = without(W(), svdOf(missing(codes[loftqBits](plain, () => part))), width);
      }
      return target;
    };
    const weight = new Parameter(site.weight.shape);
    weight.name = site.weight.name;
    const turned = module.transposed.includes("weight");
    weight.keepCoded(codes[loftqBits]({ ...plain, turned }, last));
    const pair = (): Pair => nearestPair(svdOf(difference(W(), weightData({ ...site, weight }))), scaling);
    return { ...pairStart(pair, { residual: false }), weight };
  },
};
