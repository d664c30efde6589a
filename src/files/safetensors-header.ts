import { CheckpointError, type Fact } from "../base/errors.js";
import { elementCount } from "../base/host-tensor.js";
import { BYTES_PER_ELEMENT, type DType, formatShape } from "../base/tensor-type.js";
import type { MappedFile } from "./mapped-file.js";

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

/** What the header of a safetensors file says. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

function damaged(
  path: string,
  code: string,
  summary: string,
  facts: readonly Fact[] = [],
  fixes = ["fetch the file again; a download that broke off leaves such a file"],
): CheckpointError {
  return new CheckpointError({
    code,
    summary,
    facts: [["file", path], ...facts],
    fixes,
    fields: { path },
  });
}

const bytesText = (count: number): string => `${count.toLocaleString("en")} bytes`;

interface RawEntry {
  readonly dtype?: unknown;
  readonly shape?: unknown;
  readonly data_offsets?: unknown;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) &&
  value.every((item) => typeof item === "number" && Number.isSafeInteger(item) && item >= 0);

/** Checks what the header claims of one tensor against the file. */
function readEntry(
  path: string,
  name: string,
  entry: unknown,
  dataStart: number,
  fileSize: number,
): StoredTensor {
  const { dtype: written, shape, data_offsets: offsets }: RawEntry = isObject(entry) ? entry : {};
  const dtype = typeof written === "string" ? DTYPES[written] : undefined;
  if (dtype === undefined && typeof written === "string") {
    throw damaged(
      path,
      "tensor_dtype",
      `Tensor ${name} has the element type ${JSON.stringify(written)}, which cannot be read.`,
      [["known", Object.keys(DTYPES).join(", ")]],
      ["take a version of the model in bfloat16, float16 or float32"],
    );
  }
  if (dtype === undefined || !isSizes(shape) || !isSizes(offsets) || offsets.length !== 2) {
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
      [["shape", `${String(written)} ${formatShape(shape)}`]],
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

/** The tensors have to cover the file from the header to its end, each byte once: the format allows nothing else. */
function checkCover(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  start: number,
  end: number,
): void {
  // An empty tensor stands before the one that begins in the same place.
  const sorted = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength);
  let at = start;
  let previous = "the header";
  for (const [name, tensor] of sorted) {
    if (tensor.offset < at)
      throw damaged(path, "header_lies", `The header gives tensors ${previous} and ${name} the same bytes.`);
    if (tensor.offset > at) throw unclaimed(path, at, tensor.offset);
    at = tensor.offset + tensor.byteLength;
    previous = name;
  }
  if (at < end) throw unclaimed(path, at, end);
}

function unclaimed(path: string, from: number, to: number): CheckpointError {
  return damaged(path, "header_lies", `The header leaves ${bytesText(to - from)} of the file to no tensor.`, [
    ["at", `byte ${from.toLocaleString("en")} of the file`],
  ]);
}

/** The first name that stands twice in the header, which a parser of JSON would pass over. */
function repeatedName(json: string): string | undefined {
  const names = new Set<string>();
  let depth = 0;
  for (const [token, name] of json.matchAll(
    /("[^"\\]*(?:\\.[^"\\]*)*")\s*:|"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]]/g,
  )) {
    if (token === "{" || token === "[") depth += 1;
    else if (token === "}" || token === "]") depth -= 1;
    else if (depth === 1 && name !== undefined) {
      if (names.has(name)) return JSON.parse(name) as string;
      names.add(name);
    }
  }
  return undefined;
}

function parseHeader(path: string, bytes: Uint8Array): Record<string, unknown> {
  let text = "";
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    header = JSON.parse(text);
  } catch {
    // Said below, with the file's name.
  }
  if (!isObject(header)) {
    throw damaged(
      path,
      "not_safetensors",
      "The header is not JSON: this is no safetensors file, or it is damaged.",
    );
  }
  const repeated = repeatedName(text);
  if (repeated === undefined) return header;
  throw damaged(path, "header_lies", `The header describes ${repeated} twice.`);
}

function readMetadata(path: string, value: unknown = {}): Record<string, string> {
  if (isObject(value) && Object.values(value).every((text) => typeof text === "string"))
    return value as Record<string, string>;
  throw damaged(path, "header_lies", "The header's __metadata__ is not an object of texts.");
}

/**
 * Reads the header of a safetensors file. Every length in it is checked against the file before it is used.
 *
 * @throws {@link CheckpointError} `file_truncated`, `not_safetensors`, `header_lies`, `tensor_dtype`
 */
export function readSafetensorsHeader(file: MappedFile): SafetensorsHeader {
  const { path } = file;
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
  const metadata = readMetadata(path, header["__metadata__"]);
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name !== "__metadata__") tensors.set(name, readEntry(path, name, entry, 8 + length, file.byteLength));
  }
  checkCover(path, tensors, 8 + length, file.byteLength);
  return { tensors, metadata };
}
