import type { HostTensor } from "../base/host-tensor.js";
import type { SharedMemory } from "../steps/web-assembly.js";

/** What an engine can do; lowering reads this and never the engine's name. */
export interface EngineCapabilities {
  /** Has com.microsoft FusedMatMul (a matrix product with transposes and a factor). */
  readonly fusedMatMul: boolean;
  /** Takes bfloat16 tensors as graph inputs. */
  readonly bfloat16Inputs: boolean;
  /** Reads and writes shared memory (`SharedArrayBuffer`) in place. */
  readonly sharedMemory: boolean;
  /** Runs without blocking the event loop and can be stopped by a signal. */
  readonly asynchronous: boolean;
}

export interface RunOptions {
  /** Stops the run at the next node; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Little work: handing it to another thread would take longer than waiting for it. Such a run is not stopped half-way. */
  readonly brief?: boolean | undefined;
  /** The tensors are views made for this run: what the engine makes of them goes with it, and does not wait for the garbage collector. */
  readonly transient?: boolean | undefined;
}

/** A compiled graph. */
export interface Session {
  /** Names of the graph's inputs and outputs, in the order that `run` takes them. */
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /**
   * Computes the outputs into arrays that the caller has allocated.
   *
   * An output may share memory with an input only where the last node that writes it is elementwise in that input.
   */
  run(inputs: readonly HostTensor[], outputs: readonly HostTensor[], options?: RunOptions): Promise<void>;
  close(): Promise<void>;
}

export interface CompileOptions {
  /** Shown in error texts and profiles. */
  readonly name?: string | undefined;
  /** Lets the runtime lay the constants of the graph out as its kernels like them; inputs are used as they are. */
  readonly prepack?: boolean | undefined;
  /** Threads stay awake between the ops of a run, and sleep after it: for graphs of many short ones, where waking takes as long. */
  readonly spins?: boolean | undefined;
  /** Ops run on the thread that runs the session alone, so that several runs do not wait for each other's threads. */
  readonly alone?: boolean | undefined;
  /** Writes a Chrome trace with this path prefix when the session closes. */
  readonly profilePrefix?: string | undefined;
}

/** Threads that run programs of small steps (`steps/program.ts`) over one memory, without sessions. */
export interface Crew {
  readonly threads: number;
  /** Bytes of weights that may be copied to where they run. */
  readonly mostBytes: number;
  /** Sends all threads through a program, whose run it is by number from 1; one program after another. */
  run(program: number, runs: number): Promise<void>;
  /** Settles when no thread is in any program: those that came late may still be. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

/** Turns ONNX models into sessions. */
export interface Engine {
  readonly name: string;
  readonly capabilities: EngineCapabilities;
  /** Runs of sessions that run `alone` which together keep all threads at work; 1 where one run with all threads is better. */
  readonly lanes?: number | undefined;
  compile(model: Uint8Array, options?: CompileOptions): Promise<Session>;
  /** Threads over a memory, where the platform has such; throws where they cannot be started. */
  openCrew?(memory: SharedMemory): Crew;
  close(): Promise<void>;
}

/** What an engine is opened with, all of it decided. */
export interface EngineSettings {
  /** Threads of one operator. */
  readonly threads: number;
  /** Whether somebody asked for so many; otherwise the number follows from the machine. */
  readonly asked: boolean;
}

export interface EngineOptions {
  /**
   * Threads of one operator. Unless said otherwise here or by PEFT_THREADS, or where it is 0, one for every physical core that the
   * process may use, no more than its control group grants.
   */
  readonly threads?: number | undefined;
}
