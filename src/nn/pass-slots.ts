import type { HostTensor } from "../base/host-tensor.js";
import type { BufferPool } from "./buffer-pool.js";
import type { OffloadedTensors } from "./offloaded-tensors.js";
import type { Slot } from "./plan.js";

/** What the stages of a pass write and read: each tensor is given back after the last that reads it. */
export class PassSlots {
  readonly #tensors = new Map<Slot, HostTensor>();
  /** How often a slot is still to be read at all, and how often by the backward pass. */
  readonly #readers = new Map<Slot, number>();
  readonly #backwardReaders = new Map<Slot, number>();

  /** `offloaded` takes what the backward pass alone reads again; without it, that stays in memory. */
  constructor(
    readonly pool: BufferPool,
    readonly offloaded: OffloadedTensors | undefined,
  ) {}

  get(slot: Slot): HostTensor | undefined {
    return this.#tensors.get(slot);
  }

  set(slot: Slot, tensor: HostTensor): void {
    this.#tensors.set(slot, tensor);
  }

  /** Announces what will read slots. */
  expect(pass: "forward" | "backward", slots: readonly Slot[]): void {
    for (const slot of slots) {
      this.#readers.set(slot, (this.#readers.get(slot) ?? 0) + 1);
      if (pass === "backward") this.#backwardReaders.set(slot, (this.#backwardReaders.get(slot) ?? 0) + 1);
    }
  }

  /** Whether anything reads a slot. */
  isRead(slot: Slot): boolean {
    return this.#readers.has(slot);
  }

  drop(slot: Slot): void {
    this.pool.release(this.#tensors.get(slot)!);
    this.#tensors.delete(slot);
  }

  /** Slots that have been read once more. */
  done(slots: readonly Slot[]): void {
    for (const slot of slots) {
      const left = this.#readers.get(slot)! - 1;
      this.#readers.set(slot, left);
      if (left === 0) this.drop(slot);
    }
  }

  /** Slots that the forward pass has read once more; what only the backward pass reads again goes to the file. */
  async doneForward(slots: readonly Slot[]): Promise<void> {
    this.done(slots);
    if (this.offloaded === undefined) return;
    for (const slot of slots) {
      const tensor = this.#tensors.get(slot);
      if (tensor === undefined || this.#readers.get(slot) !== this.#backwardReaders.get(slot)) continue;
      this.#tensors.delete(slot);
      await this.offloaded.put(slot, tensor);
    }
  }

  /** Has slots in memory, and begins to read those that are needed next. */
  async fetch(slots: readonly Slot[], next: readonly Slot[]): Promise<void> {
    if (this.offloaded === undefined) return;
    this.offloaded.ahead([...slots, ...next]);
    for (const slot of slots)
      if (this.offloaded.has(slot)) this.#tensors.set(slot, await this.offloaded.take(slot));
  }

  /** Gives everything back. */
  release(): void {
    for (const tensor of this.#tensors.values()) this.pool.release(tensor);
    this.#tensors.clear();
    this.offloaded?.release();
  }
}
