import { cutBackward } from "../autodiff/cut.js";
import { gradients } from "../autodiff/gradients.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import { inputValue, type Value } from "../graph/value.js";
import { addGradient, int64Tensor, runBound } from "./graph-runner.js";
import type { Parameter } from "./parameter.js";
import { uniform } from "./pass-tensors.js";
import type { Runner } from "./runner.js";
import type { BoundGraph, Source } from "./token-program.js";
import { type Products, Trace } from "./trace.js";

export interface TaskHeadOptions {
  /** Whether dropout is on. */
  readonly training?: boolean | undefined;
  /** Seed of the dropout masks; forward and backward have to be given the same. */
  readonly seed?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Program {
  readonly forward: BoundGraph;
  readonly width: number;
  /** Outputs: the gradient of the hidden rows where asked for, then those of `parameters`. */
  readonly backward: BoundGraph | undefined;
  readonly parameters: readonly Parameter[];
}

const ROWS = "R";
/** Keeps the dropout of heads apart from that of stages. */
const HEAD_KEYS = 0x8000;

/** A zero for each row of scores, as a batch tensor: what stands in where an op wants a label and any will do. */
export const headZeros = (t: Trace): Value => t.batch("zeros", { dtype: "int64", shape: [ROWS] });

/**
 * The head of a task: scores of chosen hidden rows, and the way back from the slope of a loss over them. The loss itself is no
 * part of the graph: scores of classifiers are few. Rows go through it in chunks where what it computes on the way is wide.
 */
export class TaskHead {
  readonly #programs = new Map<string, Program>();

  /**
   * @param score - (R, D) → (R, C).
   * @param inner - the widest of what is computed for a row, where that is wider than C: a vocabulary
   */
  constructor(
    readonly runner: Runner,
    readonly score: (t: Trace, hidden: Value) => Value,
    readonly inner = 0,
  ) {}

  /** Never in 8 bits, for the reason that heads of language models are not. */
  get #products(): Products {
    return { ...this.runner.products, int8: false };
  }

