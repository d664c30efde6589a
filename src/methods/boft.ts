import { always, gaussian, nothing } from "../base/fill.js";
import { ConfigError } from "../base/errors.js";
import { hostTensor } from "../base/host-tensor.js";
import { flag, integer, number } from "../base/option.js";
import { targetOptions, biasOption } from "../base/target-options.js";
import type { Value } from "../graph/value.js";
import type { AdaptContext } from "../nn/site.js";
import type { Parameter } from "../nn/parameter.js";
import { defineMethod } from "./method.js";
import { cayley, keepBlocks, rotateBlocks } from "./oft.js";

/**
 * The order in which factor number `level` reads the input: within groups of `size · 2^level`, even pieces of half a block first, then
 * odd ones.
 */
function butterfly(width: number, size: number, level: number): number[] {
  const half = size / 2;
  const group = size * 2 ** level;
  const pieces = group / half;
  const order = [...Array(Math.ceil(pieces / 2)).keys()].map((i) => 2 * i);
  const sorted = [...order, ...order.map((i) => i + 1).filter((i) => i < pieces)];
  return Array.from({ length: width }, (_, i) => {
    const start = Math.floor(i / group) * group;
    const piece = sorted[Math.floor((i - start) / half)]!;
    return start + piece * half + ((i - start) % half);
  });
}

/** How many blocks of which size an input falls into; undefined where it does not, or the factors do not fit. */
function blocksOf(
  width: number,
  config: {
    readonly boftBlockSize: number;
    readonly boftBlockNum: number;
    readonly boftNButterflyFactor: number;
  },
): [blocks: number, size: number] | undefined {
  const size = config.boftBlockSize === 0 ? width / config.boftBlockNum : config.boftBlockSize;
  const levels = config.boftNButterflyFactor - 1;
  if (!Number.isInteger(size) || width % size !== 0) return undefined;
  if (levels > 0 && (size % 2 !== 0 || width % (size * 2 ** levels) !== 0)) return undefined;
  return [width / size, size];
}

/**
 * Rotation of a linear layer's input by a product of sparse orthogonal factors, and a factor on each output.
 *
 * W' = diag(s) W (Bₘ … B₁)ᵀ, Bᵢ = Pᵢ blockdiag(Cayley(½ (Aᵢ − Aᵢᵀ))) Pᵢᵀ, Cayley(Q) = (I − Q)(I + Q)⁻¹
 *
 * Shapes: x (N, in) → (N, out); in = blocks · size; A (factors, blocks, size, size); s (out, 1).
 * A starts at zero and s at one, so the layer is unchanged before the first step. Adds factors · in · size + out parameters to a
 * layer. The permutations Pᵢ let the factors mix what the blocks keep apart: m factors join groups of 2ᵐ⁻¹ blocks.
 * Differs from Hugging Face: more than one factor works on every machine, where there a compiled extension is needed.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "BOFT", boftBlockSize: 4, targetModules: ["q_proj", "v_proj"] });
 * @see Liu et al., "Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization", arXiv:2311.06243, §4
 */
