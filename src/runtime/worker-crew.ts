import { totalmem } from "node:os";
import { Worker } from "node:worker_threads";
import { InternalError } from "../base/errors.js";
import { kernelModule } from "../steps/module.js";
import type { SharedMemory } from "../steps/web-assembly.js";
import type { Crew } from "./engine.js";

/** What a thread does: its part of every program that it hears of. */
const THREAD = `
const { parentPort, workerData: { module, memory } } = require("node:worker_threads");
const { run } = new WebAssembly.Instance(module, { env: { memory } }).exports;
parentPort.on("message", ([program, runs]) => {
  run(program, runs);
  parentPort.postMessage(0);
});
`;

/** Threads that still help: what a few of them read fills the way to memory, and phases are short. */
const MOST_THREADS = 8;

/** A thread, and what it was sent and has not answered yet. */
class Hand {
  readonly #worker: Worker;
  readonly #waiting: (readonly [resolve: () => void, reject: (error: Error) => void])[] = [];

  constructor(memory: SharedMemory) {
    this.#worker = new Worker(THREAD, {
      eval: true,
      workerData: { module: kernelModule(), memory },
      execArgv: [],
    });
    this.#worker.on("message", () => {
      this.#waiting.shift()![0]();
      if (this.#waiting.length === 0) this.#worker.unref();
    });
    this.#worker.on("error", (error: Error) => this.#fail(error));
    this.#worker.on("exit", () => this.#fail(new InternalError("A thread was stopped at work.")));
    this.#worker.unref();
  }

  #fail(error: Error): void {
    for (const [, reject] of this.#waiting.splice(0)) reject(error);
  }

  /** Settles when the thread has left the program. */
  send(program: number, runs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push([resolve, reject]);
      this.#worker.ref();
      this.#worker.postMessage([program, runs]);
    });
  }

  stop(): Promise<number> {
    return this.#worker.terminate();
  }
}

/** Threads of Node. They sleep between programs, and do not keep the process alive then. */
export class WorkerCrew implements Crew {
  /** A quarter of the memory that the process may have: files stay mapped beside it. */
  readonly mostBytes = Math.min(totalmem(), process.constrainedMemory() || Infinity) / 4;
  readonly threads: number;
  #hands: readonly Hand[] | undefined;
  /** The last program that was asked for, and the threads that have not left it. */
  #last: Promise<unknown> = Promise.resolve();
  #late: Promise<unknown> = Promise.resolve();

  constructor(
    readonly memory: SharedMemory,
    threads: number,
  ) {
    this.threads = Math.min(threads, MOST_THREADS);
    this.#hands = Array.from({ length: this.threads }, () => new Hand(memory));
  }

  run(program: number, runs: number): Promise<void> {
    const next = this.#last.then(() => this.#send(program, runs));
    this.#last = next.catch(() => undefined);
    return next;
  }

  async #send(program: number, runs: number): Promise<void> {
    if (this.#hands === undefined)
      throw new InternalError("A program was given to threads that are closed, or one of which failed.");
    const parts = this.#hands.map((hand) => hand.send(program, runs));
    this.#late = Promise.allSettled([this.#late, ...parts]).then(() => undefined);
    try {
      // The first to leave has seen that all is done; one that was held up may come later, and finds nothing to do.
      await Promise.race(parts);
    } catch (error) {
      await this.#stop();
      throw error;
    }
  }

  async idle(): Promise<void> {
    await this.#last;
    await this.#late;
  }

  async #stop(): Promise<void> {
    const hands = this.#hands ?? [];
    this.#hands = undefined;
    await Promise.all(hands.map((hand) => hand.stop()));
  }

  async close(): Promise<void> {
    await this.idle();
    await this.#stop();
  }
}
