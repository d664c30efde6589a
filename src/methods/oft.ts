import { gaussian, nothing } from "../base/fill.js";
import { hostTensor } from "../base/host-tensor.js";
import { flag, integer, number } from "../base/option.js";
import { targetOptions, biasOption } from "../base/target-options.js";
import type { Value } from "../graph/value.js";
import type { AdaptContext } from "../nn/site.js";
import type { Parameter } from "../nn/parameter.js";
import { defineMethod } from "./method.js";

type Ops = AdaptContext["f"];

/** The divisor of `size` that is nearest to a wish, the smaller of two as near. */
function nearestDivisor(size: number, wish: number): number {
  for (let off = 0; off < size; off += 1) {
    for (const candidate of [wish - off, wish + off])
      if (candidate >= 1 && candidate <= size && size % candidate === 0) return candidate;
  }
  return size;
}

/** How many blocks of which size the input of a layer falls into. */
export function blocksOf(
  size: number,
  config: { readonly r: number; readonly oftBlockSize: number },
): [blocks: number, block: number] {
  if (config.oftBlockSize === 0) {
    const blocks = nearestDivisor(size, config.r);
    return [blocks, size / blocks];
  }
  const block = nearestDivisor(size, config.oftBlockSize);
  return [size / block, block];
}

/** Where each entry of a b × b matrix is found in its b (b − 1) / 2 numbers above the diagonal; on the diagonal, the last place. */
function upperIndex(b: number): BigInt64Array {
  const index = new BigInt64Array(b * b).fill(BigInt((b * (b - 1)) / 2));
  let next = 0n;
  for (let row = 0; row < b; row += 1) {
    for (let column = row + 1; column < b; column += 1) {
      index[row * b + column] = next;
      index[column * b + row] = next;
      next += 1n;
    }
  }
  return index;
}

/** +1 above the diagonal, −1 below, 0 on it. */
const signs = (b: number): Float32Array =>
  Float32Array.from({ length: b * b }, (_, i) => Math.sign((i % b) - Math.floor(i / b)));

const identity = (f: Ops, b: number): Value =>
  f.constant({ shape: [b, b], value: Array.from({ length: b * b }, (_, i) => (i % (b + 1) === 0 ? 1 : 0)) });

/** (I − Q)(I + Q)⁻¹ of skew-symmetric blocks Q (…, b, b). */
export function cayley(f: Ops, Q: Value, b: number): Value {
  const eye = identity(f, b);
  return f.matmul(f.sub(eye, Q), f.inverse(f.add(Q, eye)), {});
}

/** The first terms of (I + Q)(I − Q)⁻¹ = I + 2 Q + 2 Q² + …, the last of them once instead of twice, as Hugging Face has it. */
function neumann(f: Ops, Q: Value, b: number, terms: number): Value {
  let R: Value = f.add(f.scale(Q, { by: terms > 1 ? 2 : 0 }), identity(f, b));
  if (terms <= 2) return R;
  let power = f.matmul(Q, Q, {});
  R = f.add(R, f.scale(power, { by: 2 }));
  for (let i = 3; i < terms - 1; i += 1) {
    power = f.matmul(power, Q, {});
    R = f.add(R, f.scale(power, { by: 2 }));
  }
  return f.add(R, f.matmul(power, Q, {}));
}

/** x (N, blocks · b) with every block of a row multiplied by its matrix of R (blocks or 1, b, b). */
export function rotateBlocks(f: Ops, x: Value, R: Value, blocks: number, b: number): Value {
  const N = x.type.shape[0]!;
  const split = f.transpose(f.reshape(x, { shape: [N, blocks, b] }), { axes: [1, 0, 2] }); // (blocks, N, b)
  const turned = f.transpose(f.matmul(split, R, {}), { axes: [1, 0, 2] }); // (N, blocks, b)
  return f.reshape(turned, { shape: [N, blocks * b] });
}

/** Blocks R where `keep` is 1 and the identity where it is 0. */
export function keepBlocks(f: Ops, R: Value, keep: Value | undefined, blocks: number, b: number): Value {
  if (keep === undefined) return R;
  const eye = identity(f, b);
  return f.add(f.mul(f.sub(R, eye), f.reshape(keep, { shape: [blocks, 1, 1] })), eye);
}

/** Shortens every row of the numbers above the diagonal so that the norm of its skew matrix is at most eps / √rows. */
function project(data: Float32Array, rows: number, eps: number): void {
  const width = data.length / rows;
  for (let row = 0; row < rows; row += 1) {
    const part = data.subarray(row * width, (row + 1) * width);
    const norm = Math.sqrt(2 * part.reduce((sum, v) => sum + v * v, 0));
    const limit = eps / Math.sqrt(rows);
    if (norm > limit) for (let i = 0; i < width; i += 1) part[i]! *= limit / norm;
  }
}

/**
 * Rotation of a linear layer's input, block by block.
 *
 * y = W R x + b, R = blockdiag(R₁ … Rₙ), each Rᵢ made of a skew-symmetric Qᵢ
 *
 * Shapes: x (N, in) → (N, out); in = blocks · size; the numbers above the diagonals of Q (blocks, size (size − 1) / 2).
 * Q starts at zero, so the layer is unchanged before the first step. Adds blocks · size (size − 1) / 2 parameters to a layer; with
 * `blockShare` size (size − 1) / 2.
 * Rᵢ is the Cayley map of Qᵢ: `useCayleyNeumann` takes the first terms of the series of (I + Q)(I − Q)⁻¹, otherwise it is
 * (I − Q)(I + Q)⁻¹, to rounding. The two turn in opposite directions, as in Hugging Face, so an adapter trained with one is of no use
 * with the other. The exact map needs Q below about 40, which is next to a half turn.
 * Differs from Hugging Face: `moduleDropout` acts (there it is built and not used).
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "OFT", oftBlockSize: 32, targetModules: ["q_proj", "v_proj"] });
 * @see Qiu et al., "Controlling Text-to-Image Diffusion by Orthogonal Finetuning", arXiv:2306.07280; Qiu et al., "Orthogonal
 * Finetuning Made Scalable", arXiv:2506.19847
 */
