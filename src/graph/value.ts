import type { AnyOp } from "../ops/op.js";
import type { TensorType } from "../base/tensor-type.js";

/** One tensor of a graph under construction: an input, or the result of a node. */
export interface Value {
  readonly id: number;
  readonly type: TensorType;
  /** The node that computes it; undefined for an input. */
  readonly node: Node | undefined;
  /** Name for printing and for the graph's inputs. */
  readonly name: string;
}

/** One application of an op. */
export interface Node {
  readonly op: AnyOp;
  readonly inputs: readonly Value[];
  readonly attrs: Readonly<Record<string, unknown>>;
  /** Module path during tracing, so that runtime messages and profiles read like the model. */
  readonly scope: string;
}

let counter = 0;
let currentScope = "";

/** A graph input. */
export function inputValue(name: string, type: TensorType): Value {
  counter += 1;
  return { id: counter, type, node: undefined, name };
}

/** The result of applying an op; types are already checked. */
export function nodeValue(
  op: AnyOp,
  inputs: readonly Value[],
  attrs: Readonly<Record<string, unknown>>,
  type: TensorType,
): Value {
  counter += 1;
  const scope = currentScope;
  return { id: counter, type, node: { op, inputs, attrs, scope }, name: `${op.name}_${counter}` };
}

/** Runs `body` with a module path that the nodes it makes carry. */
export function withScope<T>(scope: string, body: () => T): T {
  const outer = currentScope;
  currentScope = outer === "" ? scope : `${outer}/${scope}`;
  try {
    return body();
  } finally {
    currentScope = outer;
  }
}

/** A graph: everything between its inputs and its outputs. An input may have a node: the graph is cut there. */
export interface Graph {
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}

/** The values that the outputs need, inputs of the graph left out, each after everything it is computed from. */
export function topologicalOrder(graph: Pick<Graph, "inputs" | "outputs">): Value[] {
  const done = new Set<Value>(graph.inputs);
  const order: Value[] = [];
  const stack: { value: Value; next: number }[] = [];
  for (const output of graph.outputs) {
    if (done.has(output)) continue;
    stack.push({ value: output, next: 0 });
    while (stack.length > 0) {
      const frame = stack.at(-1)!;
      const input = frame.value.node?.inputs[frame.next];
      if (input === undefined) {
        stack.pop();
        if (!done.has(frame.value)) {
          done.add(frame.value);
          order.push(frame.value);
        }
        continue;
      }
      frame.next += 1;
      if (!done.has(input)) stack.push({ value: input, next: 0 });
    }
  }
  return order;
}
