import { CheckpointError } from "../base/errors.js";

/** A value of GGUF metadata; whole numbers of 64 bits become numbers. */
export type GgufValue = number | boolean | string | readonly GgufValue[];

/** A tensor as the header describes it. Sizes are in row-major order, the largest stride first. */
export interface GgufTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Number of the element type in ggml. */
  readonly type: number;
  /** Place in the file, in bytes. */
  readonly offset: number;
}

export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: readonly GgufTensor[];
}

const MAGIC = 0x46554747;
const STRING = 8;
const ARRAY = 9;

/** Reads the header field by field; every length is held against what is left of the file. */
class HeaderReader {
  readonly #view: DataView;
  readonly #text = new TextDecoder();
  at = 0;

  constructor(
    readonly bytes: Uint8Array,
    readonly path: string,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(code: string, summary: string): CheckpointError {
    return new CheckpointError({
      code,
      summary,
      facts: [
        ["file", this.path],
        ["at", `byte ${this.at.toLocaleString("en")} of ${this.bytes.length.toLocaleString("en")}`],
      ],
      fixes: ["fetch the file again; a download that broke off leaves such a file"],
      fields: { path: this.path, at: this.at },
    });
  }

  #take(count: number): number {
    const at = this.at;
    if (count > this.bytes.length - at) throw this.fail("file_truncated", "The file ends within its header.");
    this.at += count;
    return at;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** A 64-bit count; one that no file could hold is a lie. */
  size(most: number, what: string): number {
    const value = this.#view.getBigUint64(this.#take(8), true);
    if (Number(value) > most) {
      const text = `The header speaks of ${value} ${what}, more than this file can hold: it is cut off or damaged.`;
      throw this.fail("header_lies", text);
    }
    return Number(value);
  }

  string(): string {
    const length = this.size(this.bytes.length - this.at - 8, "bytes of text");
    const at = this.#take(length);
    return this.#text.decode(this.bytes.subarray(at, at + length));
  }

  value(type: number, depth = 0): GgufValue {
    const view = this.#view;
    switch (type) {
      case 0:
        return view.getUint8(this.#take(1));
      case 1:
        return view.getInt8(this.#take(1));
      case 2:
        return view.getUint16(this.#take(2), true);
      case 3:
        return view.getInt16(this.#take(2), true);
      case 4:
        return view.getUint32(this.#take(4), true);
      case 5:
        return view.getInt32(this.#take(4), true);
      case 6:
        return view.getFloat32(this.#take(4), true);
      case 7:
        return view.getUint8(this.#take(1)) !== 0;
      case STRING:
        return this.string();
      case ARRAY: {
        if (depth > 4)
          throw this.fail("header_lies", "The header nests lists deeper than any GGUF file does.");
        const inner = this.u32();
        const count = this.size(this.bytes.length - this.at, "list items");
        return Array.from({ length: count }, () => this.value(inner, depth + 1));
      }
      case 10:
        return Number(view.getBigUint64(this.#take(8), true));
      case 11:
        return Number(view.getBigInt64(this.#take(8), true));
      case 12:
        return view.getFloat64(this.#take(8), true);
      default:
        throw this.fail("header_lies", `The header has a value of type ${type}, which GGUF does not know.`);
    }
  }
}

/** Parses the header of a GGUF file of version 2 or 3. */
export function readGgufHeader(bytes: Uint8Array, path: string): GgufHeader {
  const reader = new HeaderReader(bytes, path);
  if (bytes.length < 24 || reader.u32() !== MAGIC) {
    reader.at = 0;
    throw reader.fail("not_gguf", `${path} is no GGUF file: it does not begin with "GGUF".`);
  }
  const version = reader.u32();
  if (version !== 2 && version !== 3)
    throw reader.fail("gguf_version", `GGUF version ${version} cannot be read; 2 and 3 can.`);
  // A tensor takes at least 24 bytes of header, a metadata entry at least 13.
  const tensorCount = reader.size(bytes.length / 24, "tensors");
  const entryCount = reader.size(bytes.length / 13, "metadata entries");
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < entryCount; i += 1) {
    const key = reader.string();
    metadata.set(key, reader.value(reader.u32()));
  }
  const drafts = Array.from({ length: tensorCount }, () => {
    const name = reader.string();
    const rank = reader.u32();
    if (rank > 4) throw reader.fail("header_lies", `The header gives tensor ${name} ${rank} dimensions.`);
    const shape = Array.from({ length: rank }, () =>
      reader.size(2 ** 40, `elements along an axis of ${name}`),
    ).reverse();
    const type = reader.u32();
    return { name, shape, type, offset: reader.size(Number.MAX_SAFE_INTEGER, `bytes before ${name}`) };
  });
  const alignment = Number(metadata.get("general.alignment") ?? 32);
  if (!Number.isInteger(alignment) || alignment < 1)
    throw reader.fail(
      "header_lies",
      `general.alignment is ${String(alignment)}; a positive number was expected.`,
    );
  const dataStart = Math.ceil(reader.at / alignment) * alignment;
  return { metadata, tensors: drafts.map((tensor) => ({ ...tensor, offset: dataStart + tensor.offset })) };
}
