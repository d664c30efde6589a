import { formatShape } from "../base/tensor-type.js";
import { type Graph, topologicalOrder, type Value } from "./value.js";

/**
 * A graph as text, a line a value.
 *
 * @example
 * printGraph({ name: "double", inputs: [x], outputs: [f.add(x, x)] });
 */
export function printGraph(graph: Graph): string {
  const names = new Map<Value, string>();
  const show = (value: Value): string => {
    if (!names.has(value)) names.set(value, value.node === undefined ? value.name : `%${names.size}`);
    return names.get(value)!;
  };
  const typed = (value: Value): string =>
    `${show(value)}: ${value.type.dtype} ${formatShape(value.type.shape)}`;
  const lines = [`${graph.name}(${graph.inputs.map(typed).join(", ")})`];
  for (const value of topologicalOrder(graph)) {
    const node = value.node;
    if (node === undefined) {
      lines.push(`  ${typed(value)} = ?`);
      continue;
    }
    const attrs = Object.keys(node.attrs).length === 0 ? "" : ` ${JSON.stringify(node.attrs)}`;
    lines.push(`  ${typed(value)} = ${node.op.name}(${node.inputs.map(show).join(", ")})${attrs}`);
  }
  lines.push(`  return ${graph.outputs.map(show).join(", ")}`);
  return lines.join("\n");
}
