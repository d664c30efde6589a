import { readFile } from "node:fs/promises";
import { CheckpointError } from "../base/errors.js";
import { elementCount, hostTensor, viewData } from "../base/host-tensor.js";
import { BYTES_PER_ELEMENT, type DType } from "../base/tensor-type.js";
import { findTensor } from "./find-tensor.js";
import { storedFiles } from "./stored-zip.js";
import type { TensorFile } from "./tensor-file.js";
import { type PickledTensor, readTorchPickle } from "./torch-pickle.js";

const STORAGES: Readonly<Record<string, DType>> = {
  "torch DoubleStorage": "float64",
  "torch FloatStorage": "float32",
  "torch HalfStorage": "float16",
  "torch BFloat16Storage": "bfloat16",
  "torch LongStorage": "int64",
  "torch IntStorage": "int32",
  "torch CharStorage": "int8",
  "torch ByteStorage": "uint8",
  "torch BoolStorage": "bool",
};

function damaged(path: string, reason: string): CheckpointError {
  return new CheckpointError({
    code: "torch_file",
    summary: `${path} cannot be read as a file of torch: ${reason}.`,
    fixes: ["save it again with a recent torch, or as safetensors"],
    fields: { path, reason },
  });
}

/** The bytes of a tensor in the order of its elements. */
function elementsOf(
  bytes: Uint8Array,
  { offset, shape, strides }: PickledTensor,
  width: number,
): Uint8Array | undefined {
  const count = elementCount(shape);
  // Overlapping elements would let a small file ask for a large tensor.
  if (count * width > bytes.length) return undefined;
  const out = new Uint8Array(count * width);
  for (let i = 0; i < count; i += 1) {
    let [rest, at] = [i, offset];
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      at += (rest % shape[axis]!) * strides[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    if (at < 0 || (at + 1) * width > bytes.length) return undefined;
    out.set(bytes.subarray(at * width, (at + 1) * width), i * width);
  }
  return out;
}

/**
 * Opens a file that `torch.save` wrote of tensors by name. What it holds of Python is not run: anything but tensors is an error.
 *
 * @throws {@link CheckpointError} `pickle_other`, `torch_file` or `zip_damaged`
 */
export async function openTorchFile(path: string): Promise<TensorFile> {
  const bytes = new Uint8Array(await readFile(path));
  if (bytes[0] !== 0x50 || bytes[1] !== 0x4b)
    throw damaged(path, "it is none of the archives that torch writes from version 1.6 on");
  const files = storedFiles(bytes, path);
  const index = [...files.keys()].find((name) => name.endsWith("/data.pkl"));
  if (index === undefined) throw damaged(path, "its archive holds no data.pkl");
  const root = index.slice(0, -"data.pkl".length);
  const order = files.get(`${root}byteorder`);
  if (order !== undefined && new TextDecoder().decode(order) !== "little")
    throw damaged(path, "it comes from a machine of another byte order");
  const pickled = readTorchPickle(files.get(index)!, path);
  const tensors = new Map(
    [...pickled].map(([name, tensor]) => {
      const dtype = STORAGES[tensor.storage.type];
      if (dtype === undefined)
        throw damaged(path, `${name} is of ${tensor.storage.type.replace(" ", ".")}, a type unknown here`);
      const { shape } = tensor;
      const byteLength = elementCount(shape) * BYTES_PER_ELEMENT[dtype];
      return [name, { dtype, shape, byteLength, tensor }] as const;
    }),
  );
  return {
    path,
    tensors,
    read(name) {
      const { dtype, shape, tensor } = findTensor(tensors, name, path);
      const storage = files.get(`${root}data/${tensor.storage.key}`);
      const elements = storage && elementsOf(storage, tensor, BYTES_PER_ELEMENT[dtype]);
      if (elements === undefined) throw damaged(path, `the elements of ${name} are not there`);
      return hostTensor(dtype, shape, viewData(dtype, elements.buffer, 0, elementCount(shape)));
    },
    close: () => undefined,
  };
}
