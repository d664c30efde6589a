import { type AdapterFiles, openAdapterFolder } from "../files/adapter-files.js";
import type { TensorFile } from "../files/tensor-file.js";
import type { Module } from "../nn/module.js";
import { fromAdapterHub, isAdapterHub } from "./adapterhub-config.js";
import { AdapterHubNames } from "./adapterhub-names.js";
import { renamedTensors } from "./adapterhub-tensors.js";

/** The model that an adapter is to be put on, as far as names of tensors depend on it. */
export interface NamingModel {
  readonly root: Module;
  /** Attribute of models with a head that holds the body. */
  readonly prefix: string;
  /** Names of the heads of its task. */
  readonly heads: readonly string[];
}

/** An adapter folder, its config in the words of Hugging Face PEFT. */
export interface OpenAdapter extends AdapterFiles {
  /** Its tensors under the names that they have on a model. Closing them closes the folder. */
  weightsFor(model: NamingModel): {
    readonly weights: TensorFile;
    readonly modulesToSave?: readonly string[];
    readonly warnings: readonly { readonly code: string; readonly text: string }[];
  };
}

/** Heads among the tensors of a file, where all of them belong to heads of the model's task. */
function headsOf(file: TensorFile, { heads }: NamingModel): string[] | undefined {
  const found = [...new Set([...file.tensors.keys()].map((name) => name.split(".")[0]!))];
  return found.every((name) => heads.includes(name)) ? found : undefined;
}

/**
 * Opens an adapter folder that Hugging Face PEFT or AdapterHub wrote.
 *
 * @throws {@link CheckpointError} where files are missing or damaged; {@link ConfigError} for a config that cannot be read
 */
export async function openAdapter(folder: string): Promise<OpenAdapter> {
  const files = await openAdapterFolder(folder);
  if (!isAdapterHub(files.config))
    return { ...files, weightsFor: () => ({ weights: files.weights, warnings: [] }) };
  try {
    const { configPath, weights } = files;
    const config = fromAdapterHub(files.config, configPath, [...weights.tensors.keys()]);
    const name = String(files.config["name"]);
    const head = await files.openHead();
    return {
      ...files,
      config,
      weightsFor(model) {
        const names = new AdapterHubNames(model.root, name, model.prefix);
        if (head === undefined) return { weights: renamedTensors(weights, names), warnings: [] };
        const modulesToSave = headsOf(head, model);
        if (modulesToSave !== undefined)
          return { weights: renamedTensors(weights, names, head), modulesToSave, warnings: [] };
        head.close();
        const text = `${head.path} is no head of this model's task and is left alone: the model keeps its own.`;
        return { weights: renamedTensors(weights, names), warnings: [{ code: "head_left_alone", text }] };
      },
    };
  } catch (error) {
    files.weights.close();
    throw error;
  }
}
