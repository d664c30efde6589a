import type { Arena } from "./arena.js";
import { NoSteps, type Phase, type StepEmitter, STEP_WORDS } from "./emitter.js";

/** Words before the first phase, and before the steps of each. */
const HEADER_WORDS = 16;

const wordsOf = ({ together, apart }: Phase): number =>
  HEADER_WORDS + (together.length + apart.length) * STEP_WORDS;

/** Shares of a phase: what one thread does, and those of the steps that threads share. */
const sharesOf = ({ together, apart }: Phase): number =>
  apart.reduce((sum, step) => sum + Math.ceil(step[1]! / step[2]!), Math.min(together.length, 1));

/** Steps in memory, as threads read them (`kernels/index.ts`). */
export class StepProgram {
  readonly address: number;
  /** How often it was run. */
  runs = 0;
  readonly #arena: Arena;
  readonly #pieces: readonly number[];

  constructor({ arena, phases, pieces }: StepEmitter) {
    const length = phases.reduce((sum, phase) => sum + wordsOf(phase), HEADER_WORDS);
    const address = arena.allocate(length * Int32Array.BYTES_PER_ELEMENT);
    if (address === undefined) throw new NoSteps("no memory");
    this.address = address;
    this.#arena = arena;
    this.#pieces = [...pieces, address];
    const words = new Int32Array(arena.memory.buffer, address, length);
    words[0] = phases.length;
    let at = HEADER_WORDS;
    for (const phase of phases) {
      const { together, apart } = phase;
      words.set([0, 0, sharesOf(phase), together.length, apart.length], at);
      for (const [i, step] of [...together, ...apart].entries())
        words.set(step, at + HEADER_WORDS + i * STEP_WORDS);
      at += wordsOf(phase);
    }
  }

  /** Gives its memory back. No thread may be in it. */
  release(): void {
    for (const piece of this.#pieces) this.#arena.free(piece);
  }
}
