import { statfs } from "node:fs/promises";
import { ensureWritableFolder } from "./atomic-write.js";

/** What Linux calls a file system in memory. */
const TMPFS = 0x01021994;

/** Checks that a folder can hold a scratch file, and says so where it saves no memory. */
export async function checkOffloadFolder(folder: string, onWarning: (text: string) => void): Promise<void> {
  await ensureWritableFolder(folder);
  const { type } = await statfs(folder);
  if (process.platform === "linux" && type === TMPFS)
    onWarning(
      `${folder} is in memory (tmpfs): activations offloaded there take memory all the same; choose a folder on a disk`,
    );
}
