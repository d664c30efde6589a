import { type DType, BYTES_PER_ELEMENT } from "../base/tensor-type.js";
import type { Arena } from "./arena.js";
import { type Cells, isDense, isHalf, rowsOf, widthOf } from "./cells.js";
import { type KernelName, KERNELS } from "./kernels.js";

/** A number of a step that the kernel reads as float32. */
export interface Real {
  readonly real: number;
}

/** What a step is given beside its kernel. */
export interface StepOptions {
  readonly reads: readonly Cells[];
  readonly writes: readonly Cells[];
  readonly words: readonly (number | Real)[];
  /** Parts that threads can take. @defaultValue 1 */
  readonly units?: number;
  /** Multiplications, or as much work, of one of them. @defaultValue 0 */
  readonly cost?: number;
}

/** One kernel with all it needs, as words of 32 bits. */
export type Step = Int32Array;

/** Steps that need nothing from each other but in their order. */
export interface Phase {
  /** Steps that one thread does one after another. */
  readonly together: Step[];
  /** Steps that threads share. */
  readonly apart: Step[];
}

/** Numbers of a row that are rounded together, and what was made of them. */
export interface Rounded {
  readonly codes: Cells;
  readonly scales: Cells;
  /** Minus the centre of codes times the sum of these. */
  readonly starts: Cells;
  /** Sums of the numbers. */
  readonly totals: Cells;
}

/** Words of a step; the first four are its kernel, its units, how many of them are a share, and how many shares were taken. */
export const STEP_WORDS = 32;
const FIRST_ARGUMENT = 4;

/** Bytes that values of a program are cut from. */
const PIECE = 2 ** 20;

/** Bytes that every value begins at a multiple of: a line of the cache, so that no two threads write to one. */
const LINE = 64;

/** Work that is not worth dividing: threads wait for each other about as long. */
const LEAST_WORK = 12_288;

/** Why a graph cannot be run in steps: something in it has none, or there is no memory. */
export class NoSteps extends Error {}

const bitsOf = (value: number | Real): number =>
  typeof value === "number" ? value : new Int32Array(Float32Array.of(value.real).buffer)[0]!;

/** The largest share of a thread, so that the others do not wait long for the last one. */
const MOST_WORK = 131_072;

/** Kernels that read weights of 16 bits. */
const READ_HALVES: ReadonlySet<KernelName> = new Set(["denseHalf", "gatherHalf"]);

/** Steps under construction, in the order in which they run, and the memory of what they compute. */
export class StepEmitter {
  readonly phases: Phase[] = [{ together: [], apart: [] }];
  /** Pieces of memory that belong to the program; values share them. */
  readonly pieces: number[] = [];
  #free = { address: 0, bytes: 0 };
  /** Rows that were rounded before, by what they were rounded to. */
  readonly rounded = new Map<Cells, Map<string, Rounded>>();
  /** Values written in the last phase: by one thread, or by all. */
  #writtenByOne = new Set<number>();
  #writtenByAll = new Set<number>();

  constructor(
    readonly arena: Arena,
    readonly threads: number,
  ) {}

  /** Room for a value. */
  cells(dims: readonly number[], dtype: DType = "float32"): Cells {
    const bytes = dims.reduce((a, b) => a * b, BYTES_PER_ELEMENT[dtype]);
    const size = Math.ceil(Math.max(bytes, 1) / LINE) * LINE;
    if (size > this.#free.bytes) {
      const piece = Math.max(size, PIECE);
      const address = this.arena.allocate(piece);
      if (address === undefined) throw new NoSteps("no memory");
      this.pieces.push(address);
      this.#free = { address, bytes: piece };
    }
    const { address } = this.#free;
    this.#free = { address: address + size, bytes: this.#free.bytes - size };
    return { address, origin: address, dims, dtype, stride: dims.at(-1) ?? 1 };
  }

  /** Adds a step. A phase begins with it where it reads what others write in the one before. */
  step(kernel: KernelName, { reads, writes, words, units = 1, cost = 0 }: StepOptions): void {
    if (!READ_HALVES.has(kernel) && reads.some(isHalf)) throw new NoSteps(`${kernel} of 16 bits`);
    const parallel = units > 1 && units * cost >= LEAST_WORK && this.threads > 1;
    const waits = reads.some(
      ({ origin }) => this.#writtenByAll.has(origin) || (parallel && this.#writtenByOne.has(origin)),
    );
    if (waits) {
      this.phases.push({ together: [], apart: [] });
      this.#writtenByAll = new Set();
      this.#writtenByOne = new Set();
    }
    for (const { origin } of writes) (parallel ? this.#writtenByAll : this.#writtenByOne).add(origin);
    if (words.length > STEP_WORDS - FIRST_ARGUMENT) throw new NoSteps(`${kernel} has too many words`);
    const step = new Int32Array(STEP_WORDS);
    const grain = parallel ? this.#grain(units, cost) : units;
    step.set([KERNELS.indexOf(kernel), units, grain, 0, ...words.map(bitsOf)]);
    this.phases.at(-1)![parallel ? "apart" : "together"].push(step);
  }

  /** Units of a share: four shares a thread, so that one that is held up leaves some to the others, and none too small or too large. */
  #grain(units: number, cost: number): number {
    const share = units / (this.threads * 4);
    const within = Math.min(Math.max(share, LEAST_WORK / 4 / cost), MOST_WORK / cost);
    return Math.max(1, Math.ceil(within));
  }

  /** The same numbers without gaps between rows. */
  dense(x: Cells): Cells {
    if (isDense(x)) return x;
    const y = this.cells(x.dims);
    this.copy(x, y, y.stride);
    return y;
  }

  /** Rows of x to where y begins, whose rows are `stride` apart. */
  copy(x: Cells, y: Cells, stride: number): void {
    this.step("copy", {
      reads: [x],
      writes: [y],
      words: [x.address, x.stride, y.address, stride, widthOf(x)],
      units: rowsOf(x),
      cost: widthOf(x) / 4,
    });
  }
}
