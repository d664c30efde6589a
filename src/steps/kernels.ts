/** Kernels of kernels/index.ts, in its order. */
export const KERNELS = [
  "unary",
  "binary",
  "copy",
  "gather",
  "norm",
  "sums",
  "dense",
  "denseTurned",
  "round",
  "blocks",
  "append",
  "rotate",
  "unpack",
  "denseHalf",
  "gatherHalf",
  "attend",
  "decode",
  "magnitudes",
  "codesAsStored",
  "codesTurned",
] as const;

export type KernelName = (typeof KERNELS)[number];

/** Functions of one operand, in the order of kernels/elementwise.ts. */
export const UNARY = [
  "scale",
  "offset",
  "silu",
  "sigmoid",
  "tanh",
  "relu",
  "exp",
  "gelu",
  "geluTanh",
] as const;

export type UnaryName = (typeof UNARY)[number];

/** Functions of two operands, in the order of kernels/elementwise.ts. */
export const BINARY = ["add", "sub", "mul", "div"] as const;

export type BinaryName = (typeof BINARY)[number];
