import { CheckpointError } from "../base/errors.js";
import { suggest } from "../base/suggest.js";

/**
 * What a file says of a tensor.
 *
 * @throws {@link CheckpointError} `tensor_missing`, with the nearest names
 */
export function findTensor<T>(tensors: ReadonlyMap<string, T>, name: string, path: string): T {
  const found = tensors.get(name);
  if (found !== undefined) return found;
  const near = suggest(name, tensors.keys());
  throw new CheckpointError({
    code: "tensor_missing",
    summary: `${path} holds no tensor ${name}.`,
    facts: near.length > 0 ? [["nearest", near.join(", ")]] : [],
    fixes: ["check the name"],
    fields: { path, tensor: name },
  });
}
