import { randomUUID } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { InternalError } from "../base/errors.js";
import { ensureWritableFolder, writeAll, writeError } from "./atomic-write.js";

/** Bytes that lie in a scratch file. */
export interface ScratchPart {
  readonly offset: number;
  readonly byteLength: number;
}

const PIECE = 2 ** 30;

/**
 * A file for what memory shall not hold. It has no name once it is open, so the system removes it when it is closed, however the
 * process ends.
 */
export class ScratchFile {
  #handle: Promise<FileHandle> | undefined;
  /** Parts in use; where there are none, the file is written from its start again. */
  #parts = 0;
  #end = 0;

  constructor(readonly folder: string) {}

  async #open(): Promise<FileHandle> {
    const path = join(this.folder, `.peft-scratch-${process.pid}-${randomUUID()}.tmp`);
    try {
      await ensureWritableFolder(this.folder);
      const handle = await open(path, "wx+");
      await rm(path);
      return handle;
    } catch (error) {
      throw writeError(path, error);
    }
  }

  /** Room for so many bytes, to be written and read until it is freed. */
  reserve(byteLength: number): ScratchPart {
    const part = { offset: this.#end, byteLength };
    this.#parts += 1;
    this.#end += byteLength;
    return part;
  }

  free(): void {
    this.#parts -= 1;
    if (this.#parts === 0) this.#end = 0;
  }

  /** Writes bytes, which must stay as they are until then, to a part of their size. */
  async write({ offset }: ScratchPart, bytes: Uint8Array): Promise<void> {
    const handle = await (this.#handle ??= this.#open());
    try {
      await writeAll(handle, bytes, offset);
    } catch (error) {
      throw writeError(join(this.folder, "(scratch file)"), error);
    }
  }

  /** Fills bytes from a part of their size. */
  async read({ offset }: ScratchPart, bytes: Uint8Array): Promise<void> {
    const handle = await this.#handle!;
    for (let at = 0; at < bytes.length;) {
      const length = Math.min(bytes.length - at, PIECE);
      const { bytesRead } = await handle.read(bytes, at, length, offset + at);
      if (bytesRead === 0)
        throw new InternalError("A scratch file ends before a part of it.", { offset, at, length });
      at += bytesRead;
    }
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    // Whoever wrote has the error of a file that could not be opened.
    await (await handle?.catch(() => undefined))?.close();
  }
}
