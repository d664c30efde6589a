import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import type { Parameter } from "../nn/parameter.js";
import type { Scope } from "./method.js";

interface ResidualOptions {
  readonly r: number;
  readonly loraAlpha: number;
  readonly useRslora: boolean;
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  /** Options that are settings of the start, which an ordinary LoRA has none of. */
  readonly startSettings: readonly string[];
}

const scaled = (patterns: Readonly<Record<string, number>>, by: number): Record<string, number> =>
  Object.fromEntries(Object.entries(patterns).map(([name, value]) => [name, by * value]));

/**
 * The frozen pair that A and B started as, which is taken off where they are added. When the adapter is saved the two are put together
 * to an ordinary LoRA of twice the rank, B A − B₀ A₀ = [B, −B₀] [A; A₀], that any base takes as it is.
 */
export function keepResidual(
  scope: Scope,
  general: ResidualOptions,
  { A, B }: { readonly A: Parameter; readonly B: Parameter },
  pair: () => { readonly A: Float32Array; readonly B: Float32Array },
): { readonly A: Parameter; readonly B: Parameter } {
  const [r, width] = A.shape as [number, number];
  const out = B.shape[0]!;
  const kept = {
    A: scope.derived({ dtype: "float32", dims: [r, width] }, () =>
      hostTensor("float32", [r, width], pair().A),
    ),
    B: scope.derived({ dtype: "float32", dims: [out, r] }, () => hostTensor("float32", [out, r], pair().B)),
  };
  scope.savedTensor(A, (): HostTensor => {
    const both = new Float32Array(2 * r * width);
    both.set(A.data);
    both.set(kept.A.data, r * width);
    return hostTensor("float32", [2 * r, width], both);
  });
  scope.savedTensor(B, (): HostTensor => {
    const both = new Float32Array(out * 2 * r);
    for (let i = 0; i < out; i += 1) {
      for (let k = 0; k < r; k += 1) {
        both[i * 2 * r + k] = B.data[i * r + k]!;
        both[i * 2 * r + r + k] = -kept.B.data[i * r + k]!;
      }
    }
    return hostTensor("float32", [out, 2 * r], both);
  });
  scope.once("ordinary LoRA", () => {
    const { useRslora, rankPattern, alphaPattern } = general;
    // s = α / r stays where α doubles with r; with rsLoRA, s = α / √r, it grows by √2.
    const alpha = useRslora ? Math.SQRT2 : 2;
    scope.savedOption("r", () => 2 * scope.general<number>("r"));
    scope.savedOption("loraAlpha", () => alpha * scope.general<number>("loraAlpha"));
    scope.savedOption("rankPattern", () => scaled(rankPattern, 2));
    scope.savedOption("alphaPattern", () => scaled(alphaPattern, alpha));
    scope.savedOption("initLoraWeights", () => true);
    for (const settings of general.startSettings) scope.savedOption(settings, () => undefined);
    return true;
  });
  return kept;
}
