import type { DType } from "../base/tensor-type.js";

/** Where the numbers of a value are: in the memory of the steps, each row of the last axis without gaps. */
export interface Cells {
  readonly address: number;
  /** The address of the value that they are all or a part of. */
  readonly origin: number;
  readonly dims: readonly number[];
  readonly dtype: DType;
  /** Elements from one row to the next: the last size, or more where it is a part of wider rows. */
  readonly stride: number;
}

/** The size of the last axis; 1 of a single number. */
export const widthOf = ({ dims }: Pick<Cells, "dims">): number => dims.at(-1) ?? 1;

/** Rows of the last axis. */
export const rowsOf = ({ dims }: Pick<Cells, "dims">): number => dims.slice(0, -1).reduce((a, b) => a * b, 1);

/** Whether rows follow each other without gaps. */
export const isDense = (cells: Cells): boolean => rowsOf(cells) <= 1 || cells.stride === widthOf(cells);

/** Whether numbers have 16 bits: weights alone, for kernels that read them so. */
export const isHalf = ({ dtype }: Pick<Cells, "dtype">): boolean =>
  dtype === "bfloat16" || dtype === "float16";
