import type { ForwardOptions, PretrainedModel } from "../auto/pretrained-model.js";
import { convertTensor } from "../auto/load-weights.js";
import { InternalError, NonFiniteError, UnsupportedError } from "../base/errors.js";
import { type HostTensor, zeros } from "../base/host-tensor.js";
import type { Value } from "../graph/value.js";
import {
  type Module,
  namedModules,
  nameTree,
  ownParameter,
  ownParameters,
  setOwnParameter,
} from "../nn/module.js";
import type { CodedWeight } from "../nn/coded-weight.js";
import { Parameter } from "../nn/parameter.js";
import type { Attachment } from "../nn/site.js";
import { runBound } from "../nn/graph-runner.js";
import { type Source } from "../nn/token-program.js";
import { Trace } from "../nn/trace.js";
import { type RequantisedReport, Requantiser } from "./requantise.js";
import type { AttachedAdapter } from "./attached-adapter.js";

/** The graph of a module's own parameters with all that an adapter does there, by name. */
function mergedValues(t: Trace, module: Module, attachments: readonly Attachment[]): Map<string, Value> {
  const p = (parameter: Parameter): Value => t.parameter(parameter);
  const values = new Map<string, Value>();
  const turn = (name: string, x: Value): Value =>
    module.transposed.includes(name) ? t.f.transpose(x, { axes: [1, 0] }) : x;
  // What stands in for a parameter is active here, also where another adapter is.
  const standing = (name: string): Parameter =>
    attachments.find(({ standsIn }) => standsIn?.[name] !== undefined)?.standsIn?.[name] ??
    ownParameter(module, name);
  const own = (name: string): Value => values.get(name) ?? turn(name, t.parameter(standing(name)));
  for (const { replaces = {} } of attachments) {
    for (const [name, replace] of Object.entries(replaces)) {
      const context = {
        f: t.f,
        get base() {
          return own(name);
        },
        p,
      };
      values.set(name, replace(context));
    }
  }
  for (const attachment of attachments) {
    const { forward, join, virtual } = attachment;
    if (forward === undefined && join === undefined && virtual === undefined) continue;
    if (attachment.merged === undefined) {
      throw new UnsupportedError({
        code: "cannot_merge",
        summary: `The adapter at ${module.path} cannot be merged: no weight does the same without it.`,
        fixes: ["keep base and adapter apart; they can be used together as they are"],
        fields: { path: module.path },
      });
    }
    const merged = attachment.merged({ f: t.f, own, p });
    for (const [name, value] of Object.entries(merged)) values.set(name, value);
  }
  return new Map([...values].map(([name, value]) => [name, turn(name, value)]));
}

/** The merged parameters of one module, computed in float32 and not yet put in place. */
async function mergedParameters(
  base: PretrainedModel,
  module: Module,
  attachments: readonly Attachment[],
  options: ForwardOptions,
): Promise<[name: string, tensor: HostTensor][]> {
  const t = new Trace();
  const values = [...mergedValues(t, module, attachments)];
  const leaves = [...t.leaves];
  const bound = {
    graph: {
      name: "merge",
      inputs: leaves.map(([value]) => value),
      outputs: values.map(([, value]) => value),
    },
    sources: leaves.map(([, leaf]): Source => leaf),
  };
  const results = values.map(([name]): [string, HostTensor] => [
    name,
    zeros("float32", ownParameter(module, name).shape),
  ]);
  const unresolved = (): never => {
    throw new InternalError("A merge asked for something that is no parameter.");
  };
  await runBound(
    base.runner,
    bound,
    unresolved,
    results.map(([, tensor]) => tensor),
    options,
  );
  for (const [name, tensor] of results) {
    if ((tensor.data as Float32Array).every((value) => Number.isFinite(value))) continue;
    throw new NonFiniteError({
      code: "merge_not_finite",
      summary: `The merged ${name} of ${module.path} is not finite. Nothing was merged.`,
      fixes: ["look at the adapter: peft inspect", "train with a lower learning rate or maxGradNorm: 1"],
      fields: { path: module.path, name },
    });
  }
  return results;
}

/** A parameter that gets other elements, with the modules that have it. */
interface MergedParameter {
  readonly module: Module;
  readonly name: string;
  readonly tensor: HostTensor;
}

export interface MergeOptions extends ForwardOptions {
  /**
   * Whether weights that are kept in codes are put into codes again. Without it the merged ones are float32 from then on.
   *
   * @defaultValue true
   */
  readonly requantise?: boolean | undefined;
  /** Hears what putting merged weights into codes has cost. */
  readonly onRequantised?: ((report: RequantisedReport) => void) | undefined;
}

const sameElements = (a: HostTensor, b: HostTensor): boolean =>
  a.dtype === b.dtype &&
  a.data.length === b.data.length &&
  (a.data as Float32Array).every((value, i) => Object.is(value, b.data[i]));

/** Puts merged elements in the place of a parameter that only these modules have, or of one that others keep as it is. */
function putInPlace(old: Parameter, merged: readonly MergedParameter[], uses: number): "shared" | "apart" {
  const [first] = merged;
  if (merged.length === uses && merged.every(({ tensor }) => sameElements(tensor, first!.tensor))) {
    old.assign(first!.tensor);
    return "shared";
  }
  for (const { module, name, tensor } of merged) {
    const own = new Parameter(old.shape, { dtype: old.type.dtype });
    own.assign(tensor);
    setOwnParameter(module, name, own);
  }
  return "apart";
}

/**
 * Replaces the parameters of every adapted module by merged ones, rounded once from float32 to the type they are kept in. All
 * are computed before the first is put in place. A weight that is kept in codes is put into codes of the same kind again. A parameter that two modules share is taken apart, unless both are merged to the
 * same elements, so that merging into one of them does not move the other.
 */
export async function mergeAdapter(
  base: PretrainedModel,
  adapter: AttachedAdapter,
  options: MergeOptions = {},
): Promise<void> {
  const { requantise = true, onRequantised } = options;
  const requantiser = new Requantiser();
  const inCodes: (readonly [Parameter, CodedWeight])[] = [];
  const uses = new Map<Parameter, number>();
  for (const [, module] of namedModules(base.module))
    for (const [, parameter] of ownParameters(module)) uses.set(parameter, (uses.get(parameter) ?? 0) + 1);
  const merged = new Map<Parameter, MergedParameter[]>();
  for (const module of new Set(adapter.attachments.map((placed) => placed.module))) {
    const here = adapter.attachments.filter((placed) => placed.module === module);
    const attachments = here.map(({ attachment }) => attachment);
    for (const [name, tensor] of await mergedParameters(base, module, attachments, options)) {
      const old = ownParameter(module, name);
      const { coded } = old;
      if (requantise && coded !== undefined && uses.get(old) === 1) {
        inCodes.push([old, requantiser.recode(old, coded, tensor.data as Float32Array)]);
        continue;
      }
      const rounded = convertTensor(tensor, old.type.dtype);
      merged.set(old, [...(merged.get(old) ?? []), { module, name, tensor: rounded }]);
    }
  }
  for (const [parameter, coded] of inCodes) parameter.keepCoded(coded);
  for (const [old, list] of merged) {
    if (uses.get(old) === 1) old.assign(list[0]!.tensor);
    else if (putInPlace(old, list, uses.get(old)!) === "apart")
      base.configOverrides["tie_word_embeddings"] = false;
  }
  nameTree(base.module);
  base.structureChanged();
  const { report } = requantiser;
  if (report !== undefined) onRequantised?.(report);
}
