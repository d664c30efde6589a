import { InternalError } from "../base/errors.js";
import { type HostTensor, hostTensor, zeros } from "../base/host-tensor.js";
import type { RunOptions } from "../runtime/engine.js";
import { cachedNames, type CachedLayer, type CachedProgram, type CachedSegment } from "./cached-program.js";
import { int64Tensor, type Resolve, runBound } from "./graph-runner.js";
import { type CacheMemory, HeadCache } from "./head-cache.js";
import { passTensors } from "./pass-tensors.js";
import type { Arithmetic, Runner } from "./runner.js";
import type { TokenBatch } from "./stage.js";
import { StepRun } from "./step-run.js";
import { makeRoom, tokensOf, type VirtualBatch, virtualTokensOf } from "./virtual-tokens.js";

/** Tokens of a prompt that are run at once: as fast as all of them, with activations that do not grow. */
const CHUNK = 256;

/** Rows up to which a token each is faster by steps, whose time grows with the rows, than by the runtime in either arithmetic. */
const MOST_STEP_ROWS: Readonly<Record<Arithmetic, number>> = { float32: 8, int8: 2 };

/** New tokens of some rows, as one graph takes them: one token a row, or one row. */
interface Step {
  readonly virtual: VirtualBatch;
  /** New tokens of each row. */
  readonly tokens: number;
  /** Tokens that stand before them, row by row. */
  readonly past: readonly number[];
  readonly cache: readonly HostTensor[];
}

/** Rows that one graph continues, prompt by prompt and then token by token, with all that came before in a cache. */
export class CachedRun {
  readonly cache: HeadCache;
  /** The steps that run now, with the graph and the cache that they were made for; without steps where there can be none. */
  #steps:
    | { readonly segment: CachedSegment; readonly cache: HostTensor; readonly run: StepRun | undefined }
    | undefined;

  constructor(
    readonly runner: Runner,
    program: CachedProgram,
    rows: number,
    /** The same model as one graph that steps can be made of. */
    readonly segment: () => CachedSegment | undefined = () => undefined,
  ) {
    this.cache = new HeadCache(program.layers, rows, this.#memory());
  }

  /** The cache is where steps can be run over it, if there are such. */
  #memory(): CacheMemory | undefined {
    const machine = this.segment() === undefined ? undefined : this.runner.steps.open();
    if (machine === undefined) return undefined;
    const { arena } = machine;
    return {
      allocate(count) {
        const address = arena.allocate(count * Float32Array.BYTES_PER_ELEMENT);
        return address === undefined ? new Float32Array(count) : arena.floats(address, count);
      },
      free(array) {
        const address = arena.addressOf(array);
        if (address !== undefined) arena.free(address);
      },
    };
  }

  /** An array a token would have the garbage collector look at everything after some fifty of them. */
  #scoresOf(rows: number, vocabularySize: number): HostTensor {
    if (this.#scores?.dims[0] !== rows) this.#scores = zeros("float32", [rows, vocabularySize]);
    return this.#scores;
  }
  #scores: HostTensor | undefined;

