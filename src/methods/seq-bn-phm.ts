import { ConfigError } from "../base/errors.js";
import { gaussian, type Initialiser, nothing, seeded } from "../base/fill.js";
import { hostTensor } from "../base/host-tensor.js";
import { Random, textSeed } from "../base/random.js";
import type { Value } from "../graph/value.js";
import type { JoinContext } from "../nn/site.js";
import type { Parameter } from "../nn/parameter.js";
import type { Scope } from "./method.js";
import type { BottleneckConfig } from "./seq-bn-options.js";

type Context = Pick<JoinContext, "f" | "p">;

const uniform =
  (limit: number): Initialiser =>
  (data, random) => {
    for (let i = 0; i < data.length; i += 1) data[i] = random.uniform(-limit, limit);
  };

/** N(0, 2 / (rows + columns)), for slices of a tensor (n, rows, columns). */
const glorot = (rows: number, columns: number): Initialiser => gaussian(Math.sqrt(2 / (rows + columns)));

/** A projection whose weight is a sum of Kronecker products. */
export interface KroneckerSizes {
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Which of the two projections it is. */
  readonly position: "down" | "up";
}

/** Shapes of the left factors Aᵢ (n, n), of all of them. */
const leftShapes = ({ phmDim: n, factorizedPhmRule }: BottleneckConfig): Record<string, number[]> =>
  factorizedPhmRule ? { phm_rule_left: [n, n, 1], phm_rule_right: [n, 1, n] } : { phm_rule: [n, n, n] };

/** Size of the entries that left factors start with; the bottleneck's result is of its square. */
export function leftDeviation(config: BottleneckConfig): number {
  const { sharedPhmRule, phmCInit, phmInitRange, factorizedPhmRule } = config;
  const shared = phmCInit === "normal" ? phmInitRange : 1;
  const one = sharedPhmRule ? shared : 0.01;
  return factorizedPhmRule ? one * one : one;
}

/** Shapes of the right factors Wᵢ (in/n, out/n), of all of them. */
function rightShapes(
  config: BottleneckConfig,
  { inFeatures, outFeatures }: KroneckerSizes,
): Record<string, number[]> {
  const { phmDim: n, phmRank: rank, factorizedPhmW } = config;
  const [rows, columns] = [inFeatures / n, outFeatures / n];
  return factorizedPhmW
    ? { W_left: [n, rows, rank], W_right: [n, rank, columns] }
    : { W: [n, rows, columns] };
}

const size = (shapes: Readonly<Record<string, readonly number[]>>): number =>
  Object.values(shapes).reduce((sum, shape) => sum + shape.reduce((product, dim) => product * dim, 1), 0);

/** Trained parameters of a projection: those of its place, and those that all places share. */
export function kroneckerCount(
  config: BottleneckConfig,
  sizes: KroneckerSizes,
): { readonly own: number; readonly sharedRight: number; readonly sharedLeft: number } {
  const left = config.learnPhm ? size(leftShapes(config)) : 0;
  const right = size(rightShapes(config, sizes));
  const bias = config.phmBias ? sizes.outFeatures : 0;
  return {
    own: bias + (config.sharedPhmRule ? 0 : left) + (config.sharedWPhm ? 0 : right),
    sharedLeft: config.sharedPhmRule ? left : 0,
    sharedRight: config.sharedWPhm ? right : 0,
  };
}

function checkSizes(
  config: BottleneckConfig,
  { inFeatures, outFeatures }: KroneckerSizes,
  path: string,
): void {
  const { phmDim: n } = config;
  const odd = [inFeatures, outFeatures].find((width) => width % n !== 0);
  if (odd === undefined) return;
  const width = Math.max(inFeatures, outFeatures);
  throw new ConfigError({
    code: "phm_dim",
    summary: `phmDim: ${n} does not divide the width ${odd} of a projection at ${path}.`,
    facts: [
      ["widths", `${inFeatures} and ${outFeatures}, the width of the model and that of the bottleneck`],
    ],
    fixes: [
      ...(width % n === 0 ? [`reductionFactor: ${width / n}, for a bottleneck of ${n}`] : []),
      "phmDim: a divisor of both widths",
    ],
    fields: { path, phmDim: n, inFeatures, outFeatures },
  });
}

/** H = Σᵢ Aᵢ ⊗ Wᵢ. Shapes: A (n, n, n), W (n, rows, columns) → (n · rows, n · columns). */
function kroneckerSum(f: Context["f"], A: Value, W: Value): Value {
  const [n, rows, columns] = W.type.shape as [number, number, number];
  const left = f.reshape(A, { shape: [n, n * n] });
  const right = f.reshape(W, { shape: [n, rows * columns] });
  const blocks = f.reshape(f.matmul(left, right, { transposeA: true }), { shape: [n, n, rows, columns] });
  return f.reshape(f.transpose(blocks, { axes: [0, 2, 1, 3] }), { shape: [n * rows, n * columns] });
}

/** One tensor, or the product of two factors of it. */
const whole = ({ f, p }: Context, parts: readonly Parameter[]): Value => {
  const [first, second] = parts.map((part) => p(part));
  return second === undefined ? first! : f.matmul(first!, second, {});
};

/** y = x Σᵢ Aᵢ ⊗ Wᵢ + b. Shapes: x (N, in) → (N, out). */
export function kroneckerProjection(
  config: BottleneckConfig,
  sizes: KroneckerSizes,
  scope: Scope,
  key: string,
): (context: Context, x: Value) => Value {
  checkSizes(config, sizes, scope.place.path);
  const { learnPhm, sharedPhmRule, sharedWPhm, phmCInit, phmInitRange, phmBias } = config;
  const shared = (name: string, shape: readonly number[], init: Initialiser, trained: boolean): Parameter =>
    scope.once(`shared ${name}`, () => {
      const data = new Float32Array(shape.reduce((product, dim) => product * dim, 1));
      if (scope.fresh) init(data, new Random((scope.seed ^ textSeed(name)) >>> 0));
      const tensor = hostTensor("float32", shape, data);
      return scope.shared(`shared_parameters.${name}`, tensor, { saved: true, trained });
    });
  const start = (name: string, init: Initialiser): Initialiser =>
    seeded(config.initWeightsSeed, `${sizes.position} ${name}`, init);
  const left = Object.entries(leftShapes(config)).map(([name, shape]) => {
    if (sharedPhmRule)
      return shared(name, shape, phmCInit === "normal" ? gaussian(phmInitRange) : uniform(1), learnPhm);
    const init = start(name, phmCInit === "normal" ? gaussian(0.01) : uniform(0.01));
    return scope.param(`${key}.${name}`, shape, init, { trained: learnPhm });
  });
  const right = Object.entries(rightShapes(config, sizes)).map(([name, shape]) => {
    const init = start(name, glorot(shape[1]!, shape[2]!));
    const common = name.replace("W", `W_${sizes.position}`);
    return sharedWPhm ? shared(common, shape, init, true) : scope.param(`${key}.${name}`, shape, init);
  });
  const bias = phmBias ? scope.param(`${key}.b`, [sizes.outFeatures], nothing) : undefined;
  return (context, x) => {
    const { f, p } = context;
    const y = f.matmul(x, kroneckerSum(f, whole(context, left), whole(context, right)), {});
    return bias === undefined ? y : f.add(y, p(bias));
  };
}
