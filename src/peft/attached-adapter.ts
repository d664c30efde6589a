import type { HostTensor } from "../base/host-tensor.js";
import type { MatchReport } from "../match/report.js";
import type { Adapter, MethodDefinition, Place, StepFacts } from "../methods/method.js";
import type { Module } from "../nn/module.js";
import type { Parameter } from "../nn/parameter.js";
import type { Attachment } from "../nn/site.js";

/** Values of all options of a method, defaults filled in. */
export type ResolvedConfig = Readonly<Record<string, unknown>>;

/** One hold of an adapter on one module; a module may carry several of one adapter. */
export interface PlacedAttachment {
  /** Path of the module. */
  readonly path: string;
  readonly module: Module;
  readonly attachment: Attachment;
  /**
   * How the live names of the module's own parameters change: below `path` they get `infix`, such as `base_layer` or
   * `original_module`. Absent where they keep their names.
   */
  readonly wrapper?: { readonly path: string; readonly infix: string };
}

/** An adapter that is attached to a model. */
export interface AttachedAdapter {
  readonly name: string;
  readonly method: MethodDefinition;
  readonly config: ResolvedConfig;
  /** What its configuration meant, which is what was attached. */
  readonly report: MatchReport;
  /** Where the method itself holds on. */
  readonly places: readonly Place[];
  /** Its saved tensors, by their name in adapter files; tied ones are one parameter under two names. */
  readonly tensors: ReadonlyMap<string, Parameter>;
  /** Those of them that are saved and not trained. */
  readonly fixed: ReadonlySet<Parameter>;
  /** What is written in place of tensors and options when the adapter is saved. */
  readonly savedTensors: ReadonlyMap<Parameter, () => HostTensor>;
  readonly savedOptions: ReadonlyMap<string, () => unknown>;
  /** What has to be done after every optimiser step. */
  readonly stepWork: readonly ((facts: StepFacts) => void)[];
  /** Everything it put on the model, in the order it was put there. */
  readonly attachments: readonly PlacedAttachment[];
  /** What is saved in place of the tensors, computed from them, by name in adapter files. */
  readonly saves?: NonNullable<Adapter["saves"]>;
  /** Whether its file held what an encoder computed, and not the encoder. */
  readonly withoutEncoder?: boolean;
}

/** Paths of the modules that an adapter holds on to, each once. */
export function attachedPaths(adapter: Pick<AttachedAdapter, "attachments">): string[] {
  return [...new Set(adapter.attachments.map(({ path }) => path))];
}

/** Takes attachments off the modules they are on. */
export function detach(attachments: readonly PlacedAttachment[]): void {
  for (const { module, attachment } of attachments)
    module.attachments = module.attachments.filter((one) => one !== attachment);
}

/** The live name of a base parameter beside the adapters that stand around its module. */
export function wrappedName(name: string, attachments: readonly PlacedAttachment[]): string {
  const wrappers = new Map<string, string>();
  for (const { wrapper } of attachments) {
    if (wrapper !== undefined && name.startsWith(`${wrapper.path}.`))
      wrappers.set(`${wrapper.path}.${wrapper.infix}`, wrapper.path);
  }
  // The innermost first, so that the paths of the outer ones still fit.
  const inner = [...wrappers].sort(([, a], [, b]) => b.length - a.length);
  return inner.reduce((result, [wrapped, path]) => wrapped + result.slice(path.length), name);
}