  /** Scores after the new tokens of each row, (rows, V), which the next call writes over; the tokens go into the cache. */
  async scores(
    program: CachedProgram,
    batch: TokenBatch,
    vocabularySize: number,
    options: RunOptions,
  ): Promise<Float32Array> {
    const { cache, runner } = this;
    const virtual = makeRoom(batch, virtualTokensOf(runner.model), { cached: !cache.empty });
    if (cache.empty && program.virtual !== undefined) await this.#begin(program, options);
    const { rowOffsets } = virtual.batch;
    const counts = cache.lengths.map((_, row) => rowOffsets[row + 1]! - rowOffsets[row]!);
    cache.reserve(cache.lengths.reduce((most, length, row) => Math.max(most, length + counts[row]!), 0));
    const scores = this.#scoresOf(counts.length, vocabularySize);
    const { layers } = program;
    const run = (step: Step, out: HostTensor, tensors = this.#tensors(layers, step)): Promise<void> =>
      runner.during(() => this.#run(program, step, tensors, out, options));
    if (counts.every((count) => count === 1)) {
      const step = { virtual, tokens: 1, past: cache.lengths, cache: cache.all };
      const tensors = this.#tensors(layers, step);
      if (!(await this.#inSteps(step, tensors, scores.data as Float32Array)))
        await run(step, scores, tensors);
      for (const row of counts.keys()) cache.lengths[row]! += 1;
      return scores.data as Float32Array;
    }
    for (const [row, count] of counts.entries()) {
      const part = scores.data.subarray(row * vocabularySize, (row + 1) * vocabularySize) as Float32Array;
      const out = hostTensor("float32", [1, vocabularySize], part);
      const start = rowOffsets[row]!;
      for (let from = 0; from < count; from += CHUNK) {
        options.signal?.throwIfAborted();
        const tokens = Math.min(CHUNK, count - from);
        const chunk = tokensOf(virtual, start + from, start + from + tokens);
        await run({ virtual: chunk, tokens, past: [cache.lengths[row]!], cache: cache.row(row) }, out);
        cache.lengths[row]! += tokens;
      }
    }
    return scores.data as Float32Array;
  }

  /** Forgets rows that are finished; the remaining ones are numbered anew in the given, ascending order. */
  keepRows(rows: readonly number[]): void {
    this.cache.keepRows(rows);
  }

  /** Virtual keys and values come before the tokens of every row. */
  async #begin({ virtual, layers }: CachedProgram, options: RunOptions): Promise<void> {
    const { count } = virtualTokensOf(this.runner.model)!;
    const results = layers.flatMap(({ keyValueHeads, headDim }) =>
      [0, 1].map(() => zeros("float32", [count, keyValueHeads * headDim])),
    );
    const resolve: Resolve = (source) => {
      throw new InternalError(`Virtual keys and values cannot be made of a ${source.kind}.`);
    };
    await this.runner.during(() => runBound(this.runner, virtual!, resolve, results, options));
    this.cache.begin(results);
  }

  /** Scores of a token a row by small steps; false where the runtime has to compute them. */
  async #inSteps(
    step: Step,
    tensors: Readonly<Record<string, HostTensor>>,
    scores: Float32Array,
  ): Promise<boolean> {
    const { runner } = this;
    const rows = step.past.length;
    const segment =
      rows <= MOST_STEP_ROWS[runner.options.arithmetic ?? "float32"] ? this.segment() : undefined;
    if (segment === undefined) return false;
    return runner.during(async () => {
      const [first] = step.cache as [HostTensor];
      const made = this.#steps;
      const stale = made?.segment !== segment || made.cache !== first || made.run?.fits(tensors) === false;
      if (stale) {
        await made?.run?.release();
        this.#steps = {
          segment,
          cache: first,
          run: await StepRun.make(runner, segment, tensors, step.cache),
        };
      }
      await this.#steps!.run?.scores(step.virtual.batch.tokens, tensors, scores);
      return this.#steps!.run !== undefined;
    });
  }

  /** Must be called when nothing more is generated: the memory of the steps is for others then. */
  async release(): Promise<void> {
    const made = this.#steps;
    this.#steps = undefined;
    await made?.run?.release();
    this.cache.release();
  }

  /** What graphs read beside the tensors of the model. */
  #tensors(layers: readonly CachedLayer[], step: Step): Record<string, HostTensor> {
    const { virtual, tokens, past, cache } = step;
    const rows = past.length;
    const ends = past.map((length) => length + tokens);
    const own: Record<string, HostTensor> = {
      [cachedNames.last]: hostTensor(
        "int32",
        [rows],
        Int32Array.from(ends, (end) => end - 1),
      ),
      [cachedNames.total]: hostTensor("int32", [1], Int32Array.of(Math.max(...ends))),
      [cachedNames.layout]: int64Tensor(Int32Array.of(rows, tokens, -1)),
      [cachedNames.rows]: int64Tensor(Int32Array.from(ends, (_, row) => (row + 1) * tokens - 1)),
    };
    for (const [i, { layer }] of layers.entries()) {
      own[cachedNames.keys(layer)] = cache[2 * i]!;
      own[cachedNames.values(layer)] = cache[2 * i + 1]!;
    }
    return { ...passTensors(this.runner.model, virtual, {}).batch, ...own };
  }

  async #run(
    { segments }: CachedProgram,
    step: Step,
    tensors: Readonly<Record<string, HostTensor>>,
    scores: HostTensor,
    options: RunOptions,
  ): Promise<void> {
    const { virtual } = step;
    const count = virtual.batch.tokens.length;
    let streams = new Map<string, HostTensor>();
    const resolve: Resolve = (source) => {
      if (source.kind === "rows") {
        const { tokens: ids } = virtual.batch;
        const data = source.parameter.blocks!.rows(ids);
        return hostTensor("float32", [ids.length, source.parameter.shape[1]!], data);
      }
      if (source.kind === "stream") return streams.get(source.stream)!;
      const tensor = source.kind === "batch" ? tensors[source.name] : undefined;
      if (tensor === undefined) throw new InternalError(`The model gives no ${JSON.stringify(source)}.`);
      return tensor;
    };
    const { pool } = this.runner;
    const held: HostTensor[] = [];
    const release = (count: number): void => {
      for (const tensor of held.splice(0, count)) pool.release(tensor);
    };
    const make = (width: number): HostTensor => {
      const tensor = pool.acquire("float32", [count, width]);
      held.push(tensor);
      return tensor;
    };
    try {
      for (const segment of segments) {
        const before = held.length;
        const written = new Map(
          segment.writes.map(([name, width]) => [name, segment === segments.at(-1) ? scores : make(width)]),
        );
        // What the graph gives as the cache with the new tokens is the cache, which they are written into.
        const results = [
          ...written.values(),
          ...segment.layers.flatMap(({ layer }) => [
            tensors[cachedNames.keys(layer)]!,
            tensors[cachedNames.values(layer)]!,
          ]),
        ];
        await runBound(this.runner, segment.bound, resolve, results, options);
        release(before);
        streams = written;
      }
    } finally {
      release(held.length);
    }
  }
}
