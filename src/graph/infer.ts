import { ShapeError } from "../base/errors.js";
import { broadcastShapes } from "./broadcast.js";
import { formatShape, type TensorType } from "../base/tensor-type.js";

/** The type of an elementwise op over two inputs of one element type. */
export function inferBroadcast(op: string, types: readonly TensorType[]): TensorType {
  const [a, b] = types as [TensorType, TensorType];
  const shape = broadcastShapes(a.shape, b.shape);
  if (shape === undefined || a.dtype !== b.dtype) {
    throw new ShapeError({
      code: "shape_mismatch",
      summary: `${op}: the two inputs do not fit together.`,
      facts: [
        ["left", `${a.dtype} ${formatShape(a.shape)}`],
        ["right", `${b.dtype} ${formatShape(b.shape)}`],
      ],
      fields: { op, left: a, right: b },
    });
  }
  return { dtype: a.dtype, shape };
}
