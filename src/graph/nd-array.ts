import { InternalError } from "../base/errors.js";

/** A dense row-major array of float64: what the plain reference of every op computes with. */
export interface NdArray {
  readonly dims: readonly number[];
  readonly data: Float64Array;
}

export function ndArray(dims: readonly number[], data?: Float64Array): NdArray {
  return { dims, data: data ?? new Float64Array(sizeOf(dims)) };
}

export function sizeOf(dims: readonly number[]): number {
  let size = 1;
  for (const dim of dims) size *= dim;
  return size;
}

/** Row-major strides, 0 where the size is 1, so that broadcasting is plain indexing. */
export function broadcastStrides(dims: readonly number[], rank: number): number[] {
  const strides = Array.from<number>({ length: rank }).fill(0);
  let stride = 1;
  for (let axis = dims.length - 1; axis >= 0; axis -= 1) {
    const size = dims[axis]!;
    strides[axis + rank - dims.length] = size === 1 ? 0 : stride;
    stride *= size;
  }
  return strides;
}

/** The shape that two shapes broadcast to. */
export function broadcastDims(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left !== right && left !== 1 && right !== 1)
      throw new InternalError(`Sizes ${left} and ${right} do not broadcast.`);
    return left === 1 ? right : left;
  });
}

/** Calls `visit` for every position of a shape with the flat offset into each of the strided arrays. */
export function forEachPosition(
  dims: readonly number[],
  strides: readonly (readonly number[])[],
  visit: (index: number, offsets: readonly number[]) => void,
): void {
  const size = sizeOf(dims);
  const position = dims.map(() => 0);
  const offsets = strides.map(() => 0);
  for (let index = 0; index < size; index += 1) {
    visit(index, offsets);
    for (let axis = dims.length - 1; axis >= 0; axis -= 1) {
      position[axis]! += 1;
      for (let s = 0; s < strides.length; s += 1) offsets[s]! += strides[s]![axis]!;
      if (position[axis]! < dims[axis]!) break;
      for (let s = 0; s < strides.length; s += 1) offsets[s]! -= strides[s]![axis]! * dims[axis]!;
      position[axis] = 0;
    }
  }
}

/** y = operation(a, b) with broadcasting. */
export function binaryMap(a: NdArray, b: NdArray, operation: (a: number, b: number) => number): NdArray {
  const y = ndArray(broadcastDims(a.dims, b.dims));
  const rank = y.dims.length;
  forEachPosition(
    y.dims,
    [broadcastStrides(a.dims, rank), broadcastStrides(b.dims, rank)],
    (index, offsets) => {
      y.data[index] = operation(a.data[offsets[0]!]!, b.data[offsets[1]!]!);
    },
  );
  return y;
}

/** y = operation(x), element by element. */
export function unaryMap(x: NdArray, operation: (x: number) => number): NdArray {
  return { dims: x.dims, data: x.data.map((value) => operation(value)) };
}

/** Sums over the axes in which `dims` is 1 or absent: the transpose of broadcasting. */
export function sumToDims(x: NdArray, dims: readonly number[]): NdArray {
  const y = ndArray(dims);
  const rank = x.dims.length;
  forEachPosition(x.dims, [broadcastStrides(dims, rank)], (index, offsets) => {
    y.data[offsets[0]!]! += x.data[index]!;
  });
  return y;
}

/** Rows of the last axis, each given as a view. */
export function rowsOf(x: NdArray): Float64Array[] {
  const width = x.dims.at(-1)!;
  return Array.from({ length: x.data.length / width }, (_, row) =>
    x.data.subarray(row * width, (row + 1) * width),
  );
}
