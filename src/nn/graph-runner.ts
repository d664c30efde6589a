import { InternalError } from "../base/errors.js";
import { byteParts } from "../base/byte-matrix.js";
import { packedParts } from "../base/packed-matrix.js";
import type { Dim, TensorType } from "../base/tensor-type.js";
import type { RunOptions } from "../runtime/engine.js";
import { addTo, type HostTensor, hostTensor, joinedRows } from "../base/host-tensor.js";
import { noteSizes } from "./flops.js";
import type { LentWeights } from "./lent-weights.js";
import type { Parameter } from "./parameter.js";
import type { GraphConstants, SessionCache } from "./session-cache.js";
import type { BoundGraph, Source } from "./token-program.js";

/** Finds the tensor of a source that is not a parameter. */
export type Resolve = (source: Exclude<Source, { kind: "parameter" | "packed" | "int8" }>) => HostTensor;

/** Numbers of the named sizes that the parameters of a graph bring, such as ranks. */
export function symbolSizes(bound: BoundGraph): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const source of bound.sources) {
    if (source.kind === "parameter") noteSizes(sizes, source.parameter.type, source.parameter.shape);
  }
  return sizes;
}

/** The sizes a type has in this run. */
export function resolveDims(type: TensorType, sizes: ReadonlyMap<string, number>): number[] {
  return type.shape.map((dim: Dim) => {
    if (typeof dim === "number") return dim;
    const size = dim
      .split("·")
      .map((part) => sizes.get(part) ?? Number(part))
      .reduce((a, b) => a * b);
    if (Number.isNaN(size)) throw new InternalError(`The size ${dim} is not known when the graph runs.`);
    return size;
  });
}

/** The tensor of a source; undefined where it is part of the compiled graph. */
function inputOf(source: Source, weights: LentWeights, resolve: Resolve): HostTensor | undefined {
  if (source.kind === "packed") return undefined;
  if (source.kind === "int8") return weights.int8.tensor(source.parameter, source.part);
  return source.kind === "parameter" ? weights.tensor(source.parameter) : resolve(source);
}

/** What graphs are run with. */
export interface Machine {
  readonly sessions: SessionCache;
  readonly weights: LentWeights;
}

/** The tensors that the session of a bound graph takes, each with its place among the inputs of the graph. */
export const boundInputs = (
  { weights }: Pick<Machine, "weights">,
  { sources }: BoundGraph,
  resolve: Resolve,
): { readonly tensor: HostTensor; readonly at: number }[] =>
  sources.flatMap((source, at) => {
    const tensor = inputOf(source, weights, resolve);
    return tensor === undefined ? [] : { tensor, at };
  });

/** Compiles a bound graph at its first use and runs it. */
export async function runBound(
  { sessions, weights }: Machine,
  bound: BoundGraph,
  resolve: Resolve,
  outputs: readonly HostTensor[],
  options: RunOptions,
): Promise<void> {
  const session = await compileBound(sessions, bound);
  await weights.during(bound.sources, async () => {
    const inputs = boundInputs({ weights }, bound, resolve).map(({ tensor }) => tensor);
    await session.run(inputs, outputs, options);
  });
}

const compiled = new WeakMap<BoundGraph, Map<SessionCache, ReturnType<SessionCache["compile"]>>>();

/** The session of a bound graph; lowering happens once for each graph and cache. */
export function compileBound(sessions: SessionCache, bound: BoundGraph): ReturnType<SessionCache["compile"]> {
  const known = compiled.get(bound) ?? new Map<SessionCache, ReturnType<SessionCache["compile"]>>();
  compiled.set(bound, known);
  const session =
    known.get(sessions) ??
    sessions.compile(bound.graph, { constants: constantsOf(bound), spins: bound.spins });
  known.set(sessions, session);
  return session;
}

/** The constants of a graph: tensors of matrices in blocks. */
function constantsOf({ graph, sources }: BoundGraph): GraphConstants | undefined {
  const packed = sources.flatMap((source, i) =>
    source.kind === "packed" ? [{ value: graph.inputs[i]!, ...source }] : [],
  );
  if (packed.length === 0) return undefined;
  const owners = [...new Set(packed.flatMap(({ parameters }) => parameters))];
  return {
    owners,
    read() {
      const inBytes = new Set(
        packed.flatMap(({ part, parameters }) => (part.startsWith("byte ") ? parameters : [])),
      );
      const parts = new Map(
        owners.map((one) => [
          one,
          inBytes.has(one) ? byteParts(one.blocks!.readBytes()) : packedParts(one.blocks!.read()),
        ]),
      );
      return new Map(
        packed.map(({ value, parameters, part }) => [
          value,
          joinedRows(parameters.map((one) => parts.get(one)!.get(part)!)),
        ]),
      );
    },
  };
}

/** Adds a gradient to what a parameter has. */
export function addGradient(parameter: Parameter, gradient: HostTensor): void {
  const values = gradient.data as Float32Array;
  if (parameter.grad === undefined) {
    const { spareGrad = new Float32Array(values.length) } = parameter;
    spareGrad.set(values);
    parameter.grad = spareGrad;
    parameter.spareGrad = undefined;
    return;
  }
  addTo(parameter.grad, values);
}

/** A column of int64 from int32. */
export function int64Tensor(values: Int32Array): HostTensor {
  const wide = new BigInt64Array(values.length);
  const words = new Int32Array(wide.buffer);
  for (let i = 0; i < values.length; i += 1) {
    words[2 * i] = values[i]!;
    words[2 * i + 1] = values[i]! >> 31;
  }
  return hostTensor("int64", [values.length], wide);
}
