import koffi from "koffi";

// Koffi takes settings only before the first library is loaded, so every user of it comes through here.
koffi.config({ ...koffi.config(), async_stack_size: 8 * 2 ** 20, async_heap_size: 2 ** 20 });

/** Calls into C libraries. */
export { koffi };
