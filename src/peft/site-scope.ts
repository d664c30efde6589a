import type { Initialiser } from "../base/fill.js";
import type { HostTensor } from "../base/host-tensor.js";
import type { DType } from "../base/tensor-type.js";
import { Random } from "../base/random.js";
import type { Companion, Place, Scope, StepFacts, SymbolicSize } from "../methods/method.js";
import { Parameter } from "../nn/parameter.js";

/** What the places of one adapter have in common. */
export class AdapterScope {
  /** Tensors that are saved, by their name in files, and those of them that are not trained. */
  readonly tensors = new Map<string, Parameter>();
  readonly fixed = new Set<Parameter>();
  readonly stepWork: ((facts: StepFacts) => void)[] = [];
  /** What is written in place of tensors and options when the adapter is saved. */
  readonly savedTensors = new Map<Parameter, () => HostTensor>();
  readonly savedOptions = new Map<string, () => unknown>();
  readonly #made = new Map<string, unknown>();

  /** @param seed - of a new adapter; undefined where its tensors come from a file. */
  constructor(
    readonly adapter: string,
    readonly seed: number | undefined,
    readonly places: readonly Place[],
    readonly config: Readonly<Record<string, unknown>>,
    /** What a calibration found, by path. */
    readonly found: ReadonlyMap<string, unknown> = new Map(),
  ) {}

  once<T>(key: string, make: () => T): T {
    if (!this.#made.has(key)) this.#made.set(key, make());
    return this.#made.get(key) as T;
  }
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
function liveKey(key: string, adapter: string): string {
  const [first, ...rest] = key.split(".");
  return [first, adapter, ...rest].join(".");
}

/** What a method makes its tensors with at one place. */
export class SiteScope implements Scope {
  readonly place: Place;
  readonly #common: AdapterScope;

  readonly #prefix: string;
  readonly #option: string | undefined;

  /** @param beside - what asks for the method, where it holds on beside another. */
  constructor(common: AdapterScope, place: Place, beside?: Pick<Companion, "prefix" | "option">) {
    this.#common = common;
    this.place = place;
    this.#prefix = beside?.prefix ?? "";
    this.#option = beside?.option;
  }

  get #path(): string {
    return `base_model.model.${this.place.path}${this.#prefix === "" ? "" : `.${this.#prefix.replace(/\.$/, "")}`}`;
  }

  get fresh(): boolean {
    return this.#common.seed !== undefined;
  }

  get seed(): number {
    return this.#seedOf("");
  }

  /** A seed of its own for every tensor of every place. */
  #seedOf(key: string): number {
    return ((this.#common.seed ?? 0) ^ textSeed(`${this.place.path}.${key}`)) >>> 0;
  }

  get places(): readonly Place[] {
    return this.#common.places;
  }

  calibrated<T>(): T | undefined {
    return this.#common.found.get(this.place.path) as T | undefined;
  }

  #save(prefix: string, key: string, parameter: Parameter, live = key): Parameter {
    const { adapter, tensors } = this.#common;
    parameter.name = `${prefix}.${liveKey(live, adapter)}`;
    tensors.set(`${prefix}.${key}`, parameter);
    return parameter;
  }

  #fixed(prefix: string, key: string, parameter: Parameter): Parameter {
    this.#common.fixed.add(parameter);
    return this.#save(prefix, key, parameter);
  }

  param(
    key: string,
    shape: readonly (number | SymbolicSize)[],
    init: Initialiser,
    { live, trained = true }: { readonly live?: string; readonly trained?: boolean } = {},
  ): Parameter {
    const { adapter } = this.#common;
    const { path } = this.place;
    const sizes = shape.map((dim) => (typeof dim === "number" ? dim : dim.size));
    const symbolic = shape.map((dim) =>
      typeof dim === "number" ? dim : `${dim.symbol} of ${pathInLayer(path)} (${adapter})`,
    );
    const parameter = new Parameter(sizes, { trainable: trained, symbolic });
    if (!trained) this.#common.fixed.add(parameter);
    this.#save(this.#path, key, parameter, live);
    const data = parameter.allocate();
    if (this.fresh) init(data, new Random(this.#seedOf(key)));
    return parameter;
  }

  sharedParam(key: string, original: Parameter, make: () => Parameter): Parameter {
    const known = this.once(`shared ${key}`, () => new Map<Parameter, Parameter>());
    const parameter = known.get(original) ?? make();
    // Beside another method the rows are saved once, under the first name.
    if (this.#prefix === "" || !known.has(original))
      this.#common.tensors.set(`${this.#path}.${key}`, parameter);
    known.set(original, parameter);
    return parameter;
  }

  state(key: string, tensor: HostTensor): Parameter {
    return this.#fixed(this.#path, key, this.frozen(tensor));
  }

  shared(
    key: string,
    tensor: HostTensor,
    { saved, trained = false }: { readonly saved: boolean; readonly trained?: boolean },
  ): Parameter {
    const parameter = this.frozen(tensor);
    parameter.trainable = trained;
    if (trained) return this.#save("base_model", key, parameter);
    return saved ? this.#fixed("base_model", key, parameter) : parameter;
  }

  frozen(tensor: HostTensor): Parameter {
    const parameter = new Parameter(tensor.dims, { dtype: tensor.dtype });
    parameter.assign(tensor);
    return parameter;
  }

  derived(
    type: { readonly dtype: DType; readonly dims: readonly number[] },
    make: () => HostTensor,
  ): Parameter {
    const parameter = new Parameter(type.dims, { dtype: type.dtype });
    parameter.defer(type.dtype, make);
    return parameter;
  }

  scalar(value: number): Parameter {
    const parameter = new Parameter([]);
    parameter.allocate()[0] = value;
    return parameter;
  }

  once<T>(key: string, make: () => T): T {
    return this.#common.once(key, make);
  }

  savedTensor(parameter: Parameter, make: () => HostTensor): void {
    this.#common.savedTensors.set(parameter, make);
  }

  written(option: string): string {
    return this.#option ?? option;
  }

  general<T>(option: string): T {
    return this.#common.config[option] as T;
  }

  savedOption(name: string, make: () => unknown): void {
    this.#common.savedOptions.set(name, make);
  }

  afterStep(work: (facts: StepFacts) => void): void {
    this.#common.stepWork.push(work);
  }
}
