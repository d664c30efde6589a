import { InternalError } from "../base/errors.js";
import type { HostTensor } from "../base/host-tensor.js";
import type { DType, TensorType } from "../base/tensor-type.js";
import { type Graph, topologicalOrder, type Value } from "../graph/value.js";
import type { EngineCapabilities } from "../runtime/engine.js";
import type { EmitOptions, Emitter } from "./emitter.js";
import { findSplits, type Split } from "./find-splits.js";
import { findProductSums } from "./fuse-products.js";
import { encodeModel, type OnnxConstant, type OnnxNode } from "./model.js";

/** Collects the nodes of one graph. */
class ModelEmitter implements Emitter {
  readonly nodes: OnnxNode[] = [];
  readonly constants: OnnxConstant[] = [];
  readonly #constantNames = new Map<string, string>();
  readonly #more = new Map<string, readonly string[]>();
  scope = "";

  constructor(readonly capabilities: EngineCapabilities) {}

  node(opType: string, inputs: readonly string[], options: EmitOptions = {}): string {
    const name = `${this.scope}/${opType}_${this.nodes.length}`;
    const outputs = Array.from({ length: options.outputs ?? 1 }, (_, i) => (i === 0 ? name : `${name}_${i}`));
    const { domain = "", attributes = {} } = options;
    this.nodes.push({ opType, name, domain, inputs, outputs, attributes });
    return name;
  }

  constant(dtype: DType, dims: readonly number[], values: readonly number[]): string {
    const key = `${dtype}[${dims.join()}]${values.join()}`;
    const known = this.#constantNames.get(key);
    if (known !== undefined) return known;
    const name = `constant_${this.constants.length}`;
    this.#constantNames.set(key, name);
    this.constants.push({ name, dtype, dims, values });
    return name;
  }

  /** Takes down what is computed beside the first of some results, and returns that one. */
  results([first, ...more]: readonly string[]): string {
    this.#more.set(first!, more);
    return first!;
  }

  besides(result: string): readonly string[] {
    return this.#more.get(result) ?? [];
  }
}

/**
 * A graph as an ONNX model. Inputs are called i0, i1 … and outputs o0, o1 … in the graph's order, so that graphs of the
 * same structure give the same bytes. Inputs with a value among `constants` become part of the model.
 */
export function lowerGraph(
  graph: Graph,
  capabilities: EngineCapabilities,
  constants: ReadonlyMap<Value, HostTensor> = new Map(),
): Uint8Array {
  const emitter = new ModelEmitter(capabilities);
  const names = new Map<Value, string>();
  const tensors: [name: string, tensor: HostTensor][] = [];
  const inputs = graph.inputs.flatMap((value, i) => {
    names.set(value, `i${i}`);
    const tensor = constants.get(value);
    if (tensor === undefined) return [[`i${i}`, value.type] as const];
    tensors.push([`i${i}`, tensor]);
    return [];
  });
  const nameOf = (value: Value): string => {
    const name = names.get(value);
    if (name === undefined)
      throw new InternalError(`${graph.name} uses ${value.name}, which nothing computes.`);
    return name;
  };
  const { sums, products } = findProductSums(graph);
  const splits = findSplits(graph);
  for (const value of topologicalOrder(graph)) {
    if (products.has(value)) continue;
    const node = value.node;
    if (node === undefined)
      throw new InternalError(`${graph.name} reads ${value.name}, which is not among its inputs.`);
    emitter.scope = node.scope;
    const sum = sums.get(value);
    if (sum !== undefined) {
      const { transposeA = false, transposeB = false, alpha = 1 } = sum.attrs;
      const attributes = { transA: Number(transposeA), transB: Number(transposeB), alpha: { float: alpha } };
      names.set(value, emitter.node("Gemm", [sum.a, sum.b, sum.c].map(nameOf), { attributes }));
      continue;
    }
    const split = splits.get(value);
    if (split !== undefined) {
      if (!names.has(value)) emitSplit(emitter, nameOf(node.inputs[0]!), split, names);
      continue;
    }
    const types = node.inputs.map((input) => input.type);
    const lowered = node.op.lower({
      emit: emitter,
      inputs: node.inputs.map(nameOf),
      types,
      attrs: node.attrs,
      type: value.type,
    });
    names.set(value, typeof lowered === "string" ? lowered : emitter.results(lowered));
  }
  const nodes = nameOutputs(emitter.nodes, graph.outputs.map(nameOf), new Set(inputs.map(([name]) => name)));
  const outputs = graph.outputs.map((value, i): readonly [string, TensorType] => [`o${i}`, value.type]);
  return encodeModel({
    name: graph.name,
    nodes,
    constants: emitter.constants,
    tensors,
    inputs,
    outputs,
  });
}

/** Emits the node of all slices of a value. */
function emitSplit(
  emitter: ModelEmitter,
  input: string,
  { axis, parts, sizes }: Split,
  names: Map<Value, string>,
): void {
  const first = emitter.node("Split", [input, emitter.constant("int64", [sizes.length], sizes)], {
    attributes: { axis },
    outputs: sizes.length,
  });
  for (const [i, part] of parts.entries()) names.set(part, i === 0 ? first : `${first}_${i}`);
}

/** Gives the results their names o0, o1 …; a copy is made only of inputs, constants and what is asked for twice. */
function nameOutputs(
  nodes: readonly OnnxNode[],
  results: readonly string[],
  inputs: ReadonlySet<string>,
): OnnxNode[] {
  const renamed = new Map<string, string>();
  const copies: OnnxNode[] = [];
  const computed = new Set(nodes.flatMap((node) => node.outputs));
  for (const [i, result] of results.entries()) {
    const name = `o${i}`;
    if (computed.has(result) && !inputs.has(result) && !renamed.has(result)) {
      renamed.set(result, name);
    } else {
      const source = renamed.get(result) ?? result;
      copies.push({
        opType: "Identity",
        name,
        domain: "",
        inputs: [source],
        outputs: [name],
        attributes: {},
      });
    }
  }
  const rename = (name: string): string => renamed.get(name) ?? name;
  const named = nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map(rename),
    outputs: node.outputs.map(rename),
  }));
  return [...named, ...copies];
}
