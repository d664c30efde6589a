import type { PretrainedModel } from "../auto/pretrained-model.js";
import { ConfigError, UnsupportedError } from "../base/errors.js";
import { Random, textSeed } from "../base/random.js";
import type { Initialiser } from "../base/fill.js";
import type { MethodDefinition, ModelScope, StartTensors, SymbolicSize } from "../methods/method.js";
import { Parameter } from "../nn/parameter.js";
import type { Module } from "../nn/module.js";
import type { Attachment, ModelSite, VirtualTokens } from "../nn/site.js";
import { modelSite } from "../nn/virtual-tokens.js";
import type { AdapterPlan } from "./adapter-plan.js";
import type { AttachedAdapter, PlacedAttachment } from "./attached-adapter.js";
import { attachCopies, VIRTUAL_TOKEN_HEADS } from "./module-copies.js";

/** Whether a method holds on to the model as a whole and not to modules that are matched. */
export const isForModel = (method: MethodDefinition): boolean => method.sites.includes("model");

/** How names of tensors of an encoder begin in files. */
export const ENCODER_PREFIX = "prompt_encoder.";

class PromptScope implements ModelScope {
  readonly tensors = new Map<string, Parameter>();

  constructor(
    readonly base: PretrainedModel,
    readonly options: ModelAdapterOptions,
  ) {}

  get startTensors(): StartTensors | undefined {
    return this.options.startTensors;
  }

  get fromFile(): boolean {
    return this.options.fromFile ?? false;
  }

  #make(
    key: string,
    savedAs: string,
    shape: readonly (number | SymbolicSize)[],
    init: Initialiser,
  ): Parameter {
    const { name, seed } = this.options;
    const sizes = shape.map((dim) => (typeof dim === "number" ? dim : dim.size));
    const symbolic = shape.map((dim) => (typeof dim === "number" ? dim : `${dim.symbol} (${name})`));
    const parameter = new Parameter(sizes, { trainable: true, symbolic });
    parameter.name = `${ENCODER_PREFIX}${name}.${key}`;
    init(parameter.allocate(), new Random((seed ^ textSeed(key)) >>> 0));
    this.tensors.set(savedAs, parameter);
    return parameter;
  }

  param(
    key: string,
    savedAs: string,
    shape: readonly (number | SymbolicSize)[],
    init: Initialiser,
  ): Parameter {
    return this.#make(key, savedAs, shape, init);
  }

  encoder(key: string, shape: readonly number[], init: Initialiser): Parameter {
    return this.#make(key, `${ENCODER_PREFIX}${key}`, shape, init);
  }

  tokens(text: string): readonly number[] {
    const { tokenizer, name } = this.base;
    if (tokenizer !== undefined) return tokenizer.encode(text);
    throw new ConfigError({
      code: "tokenizer_missing",
      summary: `${name} holds no tokenizer, so virtual tokens cannot start as a text.`,
      fixes: [
        "put tokenizer.json and tokenizer_config.json beside the weights",
        'promptTuningInit: "RANDOM"',
      ],
      fields: { model: name },
    });
  }
}

export interface ModelAdapterOptions {
  readonly name: string;
  readonly seed: number;
  /** Whether the tensors come from an adapter file. */
  readonly fromFile?: boolean;
  /** What its start is made of, where the method reads a file for it. */
  readonly startTensors?: StartTensors | undefined;
}

/** The tables that virtual tokens hang on: that of the site, by which they are found, and those of other stacks they stand before. */
const modulesOf = ({ module, stacks }: ModelSite, virtual: VirtualTokens | undefined): Module[] => [
  module,
  ...stacks.flatMap((stack) =>
    stack.module !== module && virtual?.into === "input" && virtual.over.includes(stack.over)
      ? [stack.module]
      : [],
  ),
];

/**
 * Puts a method at the model as a whole, and trained copies at the modules to save: the head of the task is one of them.
 *
 * @throws {@link UnsupportedError} `virtual_tokens_unsupported` for models that have no place for virtual tokens
 * @throws {@link ConfigError} `virtual_tokens_too_many` where they leave no room for an input
 */
export function attachToModel(
  base: PretrainedModel,
  { method, config, report, matches }: Pick<AdapterPlan, "method" | "config" | "report" | "matches">,
  options: ModelAdapterOptions,
): AttachedAdapter {
  const site = modelSite(base.module);
  if (site === undefined || site.layers.length === 0) {
    throw new UnsupportedError({
      code: "virtual_tokens_unsupported",
      summary: `${method.title} puts virtual tokens before the rows, and ${base.name} (${base.modelType}) has no place for them.`,
      fixes: ["choose a method that adapts modules, such as LoRA"],
      fields: { method: method.name, model: base.name, modelType: base.modelType },
    });
  }
  const scope = new PromptScope(base, options);
  // The scope is what the contract promises to methods of this kind of place.
  const {
    config: settled,
    saves,
    withoutEncoder = false,
    ...hooks
  } = method.attach(site, config as never, scope as never);
  const count = hooks.virtual?.count ?? 0;
  if (count >= base.contextLength) {
    throw new ConfigError({
      code: "virtual_tokens_too_many",
      summary: `numVirtualTokens: ${count} virtual tokens leave no room for an input.`,
      facts: [["context", `${base.contextLength.toLocaleString("en")} tokens (${base.name})`]],
      fixes: ["numVirtualTokens: 20"],
      fields: { count, contextLength: base.contextLength },
    });
  }
  // Targets are of no use here, and Hugging Face's config has no such key.
  const { targetModules: _, ...own } = config;
  const attachment: Attachment = { adapter: options.name, active: false, ...hooks };
  const attachments: PlacedAttachment[] = modulesOf(site, hooks.virtual).map((module, i) => ({
    path: module.path,
    module,
    attachment: i === 0 ? attachment : { adapter: options.name, active: false, virtual: hooks.virtual! },
  }));
  for (const { module, attachment: one } of attachments) module.attachments.push(one);
  const copies = matches.modulesToSave.map(({ path, module }) =>
    attachCopies(path, module, { adapter: options.name, naming: VIRTUAL_TOKEN_HEADS }),
  );
  return {
    name: options.name,
    method,
    config: { ...own, ...settled },
    // It is the model itself, which no pattern of module names means.
    places: [{ path: site.module.path, site, named: () => false }],
    report,
    tensors: new Map([...scope.tensors, ...copies.flatMap(({ tensors }) => [...tensors])]),
    fixed: new Set(),
    savedTensors: new Map(),
    savedOptions: new Map(),
    stepWork: [],
    attachments: [...attachments, ...copies.flatMap((copy) => copy.attachments)],
    ...(saves === undefined ? {} : { saves }),
    withoutEncoder,
  };
}

/**
 * Refuses to merge an adapter that puts virtual tokens before the rows.
 *
 * @throws {@link UnsupportedError} `cannot_merge`
 */
export function assertMergeable(adapter: AttachedAdapter): void {
  if (!isForModel(adapter.method)) return;
  const { title, name } = adapter.method;
  throw new UnsupportedError({
    code: "cannot_merge",
    summary: `${title} (${name}) cannot be merged: virtual tokens are part of no weight.`,
    facts: [["adapter", adapter.name]],
    fixes: ["keep base and adapter apart: peft generate MODEL --adapter FOLDER"],
    fields: { adapter: adapter.name, method: name },
  });
}
