import type { Bnb4, Bnb4Format } from "./bnb4.js";

/** A matrix in whole numbers of 8 bits, with the largest magnitude of each row: W = codes · largest / 127. */
export interface Int8Rows {
  /** (out, in) */
  readonly codes: Int8Array;
  /** (out) */
  readonly largest: Float32Array;
}

/** A matrix W (out, in) that a file keeps in codes. */
export type StoredCodes = { readonly shape: readonly [out: number, width: number] } & (
  | { readonly kind: "bnb4"; readonly format: Bnb4Format; read(): Bnb4 }
  | { readonly kind: "int8Rows"; read(): Int8Rows }
);
