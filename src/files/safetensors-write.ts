import { InternalError } from "../base/errors.js";
import { BYTES_PER_ELEMENT, type DType } from "../base/tensor-type.js";
import { elementCount, tensorBytes, type TensorData } from "../base/host-tensor.js";
import { writeFileAtomic } from "./atomic-write.js";

const NAMES: Readonly<Record<DType, string>> = {
  float64: "F64",
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
  int64: "I64",
  int32: "I32",
  int8: "I8",
  uint8: "U8",
  bool: "BOOL",
};

/** A tensor to be written; its elements may be made when their turn comes. */
export interface TensorToWrite {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TensorData | (() => TensorData | Promise<TensorData>);
}

/**
 * Writes a safetensors file, one tensor at a time, and puts it in place when it is whole. The same tensors give the same bytes.
 *
 * @returns the size of the file in bytes.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [name: string, tensor: TensorToWrite]>,
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): Promise<number> {
  const entries = [...tensors];
  // Text and not an object, which would put names that are numbers first and keep one of two equal names.
  const header = [`"__metadata__":${JSON.stringify(metadata)}`];
  const names = new Set(["__metadata__"]);
  let end = 0;
  for (const [name, { dtype, shape }] of entries) {
    const begin = end;
    end += elementCount(shape) * BYTES_PER_ELEMENT[dtype];
    if (names.has(name)) throw new InternalError(`Two tensors named ${name} were to be written to ${path}.`);
    names.add(name);
    header.push(
      `${JSON.stringify(name)}:${JSON.stringify({ dtype: NAMES[dtype], shape, data_offsets: [begin, end] })}`,
    );
  }
  const json = new TextEncoder().encode(`{${header.join(",")}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const head = new Uint8Array(8 + padded).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(padded), true);
  head.set(json, 8);
  await writeFileAtomic(path, chunks(head, entries));
  return head.length + end;
}

async function* chunks(
  head: Uint8Array,
  entries: readonly (readonly [string, TensorToWrite])[],
): AsyncGenerator<Uint8Array> {
  yield head;
  for (const [name, { dtype, shape, data }] of entries) {
    const elements = typeof data === "function" ? await data() : data;
    if (elements.length !== elementCount(shape) || elements.BYTES_PER_ELEMENT !== BYTES_PER_ELEMENT[dtype]) {
      throw new InternalError(
        `${name} was announced as ${dtype} [${shape.join(", ")}] and came with ${elements.length} elements.`,
      );
    }
    yield tensorBytes({ data: elements });
  }
}
