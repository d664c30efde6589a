import { ConfigError, UnsupportedError } from "../base/errors.js";
import { gaussian, type Initialiser, kaiming, nothing } from "../base/fill.js";
import type { EmbeddingSite, LinearSite } from "../nn/site.js";
import type { Adapter, ConfigFault, Place, Scope } from "./method.js";

interface ParameterOptions {
  readonly r: number;
  readonly initLoraWeights: boolean | string;
  readonly trainableTokenIndices?: unknown;
}

const isTurned = ({ site }: Place): boolean => site.module.transposed.includes("weight");

/** How A and B start, by `initLoraWeights`; starts from the weight are for layers that keep it (out, in). */
const STARTS: Readonly<Record<string, (r: number, columns: number) => { A: Initialiser; B: Initialiser }>> = {
  true: (_, columns) => ({ A: kaiming(columns), B: nothing }),
  false: (r, columns) => ({ A: kaiming(columns), B: kaiming(r) }),
  gaussian: (r) => ({ A: gaussian(1 / r), B: nothing }),
};

/** Faults of options that a parameter cannot have, which has no inputs to drop, to look at or to add a bias to. */
export function parameterFaults(config: {
  readonly targetParameters?: readonly unknown[] | undefined;
  readonly loraDropout: number;
  readonly useDora: boolean;
  readonly loraBias: boolean;
  readonly initLoraWeights: boolean | string;
}): ConfigFault[] {
  const { targetParameters = [], loraDropout, useDora, loraBias, initLoraWeights } = config;
  if (targetParameters.length === 0) return [];
  const faults: readonly (readonly [option: string, value: unknown, reason: string, instead: unknown])[] = [
    ["loraDropout", loraDropout, "a parameter has no inputs to drop", 0],
    ["useDora", useDora, "the lengths belong to a layer", false],
    ["loraBias", loraBias, "a parameter has no bias", false],
    [
      "initLoraWeights",
      /^(eva|corda|lora_ga|mica|loftq)$/.test(String(initLoraWeights)) && initLoraWeights,
      "this start is for layers",
      true,
    ],
  ];
  return faults.flatMap(([option, value, reason, instead]) =>
    value === 0 || value === false
      ? []
      : [
          {
            keys: [option, "targetParameters"],
            text: `${String(value)}: ${reason}`,
            fix: { [option]: instead },
          },
        ],
  );
}

/** What an adapter of single parameters cannot be beside, by the rules of whoever reads its file. */
export function checkParameterPlaces(
  place: Place,
  places: readonly Place[],
  options: ParameterOptions,
): void {
  if (place.parameter === undefined) return;
  const path = `${place.path}.${place.parameter}`;
  const module = places.find((other) => other.parameter === undefined && isTurned(other));
  if (module !== undefined) {
    throw new UnsupportedError({
      code: "parameter_beside_turned",
      summary: `targetParameters: ${path} cannot be adapted beside the module ${module.path}, whose weight is kept (in, out).`,
      facts: [["reason", "Hugging Face PEFT knows one or the other in an adapter"]],
      fixes: [
        "targetModules: []   (the parameters alone)",
        "leave targetParameters out   (the modules alone)",
      ],
      fields: { path, module: module.path },
    });
  }
  if (place.site.kind === "embedding" && options.trainableTokenIndices !== undefined) {
    throw new UnsupportedError({
      code: "parameter_with_tokens",
      summary: `targetParameters: ${path} cannot be adapted beside trainableTokenIndices.`,
      facts: [
        ["reason", "Hugging Face PEFT trains no rows of an embedding whose weight is adapted by itself"],
      ],
      fixes: [`targetModules: [${JSON.stringify(place.path)}]   (in place of the parameter)`],
      fields: { path },
    });
  }
}

/** Whether a parameter takes another update than its module would: an embedding, or a weight that is kept (in, out). */
export const isOwnUpdate = (place: Place): boolean =>
  place.parameter !== undefined && (place.site.kind === "embedding" || isTurned(place));

/**
 * Low-rank update of a parameter P as it is kept: P + s · B A.
 *
 * Embedding: y = (P + s B A)[ids]. Weight kept (in, out): y = x (P + s B A) + b. The sum is never made.
 *
 * Shapes: P (rows, columns); A (r, columns); B (rows, r).
 */
export function parameterUpdate(
  site: LinearSite | EmbeddingSite,
  { r, initLoraWeights }: ParameterOptions,
  factor: number,
  scope: Scope,
): Adapter {
  const [rows, columns] = site.weight.shape as [number, number];
  const start = STARTS[String(initLoraWeights)]?.(r, columns);
  if (start === undefined) {
    const path = `${scope.place.path}.${scope.place.parameter}`;
    throw new ConfigError({
      code: "option_value",
      summary: `initLoraWeights: ${String(initLoraWeights)} is for layers, and targetParameters names ${path}.`,
      facts: [["expected", "true, false or gaussian for a table, or for a weight that is kept (in, out)"]],
      fixes: [
        "initLoraWeights: true",
        `targetModules: [${JSON.stringify(scope.place.path)}]   (in place of the parameter)`,
      ],
      fields: { path, initLoraWeights },
    });
  }
  const rank = { symbol: "r", size: r };
  const scaling = scope.scalar(factor);
  const A = scope.param("lora_A.weight", [rank, columns], start.A);
  const B = scope.param("lora_B.weight", [rows, rank], start.B);
  return {
    forward({ f, x, base, p }) {
      const low = site.kind === "embedding" ? f.gather(p(B), x) : f.matmul(x, p(B), {}); // (N, r)
      return f.add(base(x), f.matmul(f.mul(low, p(scaling)), p(A), {}));
    },
    merged({ f, own, p }) {
      // A linear layer's own weight is (out, in), whichever way it is kept.
      const update =
        site.kind === "embedding"
          ? f.matmul(p(B), p(A), {})
          : f.matmul(p(A), p(B), { transposeA: true, transposeB: true });
      return { weight: f.add(own("weight"), f.mul(update, p(scaling))) };
    },
  };
}
