import type {
  BackwardOptions,
  BackwardOutput,
  Evaluation,
  PretrainedModel,
} from "../auto/pretrained-model.js";
import type { PeftConfig } from "../methods/index.js";
import type { StepFacts } from "../methods/method.js";
import type { Parameter } from "../nn/parameter.js";
import { assertAdapterHub, saveForAdapterHub } from "./adapterhub-save.js";
import type { AdapterLayout } from "./adapter-layout.js";
import { checkAdapterName, unknownAdapter } from "./adapter-name.js";
import type { PeftWarning } from "./adapter-plan.js";
import { attachFresh, type AttachOptions, type CalibratedAttachOptions } from "./attach-fresh.js";
import { type AttachedAdapter, detach, wrappedName } from "./attached-adapter.js";
import { calibrate, type Calibrated } from "./calibrate.js";
import { loadAdapterFolder } from "./load-adapter.js";
import { mergeAdapter, type MergeOptions } from "./merge.js";
import { assertMergeable } from "./model-adapter.js";
import { AdapterRows, type MixedOptions } from "./adapter-rows.js";
import { type NamedParameter, renamed } from "./named-parameter.js";
import { addPenalty } from "./penalty.js";
import { saveAdapter } from "./save-adapter.js";

/** What `forward` and `backward` of a base model take. */
type BatchOf<Base extends PretrainedModel> = Parameters<Base["forward"]>[0];

/** A base model with adapters. The base is frozen; what is trained is the active adapter alone. */
export class PeftModel<Base extends PretrainedModel = PretrainedModel> {
  readonly base: Base;
  /** Things worth knowing that came up when adapters were attached. */
  readonly warnings: PeftWarning[] = [];
  readonly #adapters = new Map<string, AttachedAdapter>();
  #active: string | undefined;
  readonly #rows: AdapterRows;

