import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointError } from "../base/errors.js";
import { readJsonObject } from "./json-file.js";
import { openSafetensors } from "./safetensors.js";
import type { TensorFile } from "./tensor-file.js";
import { openTorchFile } from "./torch-file.js";

/** Tensors that those of the adapter are computed from, for methods that train an encoder. */
export const ENCODER_FILE = "prompt_encoder.safetensors";

/** The files of an adapter folder. */
export interface AdapterFiles {
  readonly configPath: string;
  readonly config: Record<string, unknown>;
  readonly weights: TensorFile;
  /** Opens the tensors of the encoder, where the folder holds any. */
  openEncoder(): Promise<TensorFile | undefined>;
  /** Opens the head that AdapterHub writes beside an adapter, where there is one. */
  openHead(): Promise<TensorFile | undefined>;
}

/** Names that weights have in folders of Hugging Face PEFT and of AdapterHub, in the order they are looked for. */
const WEIGHTS = ["adapter_model.safetensors", "adapter.safetensors", "pytorch_adapter.bin"];
const HEADS = ["model_head.safetensors", "pytorch_model_head.bin"];

const openFile = (path: string): Promise<TensorFile> =>
  /\.(bin|pt|pth)$/.test(path) ? openTorchFile(path) : openSafetensors(path);

/**
 * Opens a file of tensors, or that of an adapter folder.
 *
 * @throws {@link CheckpointError} where there is none, or what a damaged file says
 */
export async function openTensors(path: string): Promise<TensorFile> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isDirectory() !== true) return openFile(path);
  return (await openAdapterFolder(path)).weights;
}

/** The first of these files that a folder holds. */
const firstOf = (folder: string, names: readonly string[]): string | undefined =>
  names.map((name) => join(folder, name)).find((path) => existsSync(path));

/**
 * Opens an adapter folder as Hugging Face PEFT or AdapterHub lays it out.
 *
 * @throws {@link CheckpointError} `adapter_missing`, `adapter_pickle`, or what a damaged file says
 */
export async function openAdapterFolder(folder: string): Promise<AdapterFiles> {
  const configPath = join(folder, "adapter_config.json");
  const info = await stat(folder).catch(() => undefined);
  if (info?.isDirectory() !== true || !existsSync(configPath)) {
    throw new CheckpointError({
      code: "adapter_missing",
      summary: `${folder} is no adapter folder: it holds no adapter_config.json.`,
      fixes: ["give the folder that training wrote, or one that Hugging Face PEFT saved"],
      fields: { folder },
    });
  }
  const weightsPath = firstOf(folder, WEIGHTS);
  if (weightsPath === undefined) {
    const pickle = existsSync(join(folder, "adapter_model.bin"));
    throw new CheckpointError({
      code: pickle ? "adapter_pickle" : "adapter_missing",
      summary: pickle
        ? `${folder} holds its weights as adapter_model.bin, which can run code when it is read and is not.`
        : `${folder} holds no adapter_model.safetensors.`,
      fixes: [
        pickle
          ? "save it again with Python: model.save_pretrained(folder)"
          : "fetch or save the adapter again",
      ],
      fields: { folder },
    });
  }
  const encoderPath = join(folder, ENCODER_FILE);
  const headPath = firstOf(folder, HEADS);
  return {
    openHead: async () => (headPath === undefined ? undefined : await openFile(headPath)),
    openEncoder: async () => (existsSync(encoderPath) ? await openSafetensors(encoderPath) : undefined),
    configPath,
    config: await readJsonObject(configPath),
    weights: await openFile(weightsPath),
  };
}
