import { BYTES_PER_ELEMENT, type DType } from "../base/tensor-type.js";
import { openOutputFolder } from "../files/folder.js";
import type { TensorToWrite } from "../files/safetensors-write.js";
import { namedModules, ownParameters } from "../nn/module.js";
import type { Parameter } from "../nn/parameter.js";
import { VERSION } from "../base/version.js";
import type { CodedWeight } from "../nn/coded-weight.js";
import type { PretrainedModel } from "./pretrained-model.js";
import { convertTensor, type WeightDType } from "./load-weights.js";

const DTYPE_NAMES: Readonly<Partial<Record<DType, string>>> = {
  float32: "float32",
  float16: "float16",
  bfloat16: "bfloat16",
};

/** The keys of a config that another element type or a merge changes. */
function savedConfig(model: PretrainedModel, dtype: string): Record<string, unknown> {
  const { torch_dtype: _, quantization_config: __, ...rest } = model.config.values;
  // The class that was saved, whatever head the weights once had.
  const architectures = [model.module.kind];
  const own = model.definition.savedConfig?.(model.config);
  return { ...rest, architectures, ...model.configOverrides, ...own, dtype, peft_js_version: VERSION };
}

/** A config as text, in which whole numbers of these keys keep the decimal point that JSON does not need. */
function configText(values: Readonly<Record<string, unknown>>, decimals: readonly string[]): string {
  const text = JSON.stringify(values, null, 2).replace(
    /^( {2}"(\w+)": -?\d+)(?=,?$)/gm,
    (number: string, _: string, key: string) => (decimals.includes(key) ? `${number}.0` : number),
  );
  return `${text}\n`;
}

/**
 * The names that a parameter is written under. Where a merge has taken tied weights apart, Python ties nothing at all: it looks for a
 * bias under the name of every module that shares it.
 */
function writtenNames(model: PretrainedModel): (parameter: Parameter) => readonly string[] {
  const names = new Map<Parameter, string[]>();
  if (model.configOverrides["tie_word_embeddings"] !== false) return ({ name }) => [name];
  for (const [path, module] of namedModules(model.module))
    for (const [name, parameter] of ownParameters(module))
      if (parameter.shape.length === 1)
        names.set(parameter, [...(names.get(parameter) ?? []), path === "" ? name : `${path}.${name}`]);
  return (parameter) => names.get(parameter) ?? [parameter.name];
}

/** The tensors of a weight in codes, under the names that bitsandbytes reads. */
const codedTensors = (name: string, coded: CodedWeight): [string, TensorToWrite][] =>
  coded
    .stored()
    .map(([suffix, { dtype, dims, data }]) => [
      name.replace(/weight$/, suffix),
      { dtype, shape: dims, data },
    ]);

/** Writes weights, config and tokenizer; one tensor is in memory at a time. */
export async function saveModel(
  model: PretrainedModel,
  path: string,
  options: { readonly dtype?: WeightDType },
): Promise<void> {
  const { dtype = "auto" } = options;
  const parameters = [...model.namedParameters()];
  const target = (own: DType): DType => (dtype === "auto" ? own : dtype);
  const inCodes = (parameter: Parameter): CodedWeight | undefined =>
    dtype === "auto" ? parameter.coded : undefined;
  const bytes = parameters.reduce(
    (sum, one) => sum + (inCodes(one)?.bytes ?? one.size * BYTES_PER_ELEMENT[target(one.type.dtype)]),
    0,
  );
  const folder = await openOutputFolder(path, bytes);
  const names = writtenNames(model);
  const tensors = parameters.flatMap((parameter) => {
    const { shape } = parameter;
    const coded = inCodes(parameter);
    if (coded !== undefined) return codedTensors(parameter.name, coded);
    const wanted = target(parameter.type.dtype);
    const tensor = { dtype: wanted, shape, data: () => convertTensor(parameter.tensor, wanted).data };
    return names(parameter).map((name): [string, TensorToWrite] => [name, tensor]);
  });
  await folder.tensors("model.safetensors", tensors);
  const common = target(parameters[0]!.type.dtype);
  const quantisation = parameters.map(inCodes).find((coded) => coded !== undefined)?.config;
  const config = {
    ...savedConfig(model, DTYPE_NAMES[common] ?? "float32"),
    ...(quantisation && { quantization_config: quantisation }),
  };
  await folder.text("config.json", configText(config, model.definition.decimals ?? []));
  if (Object.keys(model.generationConfig).length > 0)
    await folder.json("generation_config.json", model.generationConfig);
  for (const [name, value] of Object.entries(model.sidecars())) await folder.json(name, value);
  const { tokenizer } = model;
  if (tokenizer === undefined) return;
  await folder.json("tokenizer.json", tokenizer.files.tokenizer);
  await folder.json("tokenizer_config.json", tokenizer.files.config);
  if (tokenizer.files.chatTemplate !== undefined)
    await folder.text("chat_template.jinja", tokenizer.files.chatTemplate);
}
