import { elementCount, type HostTensor, hostTensor, viewData } from "../base/host-tensor.js";
import { BYTES_PER_ELEMENT } from "../base/tensor-type.js";
import { findTensor } from "./find-tensor.js";
import { openMappedFile } from "./mapped-file.js";
import { readSafetensorsHeader, type SafetensorsHeader } from "./safetensors-header.js";

/** An open safetensors file: the header is read, the tensors are not. */
export interface SafetensorsFile extends SafetensorsHeader {
  readonly path: string;
  /** The tensor in place, copied only where the file does not align it. */
  read(name: string): HostTensor;
  /** Lets go of memory that a tensor was read into; it is read again when it is needed. */
  forget(name: string): void;
  close(): void;
}

/**
 * Opens a safetensors file. Every length in the header is checked against the file before it is used.
 *
 * @throws {@link CheckpointError} `file_missing`, `file_truncated`, `not_safetensors`, `header_lies`, `tensor_dtype`
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await openMappedFile(path);
  try {
    const { tensors, metadata } = readSafetensorsHeader(file);
    return {
      path,
      tensors,
      metadata,
      read(name) {
        const { dtype, shape, offset, byteLength } = findTensor(tensors, name, path);
        const bytes = file.bytes(offset, byteLength);
        const aligned = bytes.byteOffset % BYTES_PER_ELEMENT[dtype] === 0 ? bytes : bytes.slice();
        return hostTensor(
          dtype,
          shape,
          viewData(dtype, aligned.buffer, aligned.byteOffset, elementCount(shape)),
        );
      },
      forget(name) {
        const { offset, byteLength } = findTensor(tensors, name, path);
        file.forget(offset, byteLength);
      },
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}
