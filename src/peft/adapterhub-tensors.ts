import { CheckpointError } from "../base/errors.js";
import { findTensor } from "../files/find-tensor.js";
import type { TensorFile } from "../files/tensor-file.js";
import type { AdapterHubNames } from "./adapterhub-names.js";

/** A norm before the bottleneck is there twice, as `adapter_norm_before` and as the first step of `adapter_down`. */
const twice = (tensor: string): string | undefined => {
  const other = tensor.replace(/\.adapter_down\.0\.(weight|bias)$/, ".adapter_norm_before.$1");
  return other === tensor ? undefined : other;
};

/** Whether two tensors of a file have the same elements. */
function same(file: TensorFile, a: string, b: string): boolean {
  const [x, y] = [file.read(a), file.read(b)];
  return x.data.length === y.data.length && (x.data as Float32Array).every((value, i) => value === y.data[i]);
}

/**
 * A file of AdapterHub under the names that tensors have here; heads keep their own names.
 *
 * @throws {@link CheckpointError} `tensor_twice` where it holds a norm twice and the two differ
 */
export function renamedTensors(file: TensorFile, names: AdapterHubNames, head?: TensorFile): TensorFile {
  const sources = new Map<string, readonly [file: TensorFile, name: string]>();
  for (const name of file.tensors.keys()) {
    const other = twice(name);
    if (other !== undefined && file.tensors.has(other)) {
      if (same(file, name, other)) continue;
      throw new CheckpointError({
        code: "tensor_twice",
        summary: `${file.path} holds one norm under two names, and the two differ.`,
        facts: [["names", `${name}, ${other}`]],
        fixes: ["save the adapter again with adapters: save_adapter(folder, name)"],
        fields: { file: file.path, names: [name, other] },
      });
    }
    sources.set(names.toHere(name) ?? name, [file, name]);
  }
  for (const name of head?.tensors.keys() ?? []) sources.set(`base_model.model.${name}`, [head!, name]);
  return {
    path: file.path,
    tensors: new Map([...sources].map(([name, [from, original]]) => [name, from.tensors.get(original)!])),
    read(name) {
      const [from, original] = findTensor(sources, name, file.path);
      return from.read(original);
    },
    close() {
      file.close();
      head?.close();
    },
  };
}
