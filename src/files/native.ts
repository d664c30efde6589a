import koffi from "koffi";

// Koffi takes settings only before the first library is loaded, so every user of it comes through here.
const [stack, heap] = [8 * 2 ** 20, 2 ** 20];
koffi.config({
  ...koffi.config(),
  sync_stack_size: stack,
  sync_heap_size: heap,
  async_stack_size: stack,
  async_heap_size: heap,
});

/** Calls into C libraries. */
export { koffi };
