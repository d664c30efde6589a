import { constants } from "node:fs";
import { access, type FileHandle, mkdir, open, rename, rm, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ConfigError, OutOfMemoryError, type PeftError } from "../base/errors.js";

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "no permission",
  EPERM: "no permission",
  EROFS: "the disk is read-only",
  ENOTDIR: "a file is in the way",
  EEXIST: "a file is in the way",
  EISDIR: "a folder is in the way",
  ENOTEMPTY: "a folder is in the way",
};

let written = 0;

/** The error of a failed write, or the cause itself where it is none of the known ones. */
export function writeError(path: string, error: unknown): PeftError | unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new OutOfMemoryError({
      code: "disk_full",
      summary: `The disk is full: ${path} was not written.`,
      facts: [["kept", "whatever was there before is unchanged"]],
      fixes: ["free some space, or choose a folder on another disk"],
      fields: { path },
      cause: error,
    });
  }
  const reason = code === undefined ? undefined : REASONS[code];
  if (reason !== undefined) {
    return new ConfigError({
      code: "folder_not_writable",
      summary: `${path} cannot be written: ${reason}.`,
      fixes: ["choose another folder"],
      fields: { path, reason: code },
      cause: error,
    });
  }
  return error;
}

/** Makes a folder if need be and checks that files can be written there, so that a long run does not fail at its end. */
export async function ensureWritableFolder(folder: string, neededBytes = 0): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
    const { bavail, bsize } = await statfs(folder);
    if (bavail * bsize < neededBytes) throw Object.assign(new Error("no space"), { code: "ENOSPC" });
  } catch (error) {
    throw writeError(folder, error);
  }
}

/** Writes a file under another name, makes sure it is on the disk, and then puts it in place: never half of it is seen. */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  written += 1;
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}-${written}.tmp`);
  try {
    await mkdir(dirname(path), { recursive: true });
    const handle = await open(temporary, "w");
    try {
      if (typeof content === "string") await handle.writeFile(content);
      else {
        const chunks = content instanceof Uint8Array ? [content] : content;
        for await (const chunk of chunks) await writeAll(handle, chunk);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw writeError(path, error);
  }
}

/** Makes a new name survive a power cut, on systems that can. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

/** Writes all bytes, from a position of the file, or behind what was written last. */
export async function writeAll(handle: FileHandle, chunk: Uint8Array, position?: number): Promise<void> {
  for (let at = 0; at < chunk.length;) {
    const length = Math.min(chunk.length - at, 2 ** 30);
    const from = position === undefined ? null : position + at;
    at += (await handle.write(chunk, at, length, from)).bytesWritten;
  }
}
