import { InternalError } from "../base/errors.js";
import { sameShape } from "../graph/broadcast.js";
import { formatShape, type Shape } from "../base/tensor-type.js";
import { topologicalOrder, type Value, withScope } from "../graph/value.js";
import { ops } from "../ops/index.js";

/** Sums over what broadcasting repeated, so that a gradient has its input's shape. */
function sumToShape(dy: Value, shape: Shape): Value {
  let y = dy;
  while (y.type.shape.length > shape.length) y = ops.sum(y, { axis: 0 });
  for (const [axis, dim] of shape.entries()) {
    if (dim === 1 && y.type.shape[axis] !== 1) y = ops.sum(y, { axis, keep: true });
  }
  return y;
}

function checkGradient(dx: Value, x: Value, op: string): void {
  if (dx.type.dtype === x.type.dtype && sameShape(dx.type.shape, x.type.shape)) return;
  throw new InternalError(
    `The gradient of ${op} is ${dx.type.dtype} ${formatShape(dx.type.shape)} for an input that is ` +
      `${x.type.dtype} ${formatShape(x.type.shape)}.`,
  );
}

/** Values that depend on one of `wrt`, found from the outputs down to `wrt`. */
function dependents(
  outputs: readonly Value[],
  wrt: ReadonlySet<Value>,
): { order: Value[]; active: Set<Value> } {
  const order = topologicalOrder({ inputs: [...wrt], outputs });
  const active = new Set<Value>(wrt);
  for (const value of order) {
    if (value.node?.inputs.some((input) => active.has(input)) === true) active.add(value);
  }
  return { order, active };
}

/**
 * Reverse-mode differentiation, graph to graph: Σ_k dL/dy_k · dy_k/dx for every x asked for.
 *
 * Only what lies between the outputs and `wrt` is walked; a value that no output depends on gets undefined.
 *
 * @param seeds - the outputs with dL/dy of each.
 * @param wrt - the values to differentiate by; the walk stops at them.
 */
export function gradients(seeds: ReadonlyMap<Value, Value>, wrt: readonly Value[]): (Value | undefined)[] {
  const { order, active } = dependents([...seeds.keys()], new Set(wrt));
  const total = new Map<Value, Value>();
  const contribute = (x: Value, dx: Value): void => {
    const sum = total.get(x);
    total.set(x, sum === undefined ? dx : ops.add(sum, dx));
  };
  for (const [y, dy] of seeds) if (active.has(y)) contribute(y, dy);
  for (const y of order.reverse()) {
    const dy = total.get(y);
    const node = y.node;
    if (dy === undefined || node === undefined || !active.has(y)) continue;
    withScope(`${node.scope}/gradient`, () => {
      const parts = node.op.gradient({ f: ops, dy, y, inputs: node.inputs as never, attrs: node.attrs });
      for (const [i, x] of node.inputs.entries()) {
        const part = parts[i];
        if (part === undefined || !active.has(x)) continue;
        const dx = sumToShape(typeof part === "function" ? part() : part, x.type.shape);
        checkGradient(dx, x, node.op.name);
        contribute(x, dx);
      }
    });
  }
  return wrt.map((x) => total.get(x));
}
