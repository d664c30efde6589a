import { InternalError } from "../base/errors.js";
import { type HostTensor, tensorBytes } from "../base/host-tensor.js";
import { BYTES_PER_ELEMENT } from "../base/tensor-type.js";
import type { Value } from "../graph/value.js";
import type { Cells } from "../steps/cells.js";
import { emitGraph } from "../steps/emit-graph.js";
import { NoSteps, StepEmitter } from "../steps/emitter.js";
import { StepProgram } from "../steps/program.js";
import type { CachedSegment } from "./cached-program.js";
import { matmulFlops, noteSizes, type Sizes } from "./flops.js";
import { resolveDims, symbolSizes } from "./graph-runner.js";
import type { Runner } from "./runner.js";
import { halfWeight, type OpenMachine } from "./step-machine.js";
import { ROWS, TOKENS } from "./trace.js";
import type { BoundGraph, Source } from "./token-program.js";

/** Bytes of tensors beside the weights in blocks, such as adapters, that are copied to where the steps run. */
const MOST_COPIED = 64 * 2 ** 20;

/** Bytes up to which a tensor of the batch is copied for every token, without looking whether it is another. */
const SMALL = 4096;

/** What the graph reads that every token brings. */
interface Fresh {
  readonly source: Extract<Source, { kind: "batch" | "rows" }>;
  readonly cells: Cells;
  last?: HostTensor;
}

const bytesOf = ({ dims, dtype }: Cells): number =>
  dims.reduce((a, b) => a * b, 1) * BYTES_PER_ELEMENT[dtype];

/** A new token for each of some rows, by small steps over weights in blocks. Made for one number of rows and one size of the cache. */
export class StepRun {
  readonly #program: StepProgram;
  readonly #scores: Cells;
  readonly #fresh: readonly Fresh[];
  /** Bytes that every token reads. */
  readonly #bytes: number;

  private constructor(
    readonly runner: Runner,
    readonly machine: OpenMachine,
    readonly segment: CachedSegment,
    readonly sizes: Sizes,
    emit: StepEmitter,
    { fresh, scores, bytes }: { fresh: readonly Fresh[]; scores: Cells; bytes: number },
  ) {
    this.#program = new StepProgram(emit);
    this.#fresh = fresh;
    this.#scores = scores;
    this.#bytes = bytes;
  }

  /**
   * Steps for a token in each row of a cache; undefined where something in the graph has none.
   *
   * @param tensors - of the batch and the cache
   * @param cache - keys and values, layer by layer; steps run over them only in the memory of the machine
   */
  static async make(
    runner: Runner,
    segment: CachedSegment,
    tensors: Readonly<Record<string, HostTensor>>,
    cache: readonly HostTensor[],
  ): Promise<StepRun | undefined> {
    const machine = runner.steps.open();
    if (machine === undefined) return undefined;
    const { arena, crew } = machine;
    // What is written into a copy would be missing where the runtime reads.
    if (cache.some(({ data }) => arena.addressOf(data) === undefined)) return undefined;
    const rows = cache[0]!.dims[0]!;
    const emit = new StepEmitter(arena, crew.threads);
    try {
      await runner.steps.load(segment.bound.sources);
      const sizes = sizesOf(segment.bound, tensors, rows);
      const { cells, fresh } = bindInputs(runner, segment.bound, tensors, emit, rows);
      const { graph } = segment.bound;
      const [scores] = emitGraph(emit, { ...graph, outputs: graph.outputs.slice(0, 1) }, cells, (type) =>
        resolveDims(type, sizes),
      );
      const bytes = [...cells.values()].reduce((sum, one) => sum + bytesOf(one), 0);
      return new StepRun(runner, machine, segment, sizes, emit, { fresh, scores: scores!, bytes });
    } catch (error) {
      for (const piece of emit.pieces) arena.free(piece);
      if (error instanceof NoSteps) return undefined;
      throw error;
    }
  }

