import type { Dim, Shape, TensorType } from "../base/tensor-type.js";

/** The shape two shapes broadcast to, or undefined where they do not fit. A named size fits itself and 1. */
export function broadcastShapes(a: Shape, b: Shape): Dim[] | undefined {
  const rank = Math.max(a.length, b.length);
  const shape: Dim[] = [];
  for (let axis = 0; axis < rank; axis += 1) {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left !== right && left !== 1 && right !== 1) return undefined;
    shape.push(left === 1 ? right : left);
  }
  return shape;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/** A non-negative axis. */
export function resolveAxis(axis: number, type: TensorType): number {
  return axis < 0 ? axis + type.shape.length : axis;
}
