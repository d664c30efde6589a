import { expect, test } from "vitest";
import { countedBuffer, largeBuffers } from "../base/large-buffer.js";
import { BufferPool } from "./buffer-pool.js";

const shared = largeBuffers({ sharedMemory: true });

test.each([
  ["counted", countedBuffer],
  ["shared", shared],
])("%s memory is used again, and let go under a limit", (_, buffers) => {
  const pool = new BufferPool(buffers);
  const first = pool.acquire("float32", [1024, 64]);
  const { buffer } = first.data;
  pool.release(first);
  expect(pool.acquire("float32", [64, 1000]).data.buffer).toBe(buffer);
  const second = pool.acquire("float32", [2048, 64]);
  pool.release(second);
  expect(pool.held).toBe(3 * 2 ** 18);
  pool.limit = 3 * 2 ** 18;
  pool.acquire("float32", [512, 64]);
  expect(pool.held).toBe(2 ** 18 + 2 ** 17);
  pool.trim();
  expect(pool.held).toBe(pool.inUse);
});

test("memory that the collector does not count is for engines that read it in place", () => {
  expect(shared(16)).toBeInstanceOf(SharedArrayBuffer);
  expect(largeBuffers({ sharedMemory: false })(16)).toBeInstanceOf(ArrayBuffer);
});
