import { Random } from "../base/random.js";
import { methods, type PeftConfig, type PeftType } from "../methods/index.js";
import type { Initialiser, MethodDefinition, Scope, SymbolicSize } from "../methods/method.js";
import { Parameter } from "../nn/parameter.js";
import type { Attachment } from "../nn/site.js";
import { type Match, patternValue } from "./match.js";

/** Values of all options of a method, defaults filled in. */
export type ResolvedConfig = Readonly<Record<string, unknown>>;

/** An adapter that is attached to a model. */
export interface AttachedAdapter {
  readonly name: string;
  readonly method: MethodDefinition;
  readonly config: ResolvedConfig;
  /** Its saved tensors, by their name in adapter files. */
  readonly tensors: ReadonlyMap<string, Parameter>;
  /** Where it holds on, by path. */
  readonly attachments: ReadonlyMap<string, Attachment>;
}

/** The definition behind a `peftType`. */
export function methodOf(peftType: PeftType): MethodDefinition {
  return methods[peftType] as unknown as MethodDefinition;
}

/** The options of a method, without `peftType`. */
export function configOptions(config: PeftConfig): Record<string, unknown> {
  const { peftType: _, ...options } = config;
  return options;
}

/** A seed that depends on the text alone. */
function textSeed(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** The part of a path below the layer's number, so that all layers name their sizes alike. */
const pathInLayer = (path: string): string => path.split(/\.\d+\./).at(-1)!;

/** `lora_A.weight` as the live parameter is called: `lora_A.default.weight`. */
export function liveKey(key: string, adapter: string): string {
  const [first, ...rest] = key.split(".");
  return [first, adapter, ...rest].join(".");
}

class SiteScope implements Scope {
  readonly tensors = new Map<string, Parameter>();

  constructor(
    readonly path: string,
    readonly adapter: string,
    readonly seed: number,
  ) {}

  param(key: string, shape: readonly (number | SymbolicSize)[], init: Initialiser): Parameter {
    const sizes = shape.map((dim) => (typeof dim === "number" ? dim : dim.size));
    const symbolic = shape.map((dim) =>
      typeof dim === "number" ? dim : `${dim.symbol} of ${pathInLayer(this.path)} (${this.adapter})`,
    );
    const parameter = new Parameter(sizes, { trainable: true, symbolic });
    parameter.name = `base_model.model.${this.path}.${liveKey(key, this.adapter)}`;
    init(parameter.allocate(), new Random((this.seed ^ textSeed(`${this.path}.${key}`)) >>> 0));
    this.tensors.set(`base_model.model.${this.path}.${key}`, parameter);
    return parameter;
  }

  scalar(value: number): Parameter {
    const parameter = new Parameter([]);
    parameter.allocate()[0] = value;
    return parameter;
  }
}

/** The options as they are for one module: `rankPattern` and `alphaPattern` replace the general values. */
function configAt(config: ResolvedConfig, path: string): ResolvedConfig {
  const at = (name: string): number | undefined => {
    const patterns = config[name] as Readonly<Record<string, number>> | undefined;
    return patterns === undefined ? undefined : patternValue(patterns, path);
  };
  const [r, loraAlpha] = [at("rankPattern"), at("alphaPattern")];
  return { ...config, ...(r !== undefined && { r }), ...(loraAlpha !== undefined && { loraAlpha }) };
}

/** Puts a method at every matched module. */
export function attachAdapter(
  method: MethodDefinition,
  config: ResolvedConfig,
  matches: readonly Match[],
  options: { readonly name: string; readonly seed: number },
): AttachedAdapter {
  const tensors = new Map<string, Parameter>();
  const attachments = new Map<string, Attachment>();
  for (const { path, module } of matches) {
    const scope = new SiteScope(path, options.name, options.seed);
    const adapter = method.attach(module.site()!, configAt(config, path) as never, scope);
    const attachment: Attachment = { adapter: options.name, active: false, ...adapter };
    module.attachments.push(attachment);
    attachments.set(path, attachment);
    for (const [key, parameter] of scope.tensors) tensors.set(key, parameter);
  }
  return { name: options.name, method, config, tensors, attachments };
}
