import { CheckpointError } from "../base/errors.js";
import { type HostTensor, elementCount, hostTensor } from "../base/host-tensor.js";
import type { Checkpoint } from "./checkpoint.js";
import { blockTypes } from "./gguf-blocks.js";
import { ggufConfig } from "./gguf-config.js";
import { type GgufHeader, type GgufTensor, readGgufHeader } from "./gguf-header.js";
import { huggingFaceName, uninterleaveHeads } from "./gguf-names.js";
import { ggufTokenizer } from "./gguf-tokenizer.js";
import { openMappedFile } from "./mapped-file.js";

/** Bytes of a tensor, or the error of one that cannot be decoded or lies beyond the end of the file. */
function byteLength(tensor: GgufTensor, path: string, fileSize: number): number {
  const type = blockTypes[tensor.type];
  if (type === undefined) {
    throw new CheckpointError({
      code: "tensor_dtype",
      summary: `Tensor ${tensor.name} of ${path} has the ggml type ${tensor.type}, which cannot be decoded.`,
      facts: [
        [
          "known",
          Object.values(blockTypes)
            .map(({ name }) => name)
            .join(", "),
        ],
      ],
      fields: { path, tensor: tensor.name, type: tensor.type },
    });
  }
  const count = elementCount(tensor.shape);
  const length = (count / type.values) * type.bytes;
  if (count % type.values === 0 && tensor.offset + length <= fileSize) return length;
  const lies = count % type.values !== 0;
  throw new CheckpointError({
    code: lies ? "header_lies" : "file_truncated",
    summary: lies
      ? `Tensor ${tensor.name} has ${count.toLocaleString("en")} elements, which ${type.name} blocks of ${type.values} cannot hold.`
      : `The file ends before tensor ${tensor.name} does.`,
    facts: [
      ["file", path],
      ["expected", `at least ${(tensor.offset + length).toLocaleString("en")} bytes`],
      ["got", `${fileSize.toLocaleString("en")} bytes`],
    ],
    fixes: ["fetch the file again; a download that broke off leaves such a file"],
    fields: { path, tensor: tensor.name },
  });
}

/** Number of heads whose rows a tensor has interleaved; undefined for all others. */
function interleavedHeads(header: GgufHeader, name: string): number | undefined {
  if (header.metadata.get("general.architecture") !== "llama") return undefined;
  const part = /\.attn_([qk])\.(?:weight|bias)$/.exec(name)?.[1];
  if (part === undefined) return undefined;
  const heads = Number(header.metadata.get("llama.attention.head_count"));
  return part === "q" ? heads : Number(header.metadata.get("llama.attention.head_count_kv") ?? heads);
}

/** Opens a GGUF file as a checkpoint: tensors are decoded to float32 when they are read. */
export async function openGguf(path: string): Promise<Checkpoint> {
  const file = await openMappedFile(path);
  try {
    const header = readGgufHeader(file.bytes(0, file.byteLength), path);
    const config = ggufConfig(header, path);
    const tensors = new Map<string, GgufTensor>();
    for (const tensor of header.tensors) {
      byteLength(tensor, path, file.byteLength);
      const name = huggingFaceName(tensor.name);
      if (name !== undefined) tensors.set(name, tensor);
    }
    const read = (name: string): HostTensor => {
      const tensor = tensors.get(name)!;
      const bytes = file.bytes(tensor.offset, byteLength(tensor, path, file.byteLength));
      let data: Float32Array = new Float32Array(elementCount(tensor.shape));
      blockTypes[tensor.type]!.decode(bytes, data);
      file.forget(tensor.offset, bytes.length);
      const heads = interleavedHeads(header, tensor.name);
      if (heads !== undefined) data = uninterleaveHeads(data, heads, tensor.shape[1] ?? 1);
      return hostTensor("float32", tensor.shape, data);
    };
    let tokenizer: ReturnType<typeof ggufTokenizer> | null = null;
    return {
      path,
      format: "gguf",
      names: () => [...tensors.keys()],
      describe(name) {
        const { shape, type } = tensors.get(name)!;
        return { dtype: "float32", shape, storedAs: blockTypes[type]!.name };
      },
      read,
      config: () => config,
      tokenizerFiles() {
        if (tokenizer === null) tokenizer = ggufTokenizer(header, path);
        return tokenizer;
      },
      generationConfig: () => undefined,
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}
