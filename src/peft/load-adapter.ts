import type { PretrainedModel } from "../auto/pretrained-model.js";
import { asFloat32 } from "../base/half.js";
import { CheckpointError, TargetError } from "../base/errors.js";
import { type HostTensor, hostTensor, type TensorData } from "../base/host-tensor.js";
import type { AdapterFiles } from "../files/adapter-files.js";
import { resolveModel } from "../files/hub.js";
import type { Parameter } from "../nn/parameter.js";
import type { TensorFile } from "../files/tensor-file.js";
import { attachAdapter, prepareConfig } from "./adapter.js";
import { baseSubject, matchesOf, type PeftWarning } from "./adapter-plan.js";
import { type AttachedAdapter, detach } from "./attached-adapter.js";
import { checkAdapterTensors, readAdapterConfig } from "./hf-format.js";
import { type LoadedMatches, loadedMatches } from "./loaded-matches.js";
import { attachToModel, isForModel } from "./model-adapter.js";
import { HEAD_NAMES } from "./head-names.js";
import { openAdapter } from "./open-adapter.js";
import { checkEncoder } from "./prompt-encoder-file.js";
import { checkTying, withTied } from "./ties.js";

/** Integers, which some programs write as floating-point numbers. */
const convert = (tensor: HostTensor, { type }: Parameter): TensorData =>
  tensor.dtype === type.dtype ? tensor.data.slice() : Int32Array.from(asFloat32(tensor));

/** Takes the elements of a file's tensor: as float32 for a trained parameter, as they are for integers. */
function fill(parameter: Parameter, tensor: HostTensor): void {
  if (parameter.type.dtype === "float32") parameter.data.set(asFloat32(tensor));
  else parameter.assign(hostTensor(parameter.type.dtype, parameter.shape, convert(tensor, parameter)));
}

/**
 * Attaches an adapter from a folder or a Hub id. The file's tensors and the config have to agree with the base model, or nothing
 * stays attached.
 */
export async function loadAdapterFolder(
  base: PretrainedModel,
  path: string,
  name: string,
  { isTrainable = false }: { readonly isTrainable?: boolean } = {},
): Promise<{ readonly adapter: AttachedAdapter; readonly warnings: readonly PeftWarning[] }> {
  const files = await openAdapter(await resolveModel(path));
  let adapter: AttachedAdapter | undefined;
  try {
    const { config, baseModel } = readAdapterConfig(files.config, files.configPath);
    const tables = base.definition.defaultTargets;
    const from = { source: files.configPath, spelling: "snake_case" } as const;
    const { method, resolved } = prepareConfig(config, tables, from);
    const heads = HEAD_NAMES[base.taskType];
    const named = files.weightsFor({ root: base.module, prefix: base.definition.prefix, heads });
    const { weights, modulesToSave: head } = named;
    const settled = head === undefined ? resolved : { ...resolved, modulesToSave: head };
    const keys = [...weights.tensors.keys()].filter((key) => plainName(key) === key);
    // Beside virtual tokens there is no wrapper around the base.
    const atModules = isForModel(method)
      ? keys.map((key) => key.replace(/^base_model\./, "base_model.model."))
      : keys;
    const file = { path: weights.path, keys: atModules };
    const subject = baseSubject(base);
    let loaded: LoadedMatches;
    try {
      loaded = loadedMatches(subject, file, method, settled);
    } catch (error) {
      if (error instanceof TargetError) throw otherBase(path, base.name, baseModel, error);
      throw error;
    }
    const { report } = loaded;
    const warnings = [...named.warnings, ...loaded.warnings];
    if (isForModel(method)) {
      const plan = { method, config: resolved, report, matches: matchesOf(report, subject) };
      const encoder = isTrainable ? await files.openEncoder() : undefined;
      try {
        adapter = attachToModel(base, plan, { name, seed: 0, fromFile: encoder === undefined });
        fillTensors(adapter, encoder ?? weights, { ...files, baseModel });
        if (encoder === undefined) return { adapter, warnings };
        const saved = (key: string): Float32Array => asFloat32(weights.read(key)).slice();
        await checkEncoder(base, adapter, saved, { encoder: encoder.path, weights: weights.path });
        return { adapter, warnings };
      } finally {
        encoder?.close();
      }
    }
    const tying = resolved["ensureWeightTying"] === true;
    const { targets, modulesToSave: whole } = matchesOf(report, subject);
    const modulesToSave = withTied(base.module, whole, tying);
    checkTying(base.module, targets, tying);
    const saved = modulesToSave.length === 0 ? undefined : modulesToSave.map(({ path: at }) => at);
    const start = { name, tables, report, subject, root: base.module };
    const settings = { ...settled, modulesToSave: saved };
    adapter = attachAdapter(method, settings, { targets, modulesToSave }, start);
    fillTensors(adapter, weights, { ...files, baseModel }, baseCopies(base, weights, adapter));
    return { adapter, warnings };
  } catch (error) {
    if (adapter !== undefined) detach(adapter.attachments);
    throw error;
  } finally {
    files.weights.close();
  }
}

