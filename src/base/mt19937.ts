import { UnsupportedError } from "./errors.js";

/** From here on torch draws in another way. */
const LONGEST_PERMUTATION = 214_748_364;

/**
 * The Mersenne Twister as torch's CPU generator has it: the same seed gives the same permutations and uniform numbers bit for bit,
 * and the same normal ones up to the rounding of log, sin and cos. Tensors that Hugging Face rebuilds from a seed instead of saving
 * come from here; everything else uses `Random`.
 *
 * @example
 * new Mt19937(777).permutation(20); // what torch.randperm(20, generator) gives
 * @see Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8 (1998); torch `aten/src/ATen/core/MT19937RNGEngine.h`
 */
export class Mt19937 {
  readonly #state = new Uint32Array(624);
  #next = 624;
  #spare: number | undefined;

  constructor(seed: number) {
    this.#state[0] = seed >>> 0;
    for (let i = 1; i < 624; i += 1) {
      const before = this.#state[i - 1]!;
      this.#state[i] = Math.imul(1_812_433_253, before ^ (before >>> 30)) + i;
    }
  }

  #refill(): void {
    const s = this.#state;
    for (let i = 0; i < 624; i += 1) {
      const y = (s[i]! & 0x8000_0000) | (s[(i + 1) % 624]! & 0x7fff_ffff);
      s[i] = s[(i + 397) % 624]! ^ (y >>> 1) ^ (y & 1 ? 0x9908_b0df : 0);
    }
    this.#next = 0;
  }

  /** 32 random bits. */
  bits(): number {
    if (this.#next === 624) this.#refill();
    let y = this.#state[this.#next++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c_5680;
    y ^= (y << 15) & 0xefc6_0000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** Uniform in [0, 1) with 24 bits, as for float32 tensors. */
  next(): number {
    return (this.bits() & 0xff_ffff) / 0x100_0000;
  }

  /** Uniform in [0, 1) with 53 bits, as for float64 tensors. */
  next64(): number {
    const high = this.bits() & 0x1f_ffff;
    return (high * 0x1_0000_0000 + this.bits()) / 2 ** 53;
  }

  /** Fills with U(low, high), as `tensor.uniform_` does for float32. */
  uniform(data: Float32Array, low: number, high: number): void {
    const [from, to] = [Math.fround(low), Math.fround(high)];
    const width = Math.fround(to - from);
    // Multiplied and added with one rounding, as torch's compiler does it.
    for (let i = 0; i < data.length; i += 1) data[i] = this.next() * width + from;
  }

  /** Fills with N(mean, deviation²), as `tensor.normal_` does for float32. */
  normal(data: Float32Array, mean = 0, deviation = 1): void {
    const count = data.length;
    if (count < 16) {
      for (let i = 0; i < count; i += 1) data[i] = this.#normal64() * deviation + mean;
      return;
    }
    for (let i = 0; i < count; i += 1) data[i] = this.next();
    for (let i = 0; i + 16 <= count; i += 16) pairs(data, i, mean, deviation);
    if (count % 16 === 0) return;
    for (let i = count - 16; i < count; i += 1) data[i] = this.next();
    pairs(data, count - 16, mean, deviation);
  }

  #normal64(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    const angle = 2 * Math.PI * this.next64();
    const radius = Math.sqrt(-2 * Math.log1p(-this.next64()));
    this.#spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /**
   * The first `count` numbers of a random order of 0 … n − 1, as `torch.randperm(n)[:count]` gives them. Only these are drawn, but
   * the generator moves on as torch's does.
   */
  permutation(n: number, count = n): Float64Array {
    if (n >= LONGEST_PERMUTATION) {
      throw new UnsupportedError({
        code: "permutation_too_long",
        summary: `A random order of ${n.toLocaleString("en")} numbers is wanted; torch's can be repeated below ${LONGEST_PERMUTATION.toLocaleString("en")}.`,
        fixes: ["adapt smaller layers: leave the head and the embedding out of targetModules"],
        fields: { n, limit: LONGEST_PERMUTATION },
      });
    }
    // What has been swapped away from its place; all else is where it started.
    const moved = new Map<number, number>();
    const at = (i: number): number => moved.get(i) ?? i;
    const result = new Float64Array(count);
    for (let i = 0; i < n - 1; i += 1) {
      const offset = this.bits() % (n - i);
      if (i >= count) continue;
      const j = i + offset;
      result[i] = at(j);
      moved.set(j, at(i));
      moved.delete(i);
    }
    if (count === n && n > 0) result[n - 1] = at(n - 1);
    return result;
  }
}

/** Box and Muller's transform of sixteen uniform numbers, eight with eight, as torch pairs them. */
function pairs(data: Float32Array, start: number, mean: number, deviation: number): void {
  for (let j = start; j < start + 8; j += 1) {
    const radius = Math.sqrt(-2 * Math.log(1 - data[j]!));
    const angle = 2 * Math.PI * data[j + 8]!;
    data[j] = radius * Math.cos(angle) * deviation + mean;
    data[j + 8] = radius * Math.sin(angle) * deviation + mean;
  }
}
