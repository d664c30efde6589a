import { always, gaussian, type Initialiser, kaiming, nothing, seeded } from "../base/fill.js";
import { ConfigError } from "../base/errors.js";
import type { Value } from "../graph/value.js";
import { activations } from "../nn/activation.js";
import type { BlockSite, JoinContext } from "../nn/site.js";
import type { OpTable } from "../ops/op.js";
import type { Adapter, MethodDefinition, Scope } from "./method.js";
import {
  type BottleneckConfig,
  type BottleneckDefaults,
  bottleneckFaults,
  bottleneckInert,
  type BottleneckOptions,
  bottleneckOptions,
  bottleneckRefuses,
} from "./seq-bn-options.js";
import { kroneckerCount, kroneckerProjection, leftDeviation } from "./seq-bn-phm.js";

const EPSILON = 1e-5;

type Context = Pick<JoinContext, "f" | "p" | "dropout">;
type Step = (context: Context, x: Value) => Value;

/** Non-linearities that models have no use for. */
const more: Readonly<Record<string, (f: OpTable, x: Value) => Value>> = {
  sigmoid: (f, x) => f.sigmoid(x),
  leakyrelu: (f, x) => f.add(f.scale(x, { by: 0.01 }), f.scale(f.relu(x), { by: 0.99 })),
};

/** N(0, 0.01²) without what lies beyond two deviations. */
const truncated: Initialiser = (data, random) => {
  for (let i = 0; i < data.length; i += 1) {
    let draw = random.normal();
    while (Math.abs(draw) > 2) draw = random.normal();
    data[i] = 0.01 * draw;
  }
};

/** Width of the bottleneck at a place: ⌊D / reductionFactor⌋, 1 or more. */
function bottleneckWidth({ layer, width, module }: BlockSite, { reductionFactor }: BottleneckConfig): number {
  const factor =
    typeof reductionFactor === "number"
      ? reductionFactor
      : (reductionFactor[String(layer)] ?? reductionFactor["default"]);
  if (factor !== undefined) return Math.max(1, Math.floor(width / factor));
  throw new ConfigError({
    code: "reduction_factor_missing",
    summary: `reductionFactor has no number for layer ${layer} (${module.path}).`,
    facts: [["given for", Object.keys(reductionFactor).join(", ")]],
    fixes: [
      `add "${layer}", or "default" for all layers that are not named`,
      `leave the layer alone: leaveOut: [${layer}]`,
    ],
    fields: { layer, path: module.path },
  });
}

/** y = x Wᵀ + b. */
function linear(scope: Scope, key: string, [out, width]: readonly [Size, Size], init: Initialiser): Step {
  const weight = scope.param(`${key}.weight`, [out, width], init);
  const bias = scope.param(`${key}.bias`, [out], nothing);
  return ({ f, p }, x) => f.add(f.matmul(x, p(weight), { transposeB: true }), p(bias));
}

type Size = Parameters<Scope["param"]>[1][number];

function norm(scope: Scope, key: string, width: number): Step {
  const weight = scope.param(`${key}.weight`, [width], always(1));
  const bias = scope.param(`${key}.bias`, [width], nothing);
  return ({ f, p }, x) => f.layerNorm(x, p(weight), p(bias), { epsilon: EPSILON });
}

/** The factor on the bottleneck's result. */
function scaling(scope: Scope, value: BottleneckConfig["scaling"], width: number): Step {
  if (value === 1) return (_, x) => x;
  const factor =
    typeof value === "number"
      ? scope.scalar(value)
      : scope.param("scaling", [value === "learned" ? 1 : width], always(1));
  return ({ f, p }, x) => f.mul(x, p(factor));
}

/** Down- and up-projection. */
function projections(site: BlockSite, config: BottleneckConfig, scope: Scope): [down: Step, up: Step] {
  const { width } = site;
  const bottleneck = bottleneckWidth(site, config);
  const downKey = `adapter_down.${config.lnBefore ? 1 : 0}`;
  if (config.phmLayer) {
    const sizes = { inFeatures: width, outFeatures: bottleneck };
    const turned = { inFeatures: bottleneck, outFeatures: width };
    return [
      kroneckerProjection(config, { ...sizes, position: "down" }, scope, downKey),
      kroneckerProjection(config, { ...turned, position: "up" }, scope, "adapter_up"),
    ];
  }
  const { initWeights, initWeightsSeed } = config;
  const starts = {
    bert: [gaussian(0.02), gaussian(0.02)],
    mam_adapter: [kaiming(width), nothing],
    houlsby: [truncated, truncated],
  } as const;
  const start = (i: 0 | 1): Initialiser => seeded(initWeightsSeed, String(i), starts[initWeights][i]);
  const m = { symbol: "bottleneck", size: bottleneck };
  return [linear(scope, downKey, [m, width], start(0)), linear(scope, "adapter_up", [width, m], start(1))];
}

/** What the bottleneck makes of x, before anything goes around it: dropout(s · up(σ(down(x)))). */
function bottleneck(site: BlockSite, config: BottleneckConfig, scope: Scope): Step {
  const before: Step = config.lnBefore ? norm(scope, "adapter_norm_before", site.width) : (_, x) => x;
  const [down, up] = projections(site, config, scope);
  const scale = scaling(scope, config.scaling, site.width);
  const activate = activations[config.nonLinearity] ?? more[config.nonLinearity]!;
  return (context, x) => {
    const inner = activate(context.f, down(context, before(context, x))); // (N, m)
    return context.dropout(scale(context, up(context, inner)), config.dropout); // (N, D)
  };
}

