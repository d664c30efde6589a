/** Large arrays of numbers, by bytes. */
export type LargeBuffers = (bytes: number) => ArrayBuffer;

/** Counted by the garbage collector, which runs whenever some 64 MiB were asked for. */
export const countedBuffer: LargeBuffers = (bytes) => new ArrayBuffer(bytes);

/**
 * Memory that the garbage collector does not count. The first step asks for a gigabyte and more; some thirty collections, which find
 * nothing, would cost it a second.
 */
const uncountedBuffer: LargeBuffers = (bytes) => new SharedArrayBuffer(bytes) as unknown as ArrayBuffer;

/** The kind that suits an engine. */
export const largeBuffers = ({ sharedMemory }: { readonly sharedMemory: boolean }): LargeBuffers =>
  sharedMemory && typeof SharedArrayBuffer !== "undefined" ? uncountedBuffer : countedBuffer;

/** Tells the garbage collector of so many bytes that were dropped uncounted: memory nobody touches costs nothing and counts. */
export function countDropped(bytes: number): void {
  if (bytes > 0) countedBuffer(bytes);
}
