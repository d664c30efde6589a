import { open } from "node:fs/promises";
import { CheckpointError, InternalError } from "../base/errors.js";
import { koffi } from "./native.js";

/** A file whose bytes are in memory, or seem to be. */
export interface MappedFile {
  readonly path: string;
  readonly byteLength: number;
  /** Whether the bytes are mapped: read when they are touched, and given up again under memory pressure. */
  readonly mapped: boolean;
  /** A view of part of the file; it must not be used after `close`. */
  bytes(offset: number, length: number): Uint8Array;
  /** Gives back the memory of a part that has served; it is read again where it is touched again. */
  forget(offset: number, length: number): void;
  close(): void;
}

interface Mapper {
  map(descriptor: number, length: number): { address: bigint; buffer: ArrayBuffer } | undefined;
  unmap(address: bigint, length: number): void;
  forget(address: bigint, length: number): void;
}

// The largest page in use anywhere: what is a multiple of it is one of every page size.
const PAGE = 65_536;
const MADV_DONTNEED = 4;

const PROT_READ = 1;
const MAP_PRIVATE = 2;
// Undefined until it was looked for.
let mapper: Mapper | undefined | null;

/** The C library's mmap; null where there is none. */
function loadMapper(): Mapper | null {
  if (process.platform === "win32") return null;
  try {
    // The process itself: it holds a C library, whatever that is called here.
    const lib = koffi.load(null);
    const mmap = lib.func("void* mmap(void*, size_t, int, int, int, int64_t)");
    const munmap = lib.func("int munmap(void*, size_t)");
    const madvise = lib.func("int madvise(void*, size_t, int)");
    return {
      map(descriptor, length) {
        const address = mmap(null, length, PROT_READ, MAP_PRIVATE, descriptor, 0) as bigint | null;
        if (address === null || BigInt.asIntN(64, address) === -1n) return undefined;
        return { address, buffer: koffi.view(address, length) };
      },
      unmap: (address, length) => void munmap(address, length),
      forget: (address, length) => void madvise(address, length, MADV_DONTNEED),
    };
  } catch {
    return null;
  }
}

const READ_PIECE = 2 ** 30;

/**
 * Opens a file for reading, mapped where the platform allows it, read as a whole otherwise.
 *
 * @throws {@link CheckpointError} `file_missing`, `file_unreadable`, `not_a_file`
 */
export async function openMappedFile(path: string): Promise<MappedFile> {
  let handle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new CheckpointError({
      code: missing ? "file_missing" : "file_unreadable",
      summary: missing ? `There is no file ${path}.` : `${path} cannot be read: ${(error as Error).message}.`,
      fields: { path },
      cause: error,
    });
  }
  try {
    const info = await handle.stat();
    if (!info.isFile()) {
      throw new CheckpointError({
        code: "not_a_file",
        summary: `${path} is ${info.isDirectory() ? "a folder" : "a device"}; a file was expected.`,
        fixes: ["give the path of a file"],
        fields: { path },
      });
    }
    const { size } = info;
    const check = (offset: number, length: number): void => {
      if (offset >= 0 && length >= 0 && offset + length <= size) return;
      throw new InternalError(
        `Bytes ${offset} to ${offset + length} of ${path} were asked for; it has ${size}.`,
      );
    };
    if (mapper === undefined) mapper = loadMapper();
    const mapping = size > 0 && mapper ? mapper.map(handle.fd, size) : undefined;
    if (mapping !== undefined && mapper) {
      const { unmap, forget } = mapper;
      let open = true;
      return {
        path,
        byteLength: size,
        mapped: true,
        bytes(offset, length) {
          check(offset, length);
          return new Uint8Array(mapping.buffer, offset, length);
        },
        forget(offset, length) {
          const start = Math.ceil(offset / PAGE) * PAGE;
          const end = Math.floor((offset + length) / PAGE) * PAGE;
          if (open && end > start) forget(mapping.address + BigInt(start), end - start);
        },
        close() {
          if (open) unmap(mapping.address, size);
          open = false;
        },
      };
    }
    const whole = new Uint8Array(size);
    for (let at = 0; at < size;) {
      const { bytesRead } = await handle.read(whole, at, Math.min(READ_PIECE, size - at), at);
      if (bytesRead === 0) {
        throw new CheckpointError({
          code: "file_truncated",
          summary: `${path} became shorter while it was read.`,
          fixes: ["wait until it is written, then try again"],
          fields: { path, expected: size, got: at },
        });
      }
      at += bytesRead;
    }
    return {
      path,
      byteLength: size,
      mapped: false,
      bytes(offset, length) {
        check(offset, length);
        return whole.subarray(offset, offset + length);
      },
      forget: () => undefined,
      close: () => undefined,
    };
  } finally {
    await handle.close();
  }
}