  constructor(base: Base) {
    this.base = base;
    this.#rows = new AdapterRows(base, {
      names: () => this.adapterNames,
      use: (name, body) => this.withAdapter(name, body),
    });
  }

  /**
   * Loads an adapter that Hugging Face PEFT or peft.js saved, onto a base model.
   *
   * @throws {@link CheckpointError} where the tensors do not fit the base, naming each
   * @example
   * const model = await PeftModel.fromPretrained(base, "out", { adapterName: "default" });
   */
  static async fromPretrained<Base extends PretrainedModel>(
    base: Base,
    path: string,
    options: { readonly adapterName?: string; readonly isTrainable?: boolean } = {},
  ): Promise<PeftModel<Base>> {
    const model = new PeftModel(base);
    await model.loadAdapter(path, options.adapterName ?? "default", options);
    return model;
  }

  /** Names of the adapters, in the order they came. */
  get adapterNames(): string[] {
    return [...this.#adapters.keys()];
  }

  /** The adapter that is in use; undefined while all are off. */
  get activeAdapter(): string | undefined {
    return this.#active;
  }

  /** Whether the first token of a row is predicted too, from virtual tokens before it. */
  get predictsFirstToken(): boolean {
    return this.base.predictsFirstToken;
  }

  /** The attached adapter of a name, the active one unless said otherwise. */
  adapter(name = this.#active ?? this.adapterNames[0]!): AttachedAdapter {
    const adapter = this.#adapters.get(name);
    if (adapter !== undefined) return adapter;
    throw unknownAdapter(name, this.adapterNames);
  }

  /** Attaches a fresh adapter and makes it the active one, ready to be trained. */
  addAdapter(config: PeftConfig, options: AttachOptions = {}): AttachedAdapter {
    return this.#add(config, options);
  }

  /**
   * The same for adapters whose start looks at data: runs `calibration` through the base first.
   *
   * @throws {@link ConfigError} `calibration_missing` where the start needs batches and there are none
   */
  async calibrateAdapter(
    config: PeftConfig,
    options: CalibratedAttachOptions = {},
  ): Promise<AttachedAdapter> {
    const { calibration, signal, adapterName = "default" } = options;
    checkAdapterName(adapterName, this.adapterNames);
    const settled = await this.withoutAdapter(() => calibrate(this.base, config, calibration, { signal }));
    const adapter = this.#add(settled.config, options, settled);
    this.warnings.push(...settled.warnings);
    return adapter;
  }

  #add(
    config: PeftConfig,
    { adapterName = "default", seed = 0 }: AttachOptions,
    calibrated?: Calibrated,
  ): AttachedAdapter {
    checkAdapterName(adapterName, this.adapterNames);
    const { adapter, warnings } = attachFresh(this.base, config, { name: adapterName, seed, calibrated });
    this.#adapters.set(adapterName, adapter);
    this.warnings.push(...warnings);
    this.setAdapter(adapterName);
    return adapter;
  }

  /** Loads a further adapter from a folder, or from the Hub by its id. */
  async loadAdapter(
    path: string,
    adapterName: string,
    options: { readonly isTrainable?: boolean } = {},
  ): Promise<AttachedAdapter> {
    checkAdapterName(adapterName, this.adapterNames);
    const { adapter, warnings } = await loadAdapterFolder(this.base, path, adapterName, options);
    this.warnings.push(...warnings);
    this.#adapters.set(adapterName, adapter);
    if (options.isTrainable === true && adapter.withoutEncoder === true) {
      const text = `${path} holds no encoder: what it computed is trained directly from here on.`;
      this.warnings.push({ code: "encoder_missing", text });
    }
    this.setAdapter(adapterName, { trainable: options.isTrainable ?? false });
    return adapter;
  }

  /** Makes one adapter the active one; the others stay attached and do nothing. */
  setAdapter(name: string, options: { readonly trainable?: boolean } = {}): void {
    const chosen = this.adapter(name);
    for (const adapter of this.#adapters.values()) {
      const active = adapter === chosen;
      for (const { attachment } of adapter.attachments) attachment.active = active;
      for (const parameter of adapter.tensors.values())
        parameter.trainable = active && (options.trainable ?? true) && !adapter.fixed.has(parameter);
    }
    this.#active = name;
    this.base.structureChanged();
  }

  /** Switches all adapters off: the model is the base again. `setAdapter` switches one on. */
  disableAdapters(): void {
    for (const adapter of this.#adapters.values()) {
      for (const { attachment } of adapter.attachments) attachment.active = false;
    }
    this.#active = undefined;
    this.base.structureChanged();
  }

  /** Runs `body` with the base alone, and puts everything back as it was, also after an error. */
  withoutAdapter<T>(body: () => Promise<T>): Promise<T> {
    return this.withAdapter(undefined, body);
  }

  /** Runs `body` with another adapter in use, or with none, and puts everything back as it was, also after an error. */
  async withAdapter<T>(adapterName: string | undefined, body: () => Promise<T>): Promise<T> {
    const attachments = [...this.#adapters.values()].flatMap((adapter) =>
      adapter.attachments.map(({ attachment }) => attachment),
    );
    const before = attachments.map(({ active }) => active);
    const chosen = adapterName === undefined ? [] : this.adapter(adapterName).attachments;
    const name = this.#active;
    this.disableAdapters();
    for (const { attachment } of chosen) attachment.active = true;
    this.#active = adapterName;
    try {
      return await body();
    } finally {
      for (const [i, attachment] of attachments.entries()) attachment.active = before[i]!;
      this.#active = name;
      this.base.structureChanged();
    }
  }

  /** Takes an adapter off the model. */
  deleteAdapter(name: string): void {
    detach(this.adapter(name).attachments);
    this.#adapters.delete(name);
    if (this.#active === name) this.#active = undefined;
    this.base.structureChanged();
  }

  /**
   * What the base answers, with the active adapter in it, or with an adapter of its own for each row.
   *
   * @example
   * const { logits } = await model.forward({ inputIds }, { adapterNames: ["tenant-a", "tenant-b", "__base__"] });
   */
  forward(batch: BatchOf<Base>, options: MixedOptions = {}): ReturnType<Base["forward"]> {
    return this.#rows.forward(batch, options) as ReturnType<Base["forward"]>;
  }

  /** Loss and gradients of the base, and what the active adapter puts on the loss, once a step however many batches it has. */
  async backward(batch: BatchOf<Base>, options: BackwardOptions = {}): Promise<BackwardOutput> {
    const result = await this.#rows.backward(batch, options);
    if (this.#active === undefined) return result;
    const share = result.supervisedTokens / (options.normalizer ?? Math.max(1, result.supervisedTokens));
    const penalty = await addPenalty(this.base, this.adapter(), share, options);
    return { ...result, loss: result.loss + penalty };
  }

  /**
   * Does what some methods need after every optimiser step, such as moving ranks between layers; `train` calls it. Call it before the
   * gradients are forgotten.
   */
  afterStep(facts: StepFacts): void {
    if (this.#active !== undefined) for (const work of this.adapter().stepWork) work(facts);
  }

  /** Summed loss and answers; rows may have adapters of their own, as in `forward`. */
  evaluate(batch: BatchOf<Base>, options: MixedOptions = {}): Promise<Evaluation> {
    return this.#rows.evaluate(batch, options);
  }

  /** All parameters under Hugging Face's names; weights of adapted modules have `base_layer` in theirs. */
  *namedParameters(): Generator<NamedParameter> {
    const attachments = [...this.#adapters.values()].flatMap((adapter) => adapter.attachments);
    for (const parameter of this.base.namedParameters())
      yield renamed(parameter, `base_model.model.${wrappedName(parameter.name, attachments)}`);
    for (const { tensors } of this.#adapters.values()) yield* new Set(tensors.values());
  }

  trainableParameters(): Parameter[] {
    const all = [...this.#adapters.values()].flatMap(({ tensors }) => [...tensors.values()]);
    return [...new Set(all)].filter(({ trainable }) => trainable);
  }

  /** Counts of parameters. */
  parameterCount(): { trainable: number; all: number } {
    const count = (parameters: Iterable<NamedParameter>): number =>
      [...parameters].reduce((total, { size }) => total + size, 0);
    return { trainable: count(this.trainableParameters()), all: count(this.namedParameters()) };
  }

  /** The line that people know: `trainable params: … || all params: … || trainable%: …`. */
  trainableParametersLine(): string {
    const { trainable, all } = this.parameterCount();
    const share = ((100 * trainable) / all).toFixed(4);
    return `trainable params: ${trainable.toLocaleString("en")} || all params: ${all.toLocaleString("en")} || trainable%: ${share}`;
  }

  printTrainableParameters(): void {
    console.log(this.trainableParametersLine());
  }

  /**
   * Writes adapter_config.json and adapter_model.safetensors, readable by Hugging Face PEFT, or with `layout: "adapterhub"` what AdapterHub
   * reads. The adapter called `default` goes into the folder itself, any other into a folder of its name below.
   */
  async savePretrained(
    folder: string,
    options: {
      readonly adapterNames?: readonly string[];
      /** @defaultValue "peft" */
      readonly layout?: AdapterLayout;
    } = {},
  ): Promise<void> {
    const save = options.layout === "adapterhub" ? saveForAdapterHub : saveAdapter;
    for (const name of options.adapterNames ?? this.adapterNames)
      await save(this.base, this.adapter(name), name === "default" ? folder : `${folder}/${name}`);
  }

  /** Throws what `savePretrained` would refuse in a layout: worth asking before a long training. */
  assertSavable(layout: AdapterLayout, adapterName = this.#active): void {
    if (layout === "adapterhub") assertAdapterHub(this.base, this.adapter(adapterName));
  }

  /**
   * Adds the active adapter to the weights and takes all adapters off; what remains is an ordinary model, to be saved with its own
   * `savePretrained`. Weights in codes are put into codes again, which rounds: `onRequantised` hears by how much, and `requantise: false`
   * leaves the merged ones in float32.
   *
   * @throws {@link NonFiniteError} where a merged weight is not finite; nothing is changed then
   */
  async mergeAndUnload(options: MergeOptions = {}): Promise<Base> {
    if (this.#active !== undefined) assertMergeable(this.adapter());
    if (this.#active !== undefined) await mergeAdapter(this.base, this.adapter(), options);
    for (const name of this.adapterNames) this.deleteAdapter(name);
    return this.base;
  }

  async close(): Promise<void> {
    await this.base.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
