import type { KoffiFunc, LibraryHandle } from "koffi";
import { InternalError, OutOfMemoryError, type PeftError } from "../base/errors.js";
import { koffi } from "../files/native.js";
import { findOrtLibrary } from "./ort-library.js";

/** A native address. */
export type Pointer = bigint;

/** Functions of OrtApi by their place in its table, which only ever grows at the end. */
const FUNCTIONS = {
  CreateEnvWithGlobalThreadPools: [119, "void*", "int, const char*, void*, _Out_ void**"],
  GetErrorMessage: [2, "const char*", "void*"],
  CreateSessionFromArray: [8, "void*", "void*, const void*, size_t, void*, _Out_ void**"],
  Run: [9, "void*", "void*, void*, void*, void*, size_t, void*, size_t, void*"],
  CreateSessionOptions: [10, "void*", "_Out_ void**"],
  EnableProfiling: [14, "void*", "void*, const char*"],
  DisableMemPattern: [17, "void*", "void*"],
  SetSessionLogSeverityLevel: [22, "void*", "void*, int"],
  SetSessionGraphOptimizationLevel: [23, "void*", "void*, int"],
  SetIntraOpNumThreads: [24, "void*", "void*, int"],
  SessionGetInputCount: [30, "void*", "void*, _Out_ size_t*"],
  SessionGetOutputCount: [31, "void*", "void*, _Out_ size_t*"],
  SessionGetInputName: [36, "void*", "void*, size_t, void*, _Out_ void**"],
  SessionGetOutputName: [37, "void*", "void*, size_t, void*, _Out_ void**"],
  CreateRunOptions: [39, "void*", "_Out_ void**"],
  RunOptionsSetTerminate: [46, "void*", "void*"],
  CreateTensorWithDataAsOrtValue: [
    49,
    "void*",
    "void*, void*, size_t, const int64_t*, size_t, int, _Out_ void**",
  ],
  CreateCpuMemoryInfo: [69, "void*", "int, int, _Out_ void**"],
  GetAllocatorWithDefaultOptions: [78, "void*", "_Out_ void**"],
  AllocatorFree: [76, "void*", "void*, void*"],
  ReleaseEnv: [92, "void", "void*"],
  ReleaseStatus: [93, "void", "void*"],
  ReleaseSession: [95, "void", "void*"],
  ReleaseValue: [96, "void", "void*"],
  ReleaseRunOptions: [97, "void", "void*"],
  ReleaseSessionOptions: [100, "void", "void*"],
  SessionEndProfiling: [110, "void*", "void*, void*, _Out_ void**"],
  DisablePerSessionThreads: [120, "void*", "void*"],
  CreateThreadingOptions: [121, "void*", "_Out_ void**"],
  ReleaseThreadingOptions: [122, "void", "void*"],
  AddSessionConfigEntry: [130, "void*", "void*, const char*, const char*"],
  CreateAndRegisterAllocator: [144, "void*", "void*, void*, void*"],
  SetGlobalIntraOpNumThreads: [147, "void*", "void*, int"],
  SetGlobalInterOpNumThreads: [148, "void*", "void*, int"],
  SetGlobalSpinControl: [149, "void*", "void*, int"],
  CreateArenaCfg: [156, "void*", "size_t, int, int, int, _Out_ void**"],
  ReleaseArenaCfg: [157, "void", "void*"],
  AddRunConfigEntry: [165, "void*", "void*, const char*, const char*"],
} as const satisfies Readonly<Record<string, readonly [number, string, string]>>;

/** A bound function; `.async` runs it on another thread and calls back. */
type OrtFunction = KoffiFunc<(...args: readonly unknown[]) => unknown>;

type Name = keyof typeof FUNCTIONS;

/** The C API of ONNX Runtime: each function by its own name. */
export type OrtApi = Readonly<Record<Name, OrtFunction>>;

const API_VERSION = 24;

// Held for ever: a collected handle would unload the library under the sessions.
let library: LibraryHandle | undefined;
let api: OrtApi | undefined;

/** Loads the library and binds its functions; later calls answer the same object. */
export function loadOrtApi(): OrtApi {
  if (api !== undefined) return api;
  library = koffi.load(findOrtLibrary());
  const base = library.func("void* OrtGetApiBase()")() as Pointer;
  const getApi = koffi.decode(koffi.decode(base, 0, "void*") as Pointer, koffi.proto("void* (uint32_t)"));
  const table = (getApi as (version: number) => Pointer)(API_VERSION);
  if (table === null) throw new InternalError(`This ONNX Runtime has no C API of version ${API_VERSION}.`);
  const bind = ([at, result, parameters]: readonly [number, string, string]): OrtFunction =>
    koffi.decode(
      koffi.decode(table, at * 8, "void*"),
      koffi.proto(`${result} (${parameters})`),
    ) as OrtFunction;
  api = Object.fromEntries(Object.entries(FUNCTIONS).map(([name, entry]) => [name, bind(entry)])) as OrtApi;
  return api;
}

/** The error of a status of ONNX Runtime, which is released. */
export function statusError(ort: OrtApi, status: Pointer, doing: string): PeftError {
  const message = ort.GetErrorMessage(status) as string;
  ort.ReleaseStatus(status);
  if (/failed to allocate|bad_alloc|out of memory/i.test(message)) {
    return new OutOfMemoryError({
      code: "out_of_memory",
      summary: `There was not enough memory for ${doing}.`,
      facts: [["runtime", message]],
      fixes: [
        "use a smaller batch size or shorter rows",
        "set a memory limit, so that activations are computed again",
      ],
      fields: { message },
    });
  }
  return new InternalError(`ONNX Runtime refused ${doing}: ${message}`, { message });
}

/** Throws where a call answered a status. */
export function check(ort: OrtApi, status: unknown, doing: string): void {
  if (status !== null) throw statusError(ort, status as Pointer, doing);
}

/** Calls a function whose last parameter receives a pointer. */
export function outPointer(ort: OrtApi, name: Name, args: readonly unknown[], doing: string): Pointer {
  const out: [Pointer | null] = [null];
  check(ort, ort[name](...args, out), doing);
  return out[0]!;
}
