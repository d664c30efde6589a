// Kinds of blocks of 32 codes in files, by their numbers in ggml; the third that kernels read is Q4_0.

export const Q4_1 = 3;
export const Q8_0 = 8;

/** Bytes of a block. */
export function blockBytes(kind: i32): usize {
  return kind == Q8_0 ? 34 : kind == Q4_1 ? 20 : 18;
}