export const oft = defineMethod({
  name: "OFT",
  title: "OFT",
  paper: "arXiv:2306.07280",
  formula: "y = W R x + b, R block-diagonal and orthogonal",
  parameters: "blocks · size · (size − 1) / 2 with in = blocks · size; one block with blockShare",
  advice:
    "Keeps angles between neurons, so what the base knows is disturbed least; small blocks for few parameters.",
  sites: ["linear"],
  quantisedBase: true,
  modelDefaults: { targetModules: ["OFT", "LORA"] },
  config: {
    r: integer({ default: 0, min: 0, doc: "Number of blocks; 0 where oftBlockSize says it." }),
    oftBlockSize: integer({
      default: 32,
      min: 0,
      doc: "Size of a block; sizes that do not divide a layer's input are moved to the nearest that does. 0 where r says it.",
    }),
    moduleDropout: number({
      default: 0,
      min: 0,
      below: 1,
      doc: "How often a block is left unturned in training, 0 to below 1.",
    }),
    coft: flag({
      default: false,
      doc: "Keeps the rotation small: the norm of every Q at most eps / √blocks.",
    }),
    eps: number({ default: 6e-5, above: 0, doc: "How far coft lets a block turn; above 0." }),
    blockShare: flag({ default: false, doc: "One block for all places in the input." }),
    useCayleyNeumann: flag({
      default: true,
      doc: "Takes a few terms of the series instead of the exact map.",
    }),
    numCayleyNeumannTerms: integer({ default: 5, min: 1, doc: "Terms of the series, 1 or more." }),
    initWeights: flag({ default: true, doc: "Starts Q at zero; otherwise at random, for tests." }),
    bias: biasOption("oft_only"),
    ...targetOptions,
  },
  inert: { fan_in_fan_out: false, layers_pattern: null, layers_to_transform: null },
  identityStart: ({ initWeights }) => initWeights,
  mergeable: () => true,
  check({ r, oftBlockSize }) {
    if ((r === 0) !== (oftBlockSize === 0)) return [];
    return [
      {
        keys: ["r", "oftBlockSize"],
        text: `${r} and ${oftBlockSize}: exactly one of the two has to be 0, as each follows from the other (oftBlockSize: 0 to choose the number of blocks)`,
        fix: { r: 0, oftBlockSize: 32 },
      },
    ];
  },
  parameterCount({ site }, config) {
    const [blocks, b] = blocksOf(site.inFeatures, config);
    return ((config.blockShare ? 1 : blocks) * b * (b - 1)) / 2;
  },
  attach(site, config, scope) {
    const [blocks, b] = blocksOf(site.inFeatures, config);
    const rows = config.blockShare ? 1 : blocks;
    const count = (b * (b - 1)) / 2;
    const numbers = scope.param("oft_R.weight", [rows, count], config.initWeights ? nothing : gaussian(0.1));
    const frame = scope.once(`skew ${b}`, () => ({
      index: scope.frozen(hostTensor("int64", [b * b], upperIndex(b))),
      sign: scope.frozen(hostTensor("float32", [b * b, 1], signs(b))),
    }));
    if (config.coft) scope.afterStep(() => project(numbers.data, rows, config.eps));
    const rotation = (f: Ops, p: (parameter: Parameter) => Value): Value => {
      let q = p(numbers);
      if (config.coft) {
        // Longer ones are shortened here too; the gradient takes them for what they are, as after an in-place cut.
        const norm = f.sqrt(f.offset(f.scale(f.sumSquare(q), { by: 2 }), { by: 1e-30 }));
        const ratio = f.scale(f.reciprocal(norm), { by: config.eps / Math.sqrt(rows) });
        const factor = f.offset(f.neg(f.relu(f.offset(f.neg(ratio), { by: 1 }))), { by: 1 }); // min(1, ratio)
        q = f.add(q, f.detach(f.sub(f.mul(q, factor), q)));
      }
      const padded = f.pad(f.transpose(q, { axes: [1, 0] }), { axis: 0, before: 0, after: 1 }); // (count + 1, rows)
      const full = f.mul(f.gather(padded, p(frame.index)), p(frame.sign)); // (b², rows)
      const Q = f.reshape(f.transpose(full, { axes: [1, 0] }), { shape: [rows, b, b] });
      return config.useCayleyNeumann ? neumann(f, Q, b, config.numCayleyNeumannTerms) : cayley(f, Q, b);
    };
    return {
      forward({ f, x, base, p, keep }) {
        const R = keepBlocks(
          f,
          rotation(f, p),
          rows === 1 ? undefined : keep(rows, config.moduleDropout),
          rows,
          b,
        );
        return base(rotateBlocks(f, x, R, blocks, b));
      },
      merged: ({ f, own, p }) => ({
        // W Rᵀ, as x R comes before the weight
        weight: rotateBlocks(f, own("weight"), f.transpose(rotation(f, p), { axes: [0, 2, 1] }), blocks, b),
      }),
    };
  },
});
