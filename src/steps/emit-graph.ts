import type { TensorType } from "../base/tensor-type.js";
import { type Graph, topologicalOrder, type Value } from "../graph/value.js";
import type { Cells } from "./cells.js";
import { NoSteps, type StepEmitter } from "./emitter.js";

/**
 * The steps of a graph.
 *
 * @param cells - where its inputs are
 * @param dimsOf - the sizes of a type in this run
 * @returns where its outputs will be
 * @throws NoSteps where an op has no steps, or none for what it is given
 */
export function emitGraph(
  emit: StepEmitter,
  graph: Pick<Graph, "inputs" | "outputs">,
  cells: ReadonlyMap<Value, Cells>,
  dimsOf: (type: TensorType) => readonly number[],
): Cells[] {
  const known = new Map(cells);
  for (const value of topologicalOrder(graph)) {
    const { node } = value;
    if (node?.op.steps === undefined) throw new NoSteps(node?.op.name ?? value.name);
    const inputs = node.inputs.map((input) => known.get(input)!);
    known.set(value, node.op.steps({ emit, inputs, dims: dimsOf(value.type), attrs: node.attrs }));
  }
  return graph.outputs.map((output) => known.get(output)!);
}
