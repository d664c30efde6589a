import type { HostTensor } from "../base/host-tensor.js";
import type { DType } from "../base/tensor-type.js";

/** An open file of tensors by name. */
export interface TensorFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<
    string,
    { readonly dtype: DType; readonly shape: readonly number[]; readonly byteLength: number }
  >;
  read(name: string): HostTensor;
  close(): void;
}
