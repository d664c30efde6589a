import { access, constants, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { ensureWritableFolder } from "./atomic-write.js";

/** What Linux calls a file system in memory. */
const TMPFS = 0x01021994;

/** A disk with less free space is left alone, unless it was asked for. */
const SPARE_BYTES = 8 * 2 ** 30;

const inMemory = (type: number): boolean => process.platform === "linux" && type === TMPFS;

/** Checks that a folder can hold a scratch file, and says so where it saves no memory. */
export async function checkOffloadFolder(folder: string, onWarning: (text: string) => void): Promise<void> {
  await ensureWritableFolder(folder);
  const { type } = await statfs(folder);
  if (inMemory(type))
    onWarning(
      `${folder} is in memory (tmpfs): activations offloaded there take memory all the same; choose a folder on a disk`,
    );
}

/** The folder of the system for large temporary files, if it is on a disk with room to spare. */
export async function temporaryDiskFolder(): Promise<string | undefined> {
  for (const folder of [tmpdir(), "/var/tmp"]) {
    try {
      const { type, bavail, bsize } = await statfs(folder);
      if (inMemory(type) || bavail * bsize < SPARE_BYTES) continue;
      await access(folder, constants.W_OK);
      return folder;
    } catch {
      // A folder that is not there or not ours is no candidate.
    }
  }
  return undefined;
}
