import { CheckpointError, type Fact } from "../base/errors.js";
import { BYTES_PER_ELEMENT, type DType, formatShape } from "../base/tensor-type.js";
import { elementCount, type HostTensor, hostTensor, viewData } from "../base/host-tensor.js";
import { openMappedFile } from "./mapped-file.js";

const DTYPES: Readonly<Record<string, DType>> = {
  F64: "float64",
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  I64: "int64",
  I32: "int32",
  I8: "int8",
  U8: "uint8",
  BOOL: "bool",
};

/** The largest header that is believed: the format itself allows 100 MB. */
const MOST_HEADER_BYTES = 100_000_000;

/** A tensor as the header describes it. */
export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Place in the file, in bytes. */
  readonly offset: number;
  readonly byteLength: number;
}

/** An open safetensors file: the header is read, the tensors are not. */
export interface SafetensorsFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
  /** The tensor in place, copied only where the file does not align it. */
  read(name: string): HostTensor;
  close(): void;
}

function damaged(path: string, code: string, summary: string, facts: readonly Fact[] = []): CheckpointError {
  return new CheckpointError({
    code,
    summary,
    facts: [["file", path], ...facts],
    fixes: ["fetch the file again; a download that broke off leaves such a file"],
    fields: { path },
  });
}

const bytesText = (count: number): string => `${count.toLocaleString("en")} bytes`;

interface RawEntry {
  readonly dtype?: unknown;
  readonly shape?: unknown;
  readonly data_offsets?: unknown;
}

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) &&
  value.every((item) => typeof item === "number" && Number.isSafeInteger(item) && item >= 0);

/** Checks what the header claims of one tensor against the file. */
function readEntry(
  path: string,
  name: string,
  entry: RawEntry,
  dataStart: number,
  fileSize: number,
): StoredTensor {
  const dtype = typeof entry.dtype === "string" ? DTYPES[entry.dtype] : undefined;
  if (dtype === undefined) {
    throw damaged(
      path,
      "tensor_dtype",
      `Tensor ${name} has the element type ${JSON.stringify(entry.dtype)}, which is not known.`,
      [["known", Object.keys(DTYPES).join(", ")]],
    );
  }
  const { shape, data_offsets: offsets } = entry;
  if (!isSizes(shape) || !isSizes(offsets) || offsets.length !== 2) {
    throw damaged(path, "header_lies", `The header describes tensor ${name} in a way that makes no sense.`, [
      ["got", JSON.stringify(entry)],
    ]);
  }
  const [begin, end] = offsets as [number, number];
  const expected = elementCount(shape) * BYTES_PER_ELEMENT[dtype];
  if (end - begin !== expected) {
    throw damaged(
      path,
      "header_lies",
      `The header gives tensor ${name} ${bytesText(end - begin)}; its shape needs ${bytesText(expected)}.`,
      [["shape", `${entry.dtype as string} ${formatShape(shape)}`]],
    );
  }
  if (dataStart + end > fileSize) {
    throw damaged(path, "file_truncated", `The file ends before tensor ${name} does.`, [
      ["expected", `at least ${bytesText(dataStart + end)}`],
      ["got", bytesText(fileSize)],
    ]);
  }
  return { dtype, shape, offset: dataStart + begin, byteLength: expected };
}

/** No two tensors may claim the same bytes. */
function checkOverlap(path: string, tensors: ReadonlyMap<string, StoredTensor>): void {
  const sorted = [...tensors].sort(([, a], [, b]) => a.offset - b.offset);
  for (const [i, [name, tensor]] of sorted.entries()) {
    const next = sorted[i + 1];
    if (next === undefined || tensor.offset + tensor.byteLength <= next[1].offset) continue;
    throw damaged(path, "header_lies", `The header gives tensors ${name} and ${next[0]} the same bytes.`);
  }
}

function parseHeader(path: string, bytes: Uint8Array): Record<string, RawEntry> {
  try {
    const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
    if (typeof header === "object" && header !== null && !Array.isArray(header))
      return header as Record<string, RawEntry>;
  } catch {
    // Said below, with the file's name.
  }
  throw damaged(
    path,
    "not_safetensors",
    "The header is not JSON: this is no safetensors file, or it is damaged.",
  );
}

/**
 * Opens a safetensors file. Every length in the header is checked against the file before it is used.
 *
 * @throws {@link CheckpointError} `file_missing`, `file_truncated`, `not_safetensors`, `header_lies`, `tensor_dtype`
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await openMappedFile(path);
  try {
    if (file.byteLength < 8) {
      throw damaged(
        path,
        "file_truncated",
        `The file has ${bytesText(file.byteLength)}; its header alone needs 8.`,
      );
    }
    const start = file.bytes(0, 8);
    const length = Number(new DataView(start.buffer, start.byteOffset, 8).getBigUint64(0, true));
    if (length > MOST_HEADER_BYTES) {
      throw damaged(
        path,
        "not_safetensors",
        `The file claims a header of ${bytesText(length)}: this is no safetensors file.`,
      );
    }
    if (8 + length > file.byteLength) {
      throw damaged(path, "file_truncated", "The file ends within its header.", [
        ["expected", `at least ${bytesText(8 + length)}`],
        ["got", bytesText(file.byteLength)],
      ]);
    }
    const header = parseHeader(path, file.bytes(8, length));
    const metadata = (header["__metadata__"] ?? {}) as Record<string, string>;
    const tensors = new Map<string, StoredTensor>();
    for (const [name, entry] of Object.entries(header)) {
      if (name !== "__metadata__")
        tensors.set(name, readEntry(path, name, entry, 8 + length, file.byteLength));
    }
    checkOverlap(path, tensors);
    return {
      path,
      tensors,
      metadata,
      read(name) {
        const { dtype, shape, offset, byteLength } = tensors.get(name)!;
        const bytes = file.bytes(offset, byteLength);
        const aligned = bytes.byteOffset % BYTES_PER_ELEMENT[dtype] === 0 ? bytes : bytes.slice();
        return hostTensor(
          dtype,
          shape,
          viewData(dtype, aligned.buffer, aligned.byteOffset, elementCount(shape)),
        );
      },
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}
