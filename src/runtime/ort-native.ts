import { WorkerCrew } from "./worker-crew.js";
import { koffi } from "../files/native.js";
import { ONNX_DTYPES } from "../base/tensor-type.js";
import type { CompileOptions, Engine, EngineSettings, RunOptions, Session } from "./engine.js";
import type { HostTensor } from "../base/host-tensor.js";
import { check, loadOrtApi, type OrtApi, outPointer, type Pointer, statusError } from "./ort-api.js";

const ORT_LOGGING_FATAL = 4;
const OPTIMIZE_ALL = 99;
const ARENA_SAME_AS_REQUESTED = 1;

interface Environment {
  readonly ort: OrtApi;
  readonly env: Pointer;
  readonly memory: Pointer;
  readonly allocator: Pointer;
  readonly threads: number;
}

// One environment a process: sessions share its threads and its scratch memory.
let environment: Environment | undefined;

function openEnvironment(threads: number): Environment {
  if (environment !== undefined) return environment;
  const ort = loadOrtApi();
  const threading = outPointer(ort, "CreateThreadingOptions", [], "its threads");
  check(ort, ort.SetGlobalIntraOpNumThreads(threading, threads), "its threads");
  check(ort, ort.SetGlobalInterOpNumThreads(threading, 1), "its threads");
  check(ort, ort.SetGlobalSpinControl(threading, 0), "its threads");
  const env = outPointer(
    ort,
    "CreateEnvWithGlobalThreadPools",
    [ORT_LOGGING_FATAL, "peft.js", threading],
    "to start",
  );
  ort.ReleaseThreadingOptions(threading);
  const memory = outPointer(ort, "CreateCpuMemoryInfo", [1, 0], "its memory");
  // 0 and −1 stand for the defaults: no limit, chunk sizes as the allocator likes them.
  const arena = outPointer(ort, "CreateArenaCfg", [0, ARENA_SAME_AS_REQUESTED, -1, -1], "its memory");
  check(ort, ort.CreateAndRegisterAllocator(env, memory, arena), "its memory");
  ort.ReleaseArenaCfg(arena);
  const allocator = outPointer(ort, "GetAllocatorWithDefaultOptions", [], "its memory");
  environment = { ort, env, memory, allocator, threads };
  return environment;
}

/** Threads of Node's pool, where runs of the C library go, unless UV_THREADPOOL_SIZE says otherwise. */
const POOL_THREADS = 4;

/** Runs that keep so many threads at work: more than threads, as far as the pool has them, so that one is ready when another ends. */
function lanesOf(threads: number): number {
  const pool = Number(process.env["UV_THREADPOOL_SIZE"]) || POOL_THREADS;
  return threads <= pool ? Math.min(pool, 2 * threads) : 1;
}

/** Keeps what a native value points into alive as long as the value. */
interface NativeValue {
  readonly pointer: Pointer;
  readonly tensor: HostTensor["data"];
}

/** Native handles of tensors: made once for each tensor object, released with it. */
class ValueTable {
  readonly #values = new WeakMap<HostTensor, NativeValue>();
  readonly #registry: FinalizationRegistry<Pointer>;

  constructor(readonly environment: Environment) {
    this.#registry = new FinalizationRegistry((pointer) => environment.ort.ReleaseValue(pointer));
  }

  pointerOf(tensor: HostTensor): Pointer {
    const known = this.#values.get(tensor);
    if (known !== undefined) return known.pointer;
    const pointer = this.make(tensor);
    this.#values.set(tensor, { pointer, tensor: tensor.data });
    this.#registry.register(tensor, pointer);
    return pointer;
  }

  /** A handle that the caller releases, and until then keeps the tensor. */
  make(tensor: HostTensor): Pointer {
    const { ort, memory } = this.environment;
    const { data, dims, dtype } = tensor;
    // Reading `buffer` moves a small array off the collected heap, so that its address stays.
    void data.buffer;
    const shape = BigInt64Array.from(dims, (dim) => BigInt(dim));
    return outPointer(
      ort,
      "CreateTensorWithDataAsOrtValue",
      [memory, data, data.byteLength, shape, dims.length, ONNX_DTYPES[dtype]],
      `a ${dtype} tensor of ${dims.join(" × ")}`,
    );
  }
}

