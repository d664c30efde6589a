import { InternalError } from "../base/errors.js";
import { Arena } from "./arena.js";
import { type StepOptions, StepEmitter } from "./emitter.js";
import type { KernelName } from "./kernels.js";
import { kernelModule } from "./module.js";
import { StepProgram } from "./program.js";
import { webAssembly } from "./web-assembly.js";

/** Kernels that the thread which asks for them runs at once, over a memory of their own. */
export class KernelsAtOnce {
  readonly arena = new Arena();
  readonly #instance = new webAssembly.Instance(kernelModule(), { env: { memory: this.arena.memory } });
  readonly #rooms = new Map<string, { readonly address: number; readonly bytes: number }>();

  /** Where so many bytes of some use are, whatever they held before. */
  room(use: string, bytes: number): number {
    const known = this.#rooms.get(use);
    if (known !== undefined && known.bytes >= bytes) return known.address;
    if (known !== undefined) this.arena.free(known.address);
    this.#rooms.delete(use);
    const address = this.arena.allocate(bytes);
    if (address === undefined) throw new InternalError(`There is no memory for ${bytes} bytes of ${use}.`);
    this.#rooms.set(use, { address, bytes });
    return address;
  }

  run(kernel: KernelName, words: StepOptions["words"], units: number): void {
    const emit = new StepEmitter(this.arena, 1);
    emit.step(kernel, { reads: [], writes: [], words, units });
    const program = new StepProgram(emit);
    this.#instance.exports.run(program.address, 1);
    program.release();
  }
}

let shared: KernelsAtOnce | undefined;

/** Those of this thread. What they leave in their memory is lost with the next use. */
export const kernelsAtOnce = (): KernelsAtOnce => (shared ??= new KernelsAtOnce());
