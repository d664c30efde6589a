import type { HostTensor } from "./host-tensor.js";

const word = new Uint32Array(1);
const real = new Float32Array(word.buffer);

/** The float16 nearest to a number, ties to even, as bits. */
export function float16Bits(value: number): number {
  real[0] = value;
  const bits = word[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Adding 0.5 puts the last kept bit of a subnormal at the end of the float32, which then rounds it.
    real[0] = Math.abs(value) + 0.5;
    return sign | (word[0]! - 0x3f000000);
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

/** The number that float16 bits stand for. */
export function float16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The bfloat16 nearest to a number, ties to even, as bits. */
export function bfloat16Bits(value: number): number {
  real[0] = value;
  const bits = word[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

let float16Table: Float32Array | undefined;

/** float16 bits as float32 numbers; the 65,536 possible values are looked up. */
export function float16ToFloat32(bits: Uint16Array): Float32Array {
  float16Table ??= Float32Array.from({ length: 65_536 }, (_, i) => float16Value(i));
  const table = float16Table;
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i += 1) out[i] = table[bits[i]!]!;
  return out;
}

/** bfloat16 bits as float32 numbers, exactly. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array {
  const out = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i += 1) out[i] = bits[i]! << 16;
  return new Float32Array(out.buffer);
}

export function float32ToFloat16(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i += 1) out[i] = float16Bits(values[i]!);
  return out;
}

export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i += 1) out[i] = bfloat16Bits(values[i]!);
  return out;
}

/** The elements of a tensor as float32: the live array of a float32 tensor, a converted copy of any other float type. */
export function asFloat32({ dtype, data }: HostTensor): Float32Array {
  if (dtype === "bfloat16") return bfloat16ToFloat32(data as Uint16Array);
  if (dtype === "float16") return float16ToFloat32(data as Uint16Array);
  return data as Float32Array;
}