  /** Rows in parts of as many as may be computed at once. */
  *#chunks(rows: Int32Array): Generator<{ readonly start: number; readonly part: Int32Array }> {
    const { inner } = this;
    const most = (): number => Math.max(1, Math.floor(this.runner.memory.scoreBytes / 4 / inner));
    const size = inner === 0 ? rows.length : most();
    for (let start = 0; start < rows.length; start += size)
      yield { start, part: rows.subarray(start, start + size) };
  }

  /** Must be called when adapters come, go, or change what is trained. */
  invalidate(): void {
    this.#programs.clear();
  }

  #program(training: boolean, hiddenGradient: boolean): Program {
    const products = this.#products;
    const key = [training, hiddenGradient, products.packed].join();
    const known = this.#programs.get(key);
    if (known !== undefined) return known;
    const t = new Trace({ training, rows: ROWS, products });
    const { width: D } = this.runner.model.hidden;
    const hidden = inputValue("hidden", { dtype: "float32", shape: ["N", D] });
    const rows = inputValue("rows", { dtype: "int64", shape: [ROWS] });
    const x = t.f.gather(hidden, rows); // (R, D)
    const y = this.score(t, x); // (R, C)
    const dy = inputValue("dScores", y.type);
    const sources = new Map<Value, Source>(t.leaves);
    for (const [value, name] of [
      [hidden, "hidden"],
      [rows, "rows"],
      [dy, "dScores"],
    ] as const) {
      sources.set(value, { kind: "batch", name });
    }
    const trained = [...t.leaves].flatMap(([value, leaf]) =>
      leaf.kind === "parameter" && leaf.parameter.trainable ? [[value, leaf.parameter] as const] : [],
    );
    const wrt = [...(hiddenGradient ? [x] : []), ...trained.map(([value]) => value)];
    const bind = (name: string, outputs: Value[]): BoundGraph => {
      const { leaves } = cutBackward(outputs, new Set(), () => false);
      return { graph: { name, inputs: leaves, outputs }, sources: leaves.map((leaf) => sources.get(leaf)!) };
    };
    const found = wrt.length === 0 ? [] : (gradients(new Map([[y, dy]]), wrt) as Value[]);
    const program = {
      forward: bind("head", [y]),
      width: y.type.shape[1] as number,
      backward: found.length === 0 ? undefined : bind("head_backward", found),
      parameters: trained.map(([, parameter]) => parameter),
    };
    this.#programs.set(key, program);
    return program;
  }

  /** Number of scores of a row. */
  get width(): number {
    return this.#program(false, false).width;
  }

  #resolver(batch: Record<string, HostTensor>, count: number, seed: number): (source: Source) => HostTensor {
    return (source) => {
      if (source.kind === "columnKeys") return uniform([2, source.width], seed, HEAD_KEYS + 1 + source.index);
      const { name } = source as { name: string };
      return name === "rowKeys" ? uniform([count, 2], seed, HEAD_KEYS) : batch[name]!;
    };
  }

  /** Scores (R, C) of hidden rows (N, D). */
  async forward(hidden: HostTensor, rows: Int32Array, options: TaskHeadOptions = {}): Promise<Float32Array> {
    const { training = false, seed = 0 } = options;
    const { forward, width } = this.#program(training, false);
    const scores = new Float32Array(rows.length * width);
    await this.runner.weights.during(forward.sources, async () => {
      for (const { start, part } of this.#chunks(rows)) {
        const resolve = this.#resolver({ hidden, ...rowTensors(part) }, part.length, seed);
        const found = scores.subarray(start * width, (start + part.length) * width);
        const results = [hostTensor("float32", [part.length, width], found)];
        await runBound(this.runner, forward, resolve, results, options);
      }
    });
    return scores;
  }

  /**
   * Adds the gradients of trained head parameters, given the slope of a loss over the scores (R, C); answers that of the hidden
   * states (N, D), from the pool, where asked for.
   */
  async backward(
    hidden: HostTensor,
    rows: Int32Array,
    slope: Float32Array,
    options: TaskHeadOptions & { readonly hiddenGradient: boolean },
  ): Promise<HostTensor | undefined> {
    const { seed = 0, training = false, hiddenGradient } = options;
    const { pool } = this.runner;
    const { backward, width, parameters } = this.#program(training, hiddenGradient);
    if (backward === undefined) return undefined;
    const D = hidden.dims[1]!;
    const dHidden = hiddenGradient ? pool.acquire("float32", hidden.dims) : undefined;
    const all = dHidden?.data as Float32Array | undefined;
    all?.fill(0);
    await this.runner.weights.during(backward.sources, async () => {
      for (const { start, part } of this.#chunks(rows)) {
        const slopes = slope.subarray(start * width, (start + part.length) * width);
        const dScores = hostTensor("float32", [part.length, width], slopes);
        const dRows = pool.acquire("float32", [part.length, D]);
        const trained = parameters.map((parameter) => pool.acquire("float32", parameter.shape));
        const outputs = [...(hiddenGradient ? [dRows] : []), ...trained];
        const resolve = this.#resolver({ hidden, dScores, ...rowTensors(part) }, part.length, seed);
        await runBound(this.runner, backward, resolve, outputs, options);
        for (const [i, parameter] of parameters.entries()) {
          addGradient(parameter, trained[i]!);
          pool.release(trained[i]!);
        }
        const found = dRows.data as Float32Array;
        if (all !== undefined)
          for (const [i, row] of part.entries()) all.set(found.subarray(i * D, (i + 1) * D), row * D);
        pool.release(dRows);
      }
    });
    return dHidden;
  }
}

/** What a graph is told of the rows that it scores. */
const rowTensors = (rows: Int32Array): Record<string, HostTensor> => ({
  rows: int64Tensor(rows),
  zeros: int64Tensor(new Int32Array(rows.length)),
});