function assertSum({ normed, module }: BlockSite, { residualBeforeLn, isParallel }: BottleneckConfig): void {
  if (normed || isParallel || residualBeforeLn !== "post_add") return;
  throw new ConfigError({
    code: "post_add_without_norm",
    summary: `residualBeforeLn: "post_add" has no meaning at ${module.path}, where no norm follows the sum.`,
    fixes: ["residualBeforeLn: false, which takes that sum here"],
    fields: { path: module.path },
  });
}

function attach(site: BlockSite, config: BottleneckConfig, scope: Scope): Adapter {
  assertSum(site, config);
  const branch = bottleneck(site, config, scope);
  const after: Step = config.lnAfter ? norm(scope, "adapter_norm_after", site.width) : (_, x) => x;
  const { residualBeforeLn, adapterResidualBeforeLn, originalLnBefore, originalLnAfter } = config;
  const finish = (context: JoinContext, y: Value): Value => (originalLnAfter ? context.base(y) : y);
  if (config.isParallel) {
    return {
      join: (context) =>
        finish(context, context.f.add(after(context, branch(context, context.r)), context.h)),
    };
  }
  return {
    join(context) {
      const { f, h, r } = context;
      const sum = originalLnBefore ? f.add(h, r) : h;
      const x = originalLnBefore && context.norm !== undefined ? context.norm(sum) : sum;
      const around = residualBeforeLn === true ? h : residualBeforeLn === "post_add" ? sum : x;
      const y = branch(context, x);
      return finish(
        context,
        adapterResidualBeforeLn ? after(context, f.add(y, around)) : f.add(after(context, y), around),
      );
    },
  };
}

/** Whether what goes around the bottleneck is what the layer has there without it. */
function leavesStream(config: BottleneckConfig): boolean {
  const { isParallel, originalLnBefore, originalLnAfter, residualBeforeLn } = config;
  if (isParallel) return originalLnAfter;
  if (config.lnAfter && config.adapterResidualBeforeLn) return false;
  const around = residualBeforeLn === true || !originalLnBefore;
  return around ? originalLnAfter : residualBeforeLn === false && !originalLnAfter;
}

/** Whether a fresh bottleneck gives nothing, to 1e-5. */
function startsAtZero(config: BottleneckConfig): boolean {
  if (config.scaling === 0) return true;
  if (!config.phmLayer) return config.initWeights === "mam_adapter";
  return leftDeviation(config) <= 2e-4 && !config.lnAfter && config.nonLinearity !== "sigmoid";
}

function ownCount(site: BlockSite, config: BottleneckConfig): number {
  const { width } = site;
  const m = bottleneckWidth(site, config);
  const norms = (config.lnBefore ? 2 * width : 0) + (config.lnAfter ? 2 * width : 0);
  const factor = config.scaling === "learned" ? 1 : config.scaling === "channel" ? width : 0;
  if (!config.phmLayer) return 2 * width * m + m + width + norms + factor;
  const down = kroneckerCount(config, { inFeatures: width, outFeatures: m, position: "down" });
  const up = kroneckerCount(config, { inFeatures: m, outFeatures: width, position: "up" });
  return down.own + up.own + norms + factor;
}

function sharedCount(site: BlockSite, config: BottleneckConfig): number {
  if (!config.phmLayer) return 0;
  const m = bottleneckWidth(site, config);
  const down = kroneckerCount(config, { inFeatures: site.width, outFeatures: m, position: "down" });
  const up = kroneckerCount(config, { inFeatures: m, outFeatures: site.width, position: "up" });
  return down.sharedLeft + down.sharedRight + up.sharedRight;
}

/** All of a bottleneck adapter but its name: a small network where a part of a layer is added to the residual stream. */
export const bottleneckAdapter = (
  defaults: BottleneckDefaults,
): Omit<
  MethodDefinition<BottleneckOptions, "block">,
  "name" | "title" | "paper" | "formula" | "parameters" | "advice"
> => ({
  sites: ["block"],
  everywhere: true,
  quantisedBase: true,
  config: bottleneckOptions(defaults),
  inert: bottleneckInert,
  refuses: bottleneckRefuses,
  // Methods share all options: what tells them apart chooses the name.
  adapterHub: ({ phm_layer: phm, is_parallel: parallel, scaling: factor, mh_adapter: attention }) =>
    phm === (defaults.phmLayer ?? false) &&
    (phm !== true && parallel === true
      ? defaults.isParallel === true && (factor === "learned") === (defaults.scaling === "learned")
      : defaults.isParallel !== true && attention === defaults.mhAdapter),
  check: bottleneckFaults,
  holds: ({ position, layer }, { mhAdapter, crossAdapter, outputAdapter, leaveOut }) =>
    ({ attention: mhAdapter, cross: crossAdapter, output: outputAdapter })[position] &&
    !leaveOut.includes(layer),
  parameterCount: ({ site }, config) => ownCount(site, config),
  sharedParameterCount: sharedCount,
  identityStart: (config) => leavesStream(config) && startsAtZero(config),
  mergeable: () => false,
  attach,
});