/** Takes the elements of an adapter's tensors from its file, which has to hold these and no others but `copies`. */
function fillTensors(
  { tensors, method }: AttachedAdapter,
  weights: TensorFile,
  { configPath, baseModel }: Pick<AdapterFiles, "configPath"> & { readonly baseModel: string | undefined },
  copies: ReadonlySet<string> = new Set(),
): void {
  const found = new Map(
    [...weights.tensors].filter(([key]) => !copies.has(key)).map(([key, { shape }]) => [key, shape]),
  );
  const needed = new Map([...tensors].map(([key, { shape }]) => [key, shape]));
  const config = `${configPath}: ${method.name}, made for ${baseModel ?? "an unnamed base"}`;
  checkAdapterTensors(weights.path, needed, found, config);
  for (const [key, parameter] of tensors) fill(parameter, weights.read(key));
}

/** The name of a tensor of a module to save without the attribute of its wrapper. */
const plainName = (key: string): string => key.replace(/\.(?:modules_to_save|original_module)\./, ".");

/**
 * Tensors of an adapter file that repeat a weight of the base, as Hugging Face writes them beside adapters of embeddings and
 * heads. They are checked against the base and not needed.
 *
 * @throws {@link CheckpointError} `base_differs` where one is not what the base has
 */
function baseCopies(base: PretrainedModel, file: TensorFile, adapter: AttachedAdapter): Set<string> {
  const parameters = new Map([...base.namedParameters()].map((parameter) => [parameter.name, parameter]));
  // A shared weight is found under the name of either module.
  for (const module of base.modules()) {
    const weight = module.site()?.weight;
    if (weight !== undefined) parameters.set(`${module.path}.weight`, weight);
  }
  const copies = new Set<string>();
  for (const key of file.tensors.keys()) {
    if (adapter.tensors.has(key)) continue;
    // With `bias: all` Hugging Face writes the biases of a head three times.
    if (plainName(key) !== key && adapter.tensors.has(plainName(key))) copies.add(key);
    const parameter = parameters.get(key.replace(/^base_model\.model\./, "").replace(".base_layer.", "."));
    if (parameter === undefined) continue;
    copies.add(key);
    const values = asFloat32(file.read(key));
    const own = parameter.data;
    if (values.length === own.length && values.every((value, i) => value === own[i])) continue;
    throw new CheckpointError({
      code: "base_differs",
      summary: `${file.path} brings its own ${parameter.name}, which is not that of ${base.name}.`,
      facts: [
        [
          "reason",
          "the vocabulary was resized or the weight was trained, or the adapter belongs to another base",
        ],
      ],
      fixes: ["load it on the base model it was made for"],
      fields: { file: file.path, tensor: key },
    });
  }
  return copies;
}

function otherBase(
  path: string,
  model: string,
  madeFor: string | undefined,
  cause: TargetError,
): CheckpointError {
  return new CheckpointError({
    code: "adapter_other_base",
    summary: `The adapter ${path} does not belong to ${model}: modules that it adapts are not there.`,
    facts: [["made for", madeFor ?? "(not said in its config)"], ["reason", cause.summary], ...cause.facts],
    fixes: ["load it on the base model it was made for"],
    fields: { path, model, madeFor, ...cause.fields },
    cause,
  });
}
