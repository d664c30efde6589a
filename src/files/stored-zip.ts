import { CheckpointError } from "../base/errors.js";

const END = 0x06054b50;
const ENTRY = 0x02014b50;

function broken(path: string, reason: string): CheckpointError {
  return new CheckpointError({
    code: "zip_damaged",
    summary: `${path} cannot be read as an archive: ${reason}.`,
    fixes: ["fetch the file again; a download that broke off leaves such a file"],
    fields: { path, reason },
  });
}

/** Where the directory of an archive begins, and how many entries it has. */
function directory(view: DataView, path: string): { readonly at: number; readonly count: number } {
  const first = Math.max(0, view.byteLength - 22 - 0xffff);
  for (let end = view.byteLength - 22; end >= first; end -= 1)
    if (view.getUint32(end, true) === END)
      return { at: view.getUint32(end + 16, true), count: view.getUint16(end + 10, true) };
  throw broken(path, "it has no directory");
}

/**
 * The files in a zip archive that stores them as they are, by name; nothing is copied.
 *
 * @throws {@link CheckpointError} `zip_damaged` where the archive is cut off, or packs its files
 */
export function storedFiles(bytes: Uint8Array, path: string): Map<string, Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 22) throw broken(path, "it is too short");
  const { at, count } = directory(view, path);
  const files = new Map<string, Uint8Array>();
  let entry = at;
  for (let i = 0; i < count; i += 1) {
    if (entry + 46 > bytes.length || view.getUint32(entry, true) !== ENTRY)
      throw broken(path, "its directory is damaged");
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((offset) =>
      view.getUint16(entry + offset, true),
    ) as [number, number, number];
    const name = new TextDecoder().decode(bytes.subarray(entry + 46, entry + 46 + nameLength));
    if (view.getUint16(entry + 10, true) !== 0) throw broken(path, `${name} is packed`);
    const size = view.getUint32(entry + 24, true);
    const local = view.getUint32(entry + 42, true);
    if (local + 30 > bytes.length) throw broken(path, `${name} lies beyond its end`);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    if (start + size > bytes.length) throw broken(path, `${name} lies beyond its end`);
    files.set(name, bytes.subarray(start, start + size));
    entry += 46 + nameLength + extraLength + commentLength;
  }
  return files;
}
