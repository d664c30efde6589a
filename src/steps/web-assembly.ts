/** A memory of WebAssembly that threads share. */
export interface SharedMemory {
  /** Grows with the memory: an array over an earlier one goes on to show the same bytes. */
  readonly buffer: SharedArrayBuffer;
  grow(pages: number): number;
}

interface WebAssemblyApi {
  readonly Memory: new (options: {
    readonly initial: number;
    readonly maximum: number;
    readonly shared: true;
  }) => SharedMemory;
  readonly Module: new (code: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: { readonly env: { readonly memory: SharedMemory } },
  ) => {
    readonly exports: {
      /** The part of a thread in the given run of a program. */
      run(program: number, runs: number): void;
    };
  };
}

/** What is used of WebAssembly, which TypeScript declares for browsers alone. */
export const { WebAssembly: webAssembly } = globalThis as unknown as { readonly WebAssembly: WebAssemblyApi };
