import { InternalError } from "../base/errors.js";
import type { NdArray } from "./nd-array.js";
import { type Graph, topologicalOrder, type Value } from "./value.js";

/** Runs a graph with the plain float64 references of its ops: slow, exact, for tests. */
export function interpret(graph: Pick<Graph, "inputs" | "outputs">, inputs: readonly NdArray[]): NdArray[] {
  const results = new Map<Value, NdArray>(graph.inputs.map((value, i) => [value, inputs[i]!]));
  for (const value of topologicalOrder(graph)) {
    const node = value.node;
    if (node === undefined) throw new InternalError(`${value.name} is not among the inputs of the graph.`);
    results.set(
      value,
      node.op.evaluate(node.inputs.map((input) => results.get(input)!) as never, node.attrs),
    );
  }
  return graph.outputs.map((value) => results.get(value)!);
}
