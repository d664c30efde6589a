import { type Module, namedModules, ownParameters } from "../nn/module.js";
import { Parameter } from "../nn/parameter.js";
import type { Replacement } from "../nn/site.js";
import type { PlacedAttachment } from "./attached-adapter.js";

/** How trained copies are called; `key` is the path below the copied module with the parameter's name, such as `q_proj.weight`. */
export interface CopyNaming {
  /** Name in adapter files. */
  saved(path: string, key: string): string;
  /** Name in the running model. */
  live(path: string, key: string, adapter: string): string;
  /** What stands in the live names of the module's own parameters. */
  readonly infix?: string;
}

/** `modulesToSave`: files hold the plain names, as if the module itself had been saved. */
export const MODULES_TO_SAVE: CopyNaming = {
  saved: (path, key) => `base_model.model.${path}.${key}`,
  live: (path, key, adapter) => `base_model.model.${path}.modules_to_save.${adapter}.${key}`,
  infix: "original_module",
};

/** The same beside virtual tokens, where Hugging Face has no wrapper around the base. */
export const VIRTUAL_TOKEN_HEADS: CopyNaming = {
  saved: (path, key) => `base_model.${path}.${key}`,
  live: (path, key, adapter) => `base_model.${path}.modules_to_save.${adapter}.${key}`,
  infix: "original_module",
};

export interface CopyOptions {
  readonly adapter: string;
  readonly naming: CopyNaming;
  /** Which of the own parameters are copied; all where absent. */
  readonly wanted?: (module: Module, name: string) => boolean;
  /**
   * Copies by original: given the same map, modules that share a parameter share its copy too. Without it every module gets a copy
   * of its own.
   */
  readonly tied?: Map<Parameter, Parameter>;
}

export interface ModuleCopies {
  readonly tensors: ReadonlyMap<string, Parameter>;
  readonly attachments: readonly PlacedAttachment[];
}

/** A trainable float32 copy of a parameter. */
function copyOf(original: Parameter, name: string): Parameter {
  const copy = new Parameter(original.shape, { trainable: true });
  copy.name = name;
  copy.allocate().set(original.data);
  return copy;
}

/**
 * Puts trainable float32 copies in the place of the own parameters of a module and of everything below it, for as long as the
 * adapter is active. The originals stay as they are.
 */
export function attachCopies(path: string, root: Module, options: CopyOptions): ModuleCopies {
  const { adapter, naming, wanted = () => true, tied } = options;
  const tensors = new Map<string, Parameter>();
  const attachments: PlacedAttachment[] = [];
  for (const [below, module] of namedModules(root)) {
    const replaces: Record<string, Replacement> = {};
    for (const [name, original] of ownParameters(module)) {
      if (!wanted(module, name)) continue;
      const key = below === "" ? name : `${below}.${name}`;
      const copy = tied?.get(original) ?? copyOf(original, naming.live(path, key, adapter));
      tied?.set(original, copy);
      tensors.set(naming.saved(path, key), copy);
      // Copies are kept as checkpoints have them; what replaces a weight is (out, in).
      const turned = module.transposed.includes(name);
      replaces[name] = ({ f, p }) => (turned ? f.transpose(p(copy), { axes: [1, 0] }) : p(copy));
    }
    if (Object.keys(replaces).length === 0) continue;
    const attachment = { adapter, active: false, replaces };
    module.attachments.push(attachment);
    attachments.push({
      path: below === "" ? path : `${path}.${below}`,
      module,
      attachment,
      ...(naming.infix === undefined ? {} : { wrapper: { path, infix: naming.infix } }),
    });
  }
  return { tensors, attachments };
}

/** Modules that share a parameter with one below `root` and stand outside of it: a tied head, or the embedding it is tied to. */
export function tiedModules(
  model: Module,
  root: Module,
): [path: string, module: Module, parameter: Parameter][] {
  const inside = new Set([...namedModules(root)].map(([, module]) => module));
  const shared = new Set([...inside].flatMap((module) => ownParameters(module).map(([, own]) => own)));
  return [...namedModules(model)].flatMap(([path, module]) => {
    if (inside.has(module)) return [];
    const own = ownParameters(module).find(([, parameter]) => shared.has(parameter));
    return own === undefined ? [] : [[path, module, own[1]] as [string, Module, Parameter]];
  });
}
