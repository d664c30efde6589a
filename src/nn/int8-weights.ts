import { asFloat32 } from "../base/half.js";
import type { HostTensor } from "../base/host-tensor.js";
import type { LargeBuffers } from "../base/large-buffer.js";
import { Slab } from "../base/slab.js";
import {
  type Int8Matrix,
  type Int8Side,
  type Int8Weight,
  type LargestInt8,
  toInt8,
} from "../steps/to-int8.js";
import type { Parameter } from "./parameter.js";

/** The tensors of a weight in 8 bits. */
export type Int8Part = `${Int8Side} ${keyof Int8Matrix}`;

/** Weights in 8 bits, each made at its first use and kept. */
export class Int8Weights {
  readonly #weights = new WeakMap<Parameter, Partial<Int8Weight>>();

  readonly #slab: Slab;

  constructor(
    readonly largest: LargestInt8,
    buffers: LargeBuffers,
  ) {
    this.#slab = new Slab(buffers);
  }

  /** Makes sides of a weight that are not there yet, together: of its tensor where that is at hand, or decoding it once. */
  make(parameter: Parameter, sides: readonly Int8Side[], tensor?: HostTensor): void {
    const known = this.#weights.get(parameter) ?? {};
    const missing = sides.filter((side) => known[side] === undefined);
    if (missing.length === 0) return;
    const shape = parameter.shape as readonly [number, number];
    const round = (one: HostTensor): Int8Weight<never> =>
      toInt8(asFloat32(one), shape, this.largest, missing, (bytes) => {
        const { buffer, byteOffset } = this.#slab.take(bytes);
        return new Int8Array(buffer, byteOffset, bytes);
      });
    const made = tensor === undefined ? parameter.readOnce(round) : round(tensor);
    this.#weights.set(parameter, { ...known, ...made });
  }

  /** The tensor of a weight that a graph reads. */
  tensor(parameter: Parameter, part: Int8Part): HostTensor {
    const [side, what] = part.split(" ") as [Int8Side, keyof Int8Matrix];
    this.make(parameter, [side]);
    return this.#weights.get(parameter)![side]![what];
  }
}
