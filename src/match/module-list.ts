import type { ModuleKind } from "../base/module-pattern.js";

/** A module as it stands in a list: all that matching needs to know. */
export interface ModuleFacts {
  /** Path from the root of the model, such as `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  /** Class name as Hugging Face shows it, such as `Linear`, `Conv1D`, `Embedding` or `LlamaRMSNorm`. */
  readonly type: string;
  /** Shape of its weight as the checkpoint has it; absent for modules without one. */
  readonly shape?: readonly number[] | undefined;
  /** Shapes of its own parameters by name, as the checkpoint has them; its weight alone where absent. */
  readonly own?: Readonly<Record<string, readonly number[]>> | undefined;
  /** Parameters of the module and of everything below it; counted from the shapes of the list where absent. */
  readonly parameters?: number | undefined;
  /** Whether it is an output of the model, which `all-linear` leaves out; told by its name where no module of the list says so. */
  readonly head?: boolean | undefined;
}

/** A module of a list, with what follows from its facts. */
export interface ListedModule extends ModuleFacts {
  readonly kind: ModuleKind | undefined;
  readonly parameters: number;
}

/** Outputs of models, by the paths that Hugging Face's architectures give them. */
const HEADS = [
  "lm_head",
  "lm_head.decoder",
  "embed_out",
  "cls.predictions.decoder",
  "vocab_projector",
  "generator_lm_head",
  "score",
  "classifier",
  "pre_classifier",
  "qa_outputs",
];

function kindOf({ type, shape }: ModuleFacts): ModuleKind | undefined {
  if (/^(NonDynamicallyQuantizable)?Linear$/.test(type)) return "linear";
  if (type === "Conv1D") return "conv1d";
  if (type.endsWith("Norm")) return "norm";
  return type.endsWith("Embedding") && shape?.length === 2 ? "embedding" : undefined;
}

const size = (shape: readonly number[] | undefined): number =>
  shape === undefined ? 0 : shape.reduce((product, dim) => product * dim, 1);

/** Parameters of every module with those below it. */
function totals(modules: readonly ModuleFacts[]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const { name, shape } of modules) {
    const own = size(shape);
    if (own === 0) continue;
    for (let end = name.length; end > 0; end = name.lastIndexOf(".", end - 1)) {
      const at = name.slice(0, end);
      sums.set(at, (sums.get(at) ?? 0) + own);
    }
  }
  return sums;
}

/** A list as matching takes it: every module with its kind and its number of parameters. The root, which has no name, is left out. */
export function listModules(modules: readonly ModuleFacts[]): ListedModule[] {
  const named = modules.filter(({ name }) => name !== "");
  const told = named.some(({ head }) => head !== undefined);
  const heads = new Set(told ? named.filter(({ head }) => head === true).map(({ name }) => name) : HEADS);
  const sums = named.every(({ parameters }) => parameters !== undefined) ? undefined : totals(named);
  return named.map((facts) => ({
    ...facts,
    kind: heads.has(facts.name) ? "head" : kindOf(facts),
    parameters: facts.parameters ?? sums?.get(facts.name) ?? 0,
  }));
}

/** A path with `*` for the numbers of layers: modules that repeat have one of these in common. */
export function pathPattern(name: string): string {
  return /\d/.test(name) ? name.replace(/(^|\.)\d+(?=\.|$)/g, "$1*") : name;
}
