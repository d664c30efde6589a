import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointError } from "../base/errors.js";
import { readJsonObject } from "./json-file.js";
import { openSafetensors, type SafetensorsFile } from "./safetensors.js";

/** Tensors that those of the adapter are computed from, for methods that train an encoder. */
export const ENCODER_FILE = "prompt_encoder.safetensors";

/** The files of an adapter folder. */
export interface AdapterFiles {
  readonly configPath: string;
  readonly config: Record<string, unknown>;
  readonly weights: SafetensorsFile;
  /** Opens the tensors of the encoder, where the folder holds any. */
  openEncoder(): Promise<SafetensorsFile | undefined>;
}

/**
 * Opens an adapter folder as Hugging Face PEFT lays it out.
 *
 * @throws {@link CheckpointError} `adapter_missing`, `adapter_pickle`, or what a damaged file says
 */
export async function openAdapterFolder(folder: string): Promise<AdapterFiles> {
  const configPath = join(folder, "adapter_config.json");
  const weightsPath = join(folder, "adapter_model.safetensors");
  const info = await stat(folder).catch(() => undefined);
  if (info?.isDirectory() !== true || !existsSync(configPath)) {
    throw new CheckpointError({
      code: "adapter_missing",
      summary: `${folder} is no adapter folder: it holds no adapter_config.json.`,
      fixes: ["give the folder that training wrote, or one that Hugging Face PEFT saved"],
      fields: { folder },
    });
  }
  if (!existsSync(weightsPath)) {
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
  return {
    openEncoder: async () => (existsSync(encoderPath) ? await openSafetensors(encoderPath) : undefined),
    configPath,
    config: await readJsonObject(configPath),
    weights: await openSafetensors(weightsPath),
  };
}
