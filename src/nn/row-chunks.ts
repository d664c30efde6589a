import { addTo, type HostTensor } from "../base/host-tensor.js";
import { type BufferPool, rowsOf } from "./buffer-pool.js";
import { boundInputs, compileBound, type Machine, type Resolve } from "./graph-runner.js";
import { type RowGraph, rowGraph } from "./row-independence.js";
import type { RunOptions } from "../runtime/engine.js";
import type { BoundGraph } from "./token-program.js";

/** When the tokens of a stage are run in chunks. */
export interface ChunkSizes {
  /** Bytes of a stage's widest value that are left whole: the caches of a processor hold some of these. */
  readonly whole: number;
  /** Bytes of it in a chunk, where there are more. */
  readonly chunk: number;
  /** The fewest tokens of a chunk: each lays the weights out anew. */
  readonly tokens: number;
  /** The share of a stage's work beside its tokens that may be done anew for each: what methods make of weights is dear. */
  readonly repeated: number;
}

export const CHUNK_SIZES: ChunkSizes = {
  whole: 8 * 2 ** 20,
  chunk: 3 * 2 ** 20,
  tokens: 512,
  repeated: 0.05,
};

/** First and last token, exclusive, of each chunk. */
type Chunks = readonly (readonly [start: number, end: number])[];

/** The most tokens that are run whole, and of a chunk where there are more. */
function limitsOf(
  { widest, perToken, perRun }: RowGraph,
  sizes: ChunkSizes,
): Record<"whole" | "chunk", number> {
  const tokens = (bytes: number): number => Math.floor(bytes / (4 * widest));
  const chunk = Math.max(sizes.tokens, tokens(sizes.chunk));
  const pays = perRun <= sizes.repeated * perToken * chunk;
  return { whole: pays ? Math.max(chunk, tokens(sizes.whole)) : Infinity, chunk };
}

/** Chunks of about the same size. */
function chunksOf(rows: RowGraph | undefined, count: number, sizes: ChunkSizes): Chunks {
  const { whole, chunk } = rows === undefined ? { whole: count, chunk: count } : limitsOf(rows, sizes);
  if (count <= whole) return [[0, count]];
  const size = Math.ceil(count / Math.ceil(count / chunk));
  return Array.from({ length: Math.ceil(count / size) }, (_, i) => [
    i * size,
    Math.min(count, (i + 1) * size),
  ]);
}

/** The most tokens of a graph that are ever run at once. */
export function mostTokens({ graph }: BoundGraph, sizes: ChunkSizes): number {
  const rows = rowGraph(graph);
  return rows === undefined ? Infinity : limitsOf(rows, sizes).whole;
}

/**
 * Runs a graph over `count` tokens, chunk after chunk where its rows do not depend on each other, so that what lies between its products
 * stays in the caches. Outputs that are sums over the tokens are added up.
 */
export async function runTokens(
  machine: Machine & { readonly pool: BufferPool; readonly chunks: ChunkSizes },
  bound: BoundGraph,
  given: {
    readonly resolve: Resolve;
    readonly outputs: readonly HostTensor[];
    readonly count: number;
    readonly forward: boolean;
  },
  options: RunOptions,
  meanwhile?: () => void,
): Promise<void> {
  const { sessions, weights, pool, chunks: sizes } = machine;
  const { outputs, count } = given;
  const found = rowGraph(bound.graph);
  // A sum that a forward pass keeps may be squared or divided by later, so its parts are not added up.
  const rows = given.forward && found?.outputs.includes(false) === true ? undefined : found;
  const chunks = chunksOf(rows, count, sizes);
  const session = await compileBound(sessions, bound);
  // Chunks share what has to be decoded.
  await weights.during(bound.sources, async () => {
    const inputs = boundInputs(machine, bound, given.resolve);
    const cut = chunks.length === 1 ? undefined : rows;
    const parts = outputs.map((sum, at) =>
      cut?.outputs[at] === false ? pool.acquire(sum.dtype, sum.dims) : undefined,
    );
    try {
      for (const [i, [start, end]] of chunks.entries()) {
        const part = (tensor: HostTensor, isRows: boolean | undefined): HostTensor =>
          isRows === true ? rowsOf(tensor, start, end) : tensor;
        const into = i === 0 ? outputs : outputs.map((sum, at) => parts[at] ?? sum);
        const work = session.run(
          inputs.map(({ tensor, at }) => part(tensor, cut?.inputs[at])),
          into.map((tensor, at) => part(tensor, cut?.outputs[at])),
          options,
        );
        if (i === 0) meanwhile?.();
        await work;
        if (i > 0)
          for (const [at, more] of parts.entries())
            if (more !== undefined) addTo(outputs[at]!.data, more.data);
      }
    } finally {
      for (const more of parts) if (more !== undefined) pool.release(more);
    }
  });
}