export const boft = defineMethod({
  name: "BOFT",
  title: "BOFT",
  paper: "arXiv:2311.06243",
  formula: "y = s ⊙ W R x + b, R a product of permuted block-diagonal rotations",
  parameters: "factors · in · size + out",
  advice: "OFT where blocks must work together; slower, for image and control models more than for text.",
  sites: ["linear"],
  quantisedBase: true,
  modelDefaults: { targetModules: ["BOFT", "LORA"] },
  config: {
    boftBlockSize: integer({
      default: 4,
      min: 0,
      doc: "Size of a block, a divisor of every layer's input; 0 where boftBlockNum says it.",
    }),
    boftBlockNum: integer({ default: 0, min: 0, doc: "Number of blocks; 0 where boftBlockSize says it." }),
    boftNButterflyFactor: integer({ default: 1, min: 1, doc: "Number of factors, 1 or more." }),
    boftDropout: number({
      default: 0,
      min: 0,
      below: 1,
      doc: "How often a block of one of the factors is left unturned in training, 0 to below 1.",
    }),
    initWeights: flag({ default: true, doc: "Starts as the identity; otherwise at random, for tests." }),
    bias: biasOption("boft_only"),
    ...targetOptions,
  },
  inert: { fan_in_fan_out: false, layers_pattern: null, layers_to_transform: null },
  identityStart: ({ initWeights }) => initWeights,
  mergeable: () => true,
  check({ boftBlockSize, boftBlockNum }) {
    if ((boftBlockSize === 0) !== (boftBlockNum === 0)) return [];
    return [
      {
        keys: ["boftBlockSize", "boftBlockNum"],
        text: `${boftBlockSize} and ${boftBlockNum}: exactly one of the two has to be 0, as each follows from the other`,
        fix: { boftBlockSize: 4, boftBlockNum: 0 },
      },
    ];
  },
  parameterCount({ site }, config) {
    const [, size] = blocksOf(site.inFeatures, config) ?? [0, 0];
    return config.boftNButterflyFactor * site.inFeatures * size + site.outFeatures;
  },
  attach(site, config, scope) {
    const { inFeatures, outFeatures } = site;
    const factors = config.boftNButterflyFactor;
    const [blocks, size] = blocksOf(inFeatures, config) ?? misfit(scope.place.path, inFeatures, config);
    const start = config.initWeights ? nothing : gaussian(0.1);
    const A = scope.param("boft_R", [factors, blocks, size, size], start);
    const s = scope.param("boft_s", [outFeatures, 1], config.initWeights ? always(1) : gaussian(0.1, 1));
    const orders = Array.from({ length: factors === 1 ? 0 : factors }, (_, level) =>
      scope.once(`butterfly ${inFeatures} ${size} ${level}`, () => {
        const order = butterfly(inFeatures, size, level);
        const back = order.map((_from, i) => order.indexOf(i));
        const indices = (list: number[]) =>
          scope.frozen(hostTensor("int64", [inFeatures], BigInt64Array.from(list, BigInt)));
        return { order: indices(order), back: indices(back) };
      }),
    );
    /** x (N, in) through all factors, or through their transposes in the other order. */
    const turn = (
      { f, p, keep }: Pick<AdaptContext, "f" | "p"> & Partial<Pick<AdaptContext, "keep">>,
      x: Value,
      transposed: boolean,
    ): Value => {
      const pick = (y: Value, index: Parameter): Value =>
        f.transpose(f.gather(f.transpose(y, { axes: [1, 0] }), p(index)), { axes: [1, 0] });
      let y = x;
      for (let step = 0; step < factors; step += 1) {
        const level = transposed ? step : factors - 1 - step;
        const order = orders[level];
        const one = f.slice(p(A), { axis: 0, start: level, end: level + 1 });
        const full = f.reshape(one, { shape: [blocks, size, size] });
        const Q = f.scale(f.sub(full, f.transpose(full, { axes: [0, 2, 1] })), { by: 0.5 });
        const whole = cayley(f, transposed ? f.neg(Q) : Q, size);
        const R = keepBlocks(f, whole, keep?.(blocks, config.boftDropout / factors), blocks, size);
        if (order !== undefined) y = pick(y, order.back);
        y = rotateBlocks(f, y, R, blocks, size);
        if (order !== undefined) y = pick(y, order.order);
      }
      return y;
    };
    return {
      forward(context) {
        const { f, x, base, p, own } = context;
        const factor = f.reshape(p(s), { shape: [outFeatures] });
        const y = base(turn(context, x, false));
        if (site.bias === undefined) return f.mul(y, factor);
        const bias = own("bias");
        return f.add(f.mul(f.sub(y, bias), factor), bias);
      },
      merged: (context) => ({
        weight: context.f.mul(turn(context, context.own("weight"), true), context.p(s)),
      }),
    };
  },
});

function misfit(
  path: string,
  width: number,
  config: {
    readonly boftBlockSize: number;
    readonly boftBlockNum: number;
    readonly boftNButterflyFactor: number;
  },
): never {
  const { boftBlockSize, boftBlockNum, boftNButterflyFactor } = config;
  const [name, value] =
    boftBlockSize === 0 ? ["boftBlockNum", boftBlockNum] : ["boftBlockSize", boftBlockSize];
  const unit = 2 ** (boftNButterflyFactor - 1);
  throw new ConfigError({
    code: "block_size",
    summary: `${name}: ${value} does not cut the ${width} inputs of ${path} into equal blocks.`,
    facts: [
      [
        "needed",
        boftNButterflyFactor === 1
          ? `a divisor of ${width}`
          : `an even size of which ${unit} fit into ${width} without a rest, for boftNButterflyFactor ${boftNButterflyFactor}`,
      ],
    ],
    fixes: ["boftBlockSize: 4", "leave this module out: excludeModules"],
    fields: { path, width, boftBlockSize, boftBlockNum, boftNButterflyFactor },
  });
}
