/** Element types a value of a graph, a host tensor or a checkpoint tensor can have. */
export type DType =
  | "float32"
  | "float64"
  | "float16"
  | "bfloat16"
  | "int64"
  | "int32"
  | "int8"
  | "uint8"
  | "bool";

/** A size: a number, or the name of a size that is known only when the graph runs; `N·4` is four times the size N. */
export type Dim = number | string;

export type Shape = readonly Dim[];

/** What is known of a value before it exists. */
export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** Bytes of one element. */
export const BYTES_PER_ELEMENT: Readonly<Record<DType, number>> = {
  float32: 4,
  float64: 8,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int8: 1,
  uint8: 1,
  bool: 1,
};

/** `(B, 128, 2048)`: how shapes are written in every message. */
export function formatShape(shape: Shape): string {
  return `(${shape.join(", ")})`;
}

/** The number ONNX has for each element type. */
export const ONNX_DTYPES: Readonly<Record<DType, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  bfloat16: 16,
};
