import { join } from "node:path";
import { ensureWritableFolder, writeFileAtomic } from "./atomic-write.js";
import { type TensorToWrite, writeSafetensors } from "./safetensors-write.js";

/** A folder that is written to, file by file, each of them whole or not at all. */
export interface OutputFolder {
  readonly path: string;
  json(name: string, value: unknown): Promise<void>;
  text(name: string, value: string): Promise<void>;
  tensors(name: string, tensors: Iterable<readonly [string, TensorToWrite]>): Promise<number>;
}

/**
 * Opens a folder for writing; it is made if need be.
 *
 * @throws {@link ConfigError} `folder_not_writable`; {@link OutOfMemoryError} `disk_full` where `neededBytes` are not free
 */
export async function openOutputFolder(path: string, neededBytes = 0): Promise<OutputFolder> {
  await ensureWritableFolder(path, neededBytes);
  return {
    path,
    json: (name, value) => writeFileAtomic(join(path, name), `${JSON.stringify(value, null, 2)}\n`),
    text: (name, value) => writeFileAtomic(join(path, name), value),
    tensors: (name, tensors) => writeSafetensors(join(path, name), tensors),
  };
}