  /** Whether these tensors of a batch have the sizes that the steps were made for. */
  fits(tensors: Readonly<Record<string, HostTensor>>): boolean {
    return this.#fresh.every(
      ({ source, cells }) =>
        source.kind === "rows" || String(tensors[source.name]!.dims) === String(cells.dims),
    );
  }

  /** Scores (rows, V) after the new tokens, which go into the cache. */
  async scores(
    tokens: Int32Array,
    tensors: Readonly<Record<string, HostTensor>>,
    out: Float32Array,
  ): Promise<void> {
    const { arena, crew } = this.machine;
    const { profiler } = this.runner.sessions;
    const start = performance.now();
    for (const fresh of this.#fresh) {
      const { source, cells } = fresh;
      if (source.kind === "rows") {
        const rows = source.parameter.blocks!.rows(tokens);
        arena.floats(cells.address, rows.length).set(rows);
      } else {
        const tensor = tensors[source.name]!;
        if (fresh.last === tensor && tensor.data.byteLength > SMALL) continue;
        arena.bytesAt(cells.address, tensor.data.byteLength).set(tensorBytes(tensor));
        fresh.last = tensor;
      }
    }
    this.#program.runs += 1;
    await crew.run(this.#program.address, this.#program.runs);
    out.set(arena.floats(this.#scores.address, out.length));
    const { graph } = this.segment.bound;
    profiler?.record(`${graph.name} (steps)`, start, matmulFlops(graph)(this.sizes), this.#bytes);
  }

  /** Gives its memory back, once no thread is in its program. */
  async release(): Promise<void> {
    await this.machine.crew.idle();
    this.#program.release();
  }
}

/** The named sizes of a graph for one new token a row. */
function sizesOf(
  bound: BoundGraph,
  tensors: Readonly<Record<string, HostTensor>>,
  rows: number,
): Map<string, number> {
  const sizes = symbolSizes(bound);
  sizes.set(TOKENS, rows).set(ROWS, rows);
  for (const [i, source] of bound.sources.entries()) {
    if (source.kind === "batch") noteSizes(sizes, bound.graph.inputs[i]!.type, tensors[source.name]!.dims);
  }
  return sizes;
}

/** Where the inputs of a graph are, and which of them every token brings. */
function bindInputs(
  runner: Runner,
  { graph, sources }: BoundGraph,
  tensors: Readonly<Record<string, HostTensor>>,
  emit: StepEmitter,
  rows: number,
): { readonly cells: ReadonlyMap<Value, Cells>; readonly fresh: readonly Fresh[] } {
  const { arena } = emit;
  const cells = new Map<Value, Cells>();
  const fresh: Fresh[] = [];
  let left = MOST_COPIED;
  const bind = (source: Source): Cells => {
    if (source.kind === "packed") return runner.steps.weights(source);
    const half = halfWeight(source);
    if (half !== undefined) return runner.steps.half(half);
    if (source.kind === "parameter") {
      const { parameter } = source;
      left -= parameter.size * BYTES_PER_ELEMENT.float32;
      if (left < 0) throw new NoSteps("too much to copy");
      const own = emit.cells(parameter.shape);
      arena.floats(own.address, parameter.size).set(parameter.data);
      return own;
    }
    if (source.kind === "batch") {
      const tensor = tensors[source.name];
      if (tensor === undefined) throw new InternalError(`The model gives no ${source.name}.`);
      const { dtype, dims } = tensor;
      const address = arena.addressOf(tensor.data);
      if (address !== undefined) return { address, origin: address, dims, dtype, stride: dims.at(-1)! };
      const own = emit.cells(dims, dtype);
      fresh.push({ source, cells: own });
      return own;
    }
    if (source.kind === "rows") {
      const own = emit.cells([rows, source.parameter.shape[1]!]);
      fresh.push({ source, cells: own });
      return own;
    }
    throw new NoSteps(source.kind);
  };
  for (const [i, source] of sources.entries()) cells.set(graph.inputs[i]!, bind(source));
  return { cells, fresh };
}