class NativeSession implements Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly #inputNamePointers: BigUint64Array;
  readonly #outputNamePointers: BigUint64Array;
  #session: Pointer | undefined;
  #running = new Set<Promise<unknown>>();

  constructor(
    readonly name: string,
    session: Pointer,
    readonly environment: Environment,
    readonly values: ValueTable,
    readonly profiling: boolean,
  ) {
    this.#session = session;
    const { ort, allocator } = environment;
    const names = (
      count: "SessionGetInputCount" | "SessionGetOutputCount",
      name: "SessionGetInputName" | "SessionGetOutputName",
    ) => {
      const size: [number] = [0];
      check(ort, ort[count](session, size), `to describe ${this.name}`);
      const pointers = Array.from({ length: size[0] }, (_, i) =>
        outPointer(ort, name, [session, i, allocator], `to describe ${this.name}`),
      );
      return {
        pointers: BigUint64Array.from(pointers),
        texts: pointers.map((pointer) => koffi.decode(pointer, "char", -1) as string),
      };
    };
    const inputs = names("SessionGetInputCount", "SessionGetInputName");
    const outputs = names("SessionGetOutputCount", "SessionGetOutputName");
    [this.inputNames, this.#inputNamePointers] = [inputs.texts, inputs.pointers];
    [this.outputNames, this.#outputNamePointers] = [outputs.texts, outputs.pointers];
  }

  async run(
    inputs: readonly HostTensor[],
    outputs: readonly HostTensor[],
    options: RunOptions = {},
  ): Promise<void> {
    const { signal, brief = false, transient = false } = options;
    signal?.throwIfAborted();
    if (brief) return this.#runHere(inputs, outputs, transient);
    const work = this.#start(inputs, outputs, signal, transient);
    this.#running.add(work);
    try {
      await work;
    } finally {
      this.#running.delete(work);
    }
  }

  #pointers(tensors: readonly HostTensor[], transient: boolean): BigUint64Array {
    const array = new BigUint64Array(tensors.length);
    for (const [i, tensor] of tensors.entries())
      array[i] = transient ? this.values.make(tensor) : this.values.pointerOf(tensor);
    void array.buffer;
    return array;
  }

  /** Releases handles that were made for one run. */
  #release(pointers: Iterable<Pointer>): void {
    for (const pointer of pointers) this.environment.ort.ReleaseValue(pointer);
  }

  #runHere(inputs: readonly HostTensor[], outputs: readonly HostTensor[], transient: boolean): void {
    const [ins, outs] = [this.#pointers(inputs, transient), this.#pointers(outputs, transient)];
    const names = [this.#inputNamePointers, this.#outputNamePointers] as const;
    const { ort } = this.environment;
    const status = ort.Run(this.#session, null, names[0], ins, ins.length, names[1], outs.length, outs);
    if (transient) this.#release([...ins, ...outs]);
    check(ort, status, `to run ${this.name}`);
  }

  #start(
    inputs: readonly HostTensor[],
    outputs: readonly HostTensor[],
    signal: AbortSignal | undefined,
    transient: boolean,
  ): Promise<void> {
    const { ort } = this.environment;
    const [ins, outs] = [this.#pointers(inputs, transient), this.#pointers(outputs, transient)];
    const runOptions = signal === undefined ? null : outPointer(ort, "CreateRunOptions", [], "run options");
    const stop = (): void => void ort.RunOptionsSetTerminate(runOptions);
    signal?.addEventListener("abort", stop, { once: true });
    return new Promise<void>((resolve, reject) => {
      ort.Run.async(
        this.#session,
        runOptions,
        this.#inputNamePointers,
        ins,
        ins.length,
        this.#outputNamePointers,
        outs.length,
        outs,
        (error: unknown, result: unknown) => {
          const status = result as Pointer | null;
          signal?.removeEventListener("abort", stop);
          if (runOptions !== null) ort.ReleaseRunOptions(runOptions);
          if (transient) this.#release([...ins, ...outs]);
          // The tensors are named here so that they live until the run is over.
          void [inputs, outputs];
          if (error) return reject(error as Error);
          if (status === null) return resolve();
          const failure = statusError(ort, status, `to run ${this.name}`);
          reject(signal?.aborted === true ? (signal.reason as Error) : failure);
        },
      );
    });
  }

  async close(): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    this.#session = undefined;
    await Promise.allSettled(this.#running);
    const { ort, allocator } = this.environment;
    if (this.profiling) outPointer(ort, "SessionEndProfiling", [session, allocator], "to end profiling");
    for (const pointer of [...this.#inputNamePointers, ...this.#outputNamePointers])
      ort.AllocatorFree(allocator, pointer);
    ort.ReleaseSession(session);
  }
}

/**
 * ONNX Runtime's C library, called without copies: inputs and outputs are the caller's own memory, runs leave the event loop
 * free and stop when a signal says so.
 */
export async function createNativeEngine({ threads, asked }: EngineSettings): Promise<Engine> {
  const environment = openEnvironment(threads);
  if (asked && environment.threads !== threads)
    console.warn(
      `peft.js: this engine computes with ${environment.threads} ${environment.threads === 1 ? "thread" : "threads"} and not with ${threads}: engines of one process share the threads of the first.`,
    );
  const { ort, env } = environment;
  const values = new ValueTable(environment);
  const open = new Set<Session>();
  return {
    name: "ort-native",
    capabilities: { fusedMatMul: true, bfloat16Inputs: true, asynchronous: true, sharedMemory: true },
    lanes: lanesOf(environment.threads),
    async compile(
      model: Uint8Array,
      { name = "graph", prepack = false, spins = false, alone = false, profilePrefix }: CompileOptions = {},
    ): Promise<Session> {
      const settings = outPointer(ort, "CreateSessionOptions", [], "session options");
      const must = (status: unknown): void => check(ort, status, `to compile ${name}`);
      try {
        if (spins) {
          // Threads that sessions share cannot be told when a run is over.
          must(ort.SetIntraOpNumThreads(settings, environment.threads));
          must(ort.AddSessionConfigEntry(settings, "session.intra_op.allow_spinning", "1"));
          must(ort.AddSessionConfigEntry(settings, "session.force_spinning_stop", "1"));
        } else if (alone) must(ort.SetIntraOpNumThreads(settings, 1));
        else must(ort.DisablePerSessionThreads(settings));
        must(ort.SetSessionGraphOptimizationLevel(settings, OPTIMIZE_ALL));
        must(ort.SetSessionLogSeverityLevel(settings, ORT_LOGGING_FATAL));
        // Shapes change from batch to batch, so a memory plan made for one would be wrong for the next.
        must(ort.DisableMemPattern(settings));
        must(ort.AddSessionConfigEntry(settings, "session.use_env_allocators", "1"));
        // Constants that are laid out anew would stay in the arena, which gives nothing back.
        if (prepack)
          must(ort.AddSessionConfigEntry(settings, "session.use_device_allocator_for_initializers", "1"));
        else must(ort.AddSessionConfigEntry(settings, "session.disable_prepacking", "1"));
        if (profilePrefix !== undefined) must(ort.EnableProfiling(settings, profilePrefix));
        const session = outPointer(
          ort,
          "CreateSessionFromArray",
          [env, model, model.length, settings],
          `to compile ${name}`,
        );
        const native = new NativeSession(name, session, environment, values, profilePrefix !== undefined);
        open.add(native);
        return native;
      } finally {
        ort.ReleaseSessionOptions(settings);
      }
    },
    openCrew: (memory) => new WorkerCrew(memory, environment.threads),
    async close(): Promise<void> {
      for (const session of open) await session.close();
      open.clear();
    },
  };
}
