import { InternalError } from "./errors.js";
import { BYTES_PER_ELEMENT, type DType, formatShape } from "./tensor-type.js";

/** Arrays that hold tensor elements; float16 and bfloat16 are raw bits in a Uint16Array, bool is a Uint8Array. */
export type TensorData =
  | Float32Array
  | Float64Array
  | Uint16Array
  | BigInt64Array
  | Int32Array
  | Int8Array
  | Uint8Array;

/**
 * A tensor in memory that this process can see: dense, row-major, possibly a view into a mapped file.
 * The object is immutable (its elements are not), so engines may keep a native handle for it.
 */
export interface HostTensor {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly data: TensorData;
}

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const;

/** The number of elements of a shape. */
export function elementCount(dims: readonly number[]): number {
  let count = 1;
  for (const dim of dims) count *= dim;
  return count;
}

/** An array over part of a buffer; the offset is in bytes and must fit the element size. */
export function viewData(
  dtype: DType,
  buffer: ArrayBufferLike,
  byteOffset: number,
  count: number,
): TensorData {
  return new ARRAYS[dtype](buffer as ArrayBuffer, byteOffset, count);
}

/** Wraps an array as a tensor, checking that the sizes agree. */
export function hostTensor(dtype: DType, dims: readonly number[], data: TensorData): HostTensor {
  if (elementCount(dims) !== data.length || data.BYTES_PER_ELEMENT !== BYTES_PER_ELEMENT[dtype]) {
    throw new InternalError(`A ${dtype} tensor ${formatShape(dims)} cannot hold ${data.length} elements.`, {
      dtype,
      dims,
    });
  }
  return { dtype, dims, data };
}

/** A new tensor of zeros. */
export function zeros(dtype: DType, dims: readonly number[]): HostTensor {
  return { dtype, dims, data: new ARRAYS[dtype](elementCount(dims)) };
}

/** Tensors of one type one below the other: (n, …) and (m, …) → (n + m, …); a single one as it is. */
export function joinedRows(tensors: readonly HostTensor[]): HostTensor {
  const [first] = tensors as [HostTensor];
  if (tensors.length === 1) return first;
  const rows = tensors.reduce((sum, { dims }) => sum + dims[0]!, 0);
  const result = zeros(first.dtype, [rows, ...first.dims.slice(1)]);
  const bytes = tensorBytes(result);
  let at = 0;
  for (const tensor of tensors) {
    bytes.set(tensorBytes(tensor), at);
    at += tensor.data.byteLength;
  }
  return result;
}

/** The elements of a tensor as bytes, in place. */
export const tensorBytes = ({ data }: Pick<HostTensor, "data">): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** Adds the elements of one float32 tensor to those of another. */
export function addTo(sum: HostTensor["data"], part: HostTensor["data"]): void {
  const [values, more] = [sum as Float32Array, part as Float32Array];
  for (let i = 0; i < values.length; i += 1) values[i]! += more[i]!;
}
