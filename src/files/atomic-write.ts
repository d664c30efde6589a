import { constants } from "node:fs";
import { access, mkdir, open, rename, rm, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ConfigError, OutOfMemoryError, type PeftError } from "../base/errors.js";

/** The error of a failed write, or the cause itself where it is none of the known ones. */
function writeError(path: string, error: unknown): PeftError | unknown {
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
  if (code === "EACCES" || code === "EPERM" || code === "EROFS" || code === "ENOTDIR" || code === "EEXIST") {
    const reason =
      code === "EROFS"
        ? "the disk is read-only"
        : code === "ENOTDIR" || code === "EEXIST"
          ? "a file is in the way"
          : "no permission";
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
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
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
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw writeError(path, error);
  }
}

async function writeAll(handle: Awaited<ReturnType<typeof open>>, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length;) {
    const { bytesWritten } = await handle.write(chunk, at, Math.min(chunk.length - at, 2 ** 30));
    at += bytesWritten;
  }
}
