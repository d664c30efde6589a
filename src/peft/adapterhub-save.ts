import type { PretrainedModel } from "../auto/pretrained-model.js";
import { UnsupportedError } from "../base/errors.js";
import { targetOptions } from "../base/target-options.js";
import { type OutputFolder, openOutputFolder } from "../files/folder.js";
import type { TensorToWrite } from "../files/safetensors-write.js";
import { namedModules } from "../nn/module.js";
import type { Parameter } from "../nn/parameter.js";
import type { Block } from "../nn/site.js";
import { adapterHubConfig } from "./adapterhub-config.js";
import { AdapterHubNames } from "./adapterhub-names.js";
import type { AttachedAdapter } from "./attached-adapter.js";
import { HEAD_NAMES } from "./head-names.js";

/** The release of AdapterHub whose files are written. */
const RELEASE = "adapters.1.3.0";

type Tensors = readonly (readonly [string, Parameter])[];

function refuse(adapter: AttachedAdapter, reason: string, fix: string): UnsupportedError {
  return new UnsupportedError({
    code: "adapterhub_cannot_say",
    summary: `The adapter ${adapter.name} (${adapter.method.name}) cannot be written for AdapterHub: ${reason}.`,
    fixes: [fix, "savePretrained(folder), which peft.js reads"],
    fields: { adapter: adapter.name, method: adapter.method.name },
  });
}

/** Which places are adapted, in the words that AdapterHub has for it: a switch for each part of a layer, and layers that are left out. */
function placesInWords(
  base: PretrainedModel,
  adapter: AttachedAdapter,
): Readonly<Record<"mh_adapter" | "cross_adapter" | "output_adapter", boolean>> & {
  readonly leave_out: readonly number[];
} {
  const held = new Set(adapter.places.map(({ path }) => path));
  const all = [...namedModules(base.module)].flatMap(([path, { joins }]): [string, Block][] =>
    joins === undefined ? [] : [[path, joins]],
  );
  const here = all.filter(([path]) => held.has(path)).map(([, block]) => block);
  const has = (position: Block["position"]): boolean => here.some((block) => block.position === position);
  const layers = new Set(here.map(({ layer }) => layer));
  const could = all.flatMap(([, { layer, position }]) => (has(position) ? [layer] : []));
  const leave_out = [...new Set(could)].filter((layer) => !layers.has(layer));
  const expected = all.filter(([, { layer, position }]) => layers.has(layer) && has(position));
  if (expected.length !== here.length)
    throw refuse(
      adapter,
      "it adapts attention in some layers and not in others, for which AdapterHub has no words",
      "choose places with mhAdapter, crossAdapter, outputAdapter and leaveOut, and leave targetModules out",
    );
  return {
    mh_adapter: has("attention"),
    cross_adapter: has("cross"),
    output_adapter: has("output"),
    leave_out,
  };
}

/** Whole numbers where AdapterHub wants a decimal point. */
const withPoint = (json: string): string => json.replace(/("scaling": -?\d+)(?=,?$)/gm, "$1.0");

const written = (tensors: Tensors): [string, TensorToWrite][] =>
  tensors.map(([name, { tensor }]) => [name, { dtype: tensor.dtype, shape: tensor.dims, data: tensor.data }]);

/** AdapterHub keeps a norm before the bottleneck under two names. */
const doubled = (tensors: Tensors): Tensors =>
  tensors.flatMap(([name, parameter]) => {
    const other = name.replace(".adapter_norm_before.", ".adapter_down.0.");
    return other === name
      ? [[name, parameter] as const]
      : ([
          [name, parameter],
          [other, parameter],
        ] as const);
  });

/** The names of labels as AdapterHub has them. */
function labelsOf(base: PretrainedModel): Record<string, unknown> {
  const labels = base.config.values["id2label"] as Readonly<Record<string, string>> | undefined;
  const entries = Object.entries(labels ?? {}).map(([id, label]) => [label, Number(id)]);
  return { label2id: Object.fromEntries(entries), num_labels: entries.length };
}

async function writeJson(folder: OutputFolder, name: string, values: Record<string, unknown>): Promise<void> {
  const sorted = Object.fromEntries(Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1)));
  await folder.text(name, withPoint(`${JSON.stringify(sorted, null, 2)}\n`));
}

/** Checks that an adapter can be written for AdapterHub; see {@link saveForAdapterHub} for what is thrown. */
export function assertAdapterHub(base: PretrainedModel, adapter: AttachedAdapter): void {
  const { method, report } = adapter;
  if (method.adapterHub === undefined) {
    throw new UnsupportedError({
      code: "adapterhub_method",
      summary: `${method.title} (${method.name}) is not written for AdapterHub.`,
      fixes: ["savePretrained(folder), which Hugging Face PEFT and peft.js read"],
      fields: { method: method.name },
    });
  }
  placesInWords(base, adapter);
  const heads = HEAD_NAMES[base.taskType];
  const other = report.modulesToSave.find(({ name }) => !heads.includes(name));
  if (other !== undefined)
    throw refuse(
      adapter,
      `it trains ${other.name} as a whole, which is no head`,
      "modulesToSave: heads alone",
    );
}

/**
 * Writes an adapter folder as AdapterHub lays it out: adapter_config.json and adapter.safetensors, with the trained head in
 * head_config.json and model_head.safetensors. Python reads it with `load_adapter(folder, use_safetensors=True)`.
 *
 * @throws {@link UnsupportedError} `adapterhub_method` for methods that AdapterHub does not have so; `adapterhub_cannot_say` for
 * choices of modules that its config has no words for
 */
export async function saveForAdapterHub(
  base: PretrainedModel,
  adapter: AttachedAdapter,
  path: string,
): Promise<void> {
  assertAdapterHub(base, adapter);
  const { method, config, tensors } = adapter;
  const places = placesInWords(base, adapter);
  const heads = HEAD_NAMES[base.taskType];
  const own = Object.fromEntries(Object.entries(config).filter(([name]) => !(name in targetOptions)));
  const names = new AdapterHubNames(base.module, adapter.name, base.definition.prefix);
  const isHead = (key: string): boolean => heads.some((head) => key.startsWith(`base_model.model.${head}.`));
  const named = [...tensors].map(
    ([key, parameter]) => [names.toAdapterHub(key), parameter, isHead(key)] as const,
  );
  const part = (head: boolean): Tensors =>
    named.filter(([, , of]) => of === head).map(([name, parameter]) => [name, parameter]);
  const common = {
    hidden_size: (adapter.places[0]!.site as unknown as Block).width,
    model_class: base.module.kind,
    model_name: base.name,
    model_type: base.modelType,
    version: RELEASE,
  };
  const folder = await openOutputFolder(path);
  await folder.tensors("adapter.safetensors", written(doubled(part(false))));
  const options = { ...adapterHubConfig(own, method.config, method.inert), ...places };
  await writeJson(folder, "adapter_config.json", { ...common, config: options, name: adapter.name });
  for (const [file, value] of Object.entries(base.sidecars())) await folder.json(file, value);
  if (part(true).length === 0) return;
  await folder.tensors("model_head.safetensors", written(part(true)));
  await writeJson(folder, "head_config.json", { ...common, config: null, name: null, ...labelsOf(base) });
}
