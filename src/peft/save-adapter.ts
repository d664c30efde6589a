import type { PretrainedModel } from "../auto/pretrained-model.js";
import { hasTrainedHead, type TaskType } from "../models/model.js";
import { VERSION } from "../base/version.js";
import { ENCODER_FILE } from "../files/adapter-files.js";
import { openOutputFolder } from "../files/folder.js";
import type { TensorToWrite } from "../files/safetensors-write.js";
import type { AttachedAdapter } from "./attached-adapter.js";
import { expectedCopies, savedConfig } from "./saved-config.js";
import { writeAdapterConfig } from "./hf-format.js";
import { isForModel } from "./model-adapter.js";
import { MODULES_TO_SAVE, VIRTUAL_TOKEN_HEADS } from "./module-copies.js";
import { computedTensors, isEncoderTensor } from "./prompt-encoder-file.js";

/** What the Hub calls each task. */
const PIPELINES: Readonly<Record<TaskType, string>> = {
  CAUSAL_LM: "text-generation",
  SEQ_2_SEQ_LM: "text2text-generation",
  MASKED_LM: "fill-mask",
  SEQ_CLS: "text-classification",
  TOKEN_CLS: "token-classification",
  QUESTION_ANS: "question-answering",
  FEATURE_EXTRACTION: "feature-extraction",
};

/**
 * Tasks that Hugging Face has no name for, with one whose class does the same with virtual tokens: a class without a task leaves them
 * out without a word.
 */
const NAMELESS: Partial<Readonly<Record<TaskType, TaskType>>> = { MASKED_LM: "FEATURE_EXTRACTION" };

/** The task of an adapter as its file says it. */
function writtenTask(task: TaskType, virtual: boolean): TaskType | null {
  const stand = NAMELESS[task];
  return stand === undefined ? task : virtual ? stand : null;
}

const READERS = "It can be loaded by peft.js and by Hugging Face PEFT.";
const ADAPTERHUB_READERS =
  'It can be loaded by peft.js, which writes it for AdapterHub with savePretrained(folder, { layout: "adapterhub" }).';

/** The README of an adapter folder. */
function modelCard(base: PretrainedModel, adapter: AttachedAdapter): string {
  const count = [...adapter.tensors.values()].reduce((total, { size }) => total + size, 0);
  return `---
library_name: peft
base_model: ${base.name}
tags:
- base_model:adapter:${base.name}
- ${adapter.method.name.toLowerCase()}
pipeline_tag: ${PIPELINES[base.taskType]}
---

# ${adapter.method.title} adapter for ${base.name}

${count.toLocaleString("en")} parameters in ${adapter.tensors.size} tensors, trained with peft.js ${VERSION}.
${adapter.method.adapterHub === undefined ? READERS : ADAPTERHUB_READERS}
`;
}

/** Writes an adapter folder as Hugging Face PEFT lays it out. */
export async function saveAdapter(
  base: PretrainedModel,
  adapter: AttachedAdapter,
  path: string,
): Promise<void> {
  const folder = await openOutputFolder(path);
  // Python looks for a tensor of every module whose name ends like a saved one's: it finds the base's own.
  const naming = isForModel(adapter.method) ? VIRTUAL_TOKEN_HEADS : MODULES_TO_SAVE;
  const copies = expectedCopies(adapter.report).flatMap(({ name }) =>
    [...base.namedParameters()]
      .filter((parameter) => parameter.name.startsWith(`${name}.`))
      .map((parameter) => [naming.saved(name, parameter.name.slice(name.length + 1)), parameter] as const),
  );
  const live = [...new Map([...copies, ...adapter.tensors])]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, parameter]): [string, TensorToWrite] => {
      const { dtype, dims, data } = adapter.savedTensors.get(parameter)?.() ?? parameter.tensor;
      return [key, { dtype, shape: dims, data }];
    });
  if (adapter.saves === undefined) {
    await folder.tensors("adapter_model.safetensors", live);
  } else {
    const computed = [...(await computedTensors(base, adapter.saves))];
    const written = computed.map(([key, { dtype, dims, data }]): [string, TensorToWrite] => [
      key,
      { dtype, shape: dims, data },
    ]);
    const beside = live.filter(([key]) => !isEncoderTensor(key));
    await folder.tensors("adapter_model.safetensors", [...beside, ...written]);
    // For further training; Hugging Face has no such file and does not look at it.
    await folder.tensors(ENCODER_FILE, live);
  }
  const taskType = writtenTask(base.taskType, isForModel(adapter.method));
  const facts = { baseModel: base.name, taskType };
  const written = [...adapter.savedOptions].map(([name, make]) => [name, make()] as const);
  const { report, method, config: own } = adapter;
  const options = { ...savedConfig(report, method, own), ...Object.fromEntries(written) };
  const config = writeAdapterConfig(adapter.method, options, facts);
  // Of a single parameter the file holds what is added to it as it is kept.
  const turned = adapter.places.some(
    ({ site, parameter }) => parameter === undefined && site.module.transposed.length > 0,
  );
  if (turned && "fan_in_fan_out" in config) config["fan_in_fan_out"] = true;
  await folder.json("adapter_config.json", config);
  // The base does not know what the outputs of a new head mean; Hugging Face keeps it nowhere beside an adapter.
  const { id2label, problem_type } = base.config.values;
  if (!hasTrainedHead(base.taskType) && (id2label !== undefined || problem_type !== undefined))
    await folder.json("labels.json", { id2label: id2label ?? null, problem_type: problem_type ?? null });
  for (const [name, value] of Object.entries(base.sidecars())) await folder.json(name, value);
  await folder.text("README.md", modelCard(base, adapter));
}
