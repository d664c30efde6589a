import { CheckpointError, UnsupportedError } from "../base/errors.js";
import { byteMatrix } from "../base/byte-matrix.js";
import { type HostTensor, elementCount, hostTensor } from "../base/host-tensor.js";
import { packMatrix, type StoredBlocks } from "../base/packed-matrix.js";
import type { Checkpoint } from "./checkpoint.js";
import { blockTypes } from "./gguf-blocks.js";
import { blockCodes } from "./gguf-codes.js";
import { findTensor } from "./find-tensor.js";
import { ggufConfig, ggufGenerationConfig } from "./gguf-config.js";
import { type GgufHeader, type GgufTensor, readGgufHeader } from "./gguf-header.js";
import { huggingFaceName, interleavedRow, ROPE_DIVISORS } from "./gguf-names.js";
import { ggufTokenizer } from "./gguf-tokenizer.js";
import { openMappedFile } from "./mapped-file.js";

/** What files in use hold and this reader does not decode. */
const TYPE_NAMES: Readonly<Record<number, string>> = {
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  29: "IQ1_M",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
};

/** Bytes of a tensor, or the error of one that cannot be decoded or lies beyond the end of the file. */
function byteLength(tensor: GgufTensor, path: string, fileSize: number): number {
  const type = blockTypes[tensor.type];
  if (type === undefined) {
    throw new CheckpointError({
      code: "tensor_dtype",
      summary: `Tensor ${tensor.name} of ${path} has the ggml type ${TYPE_NAMES[tensor.type] ?? tensor.type}, which cannot be decoded.`,
      facts: [
        [
          "known",
          Object.values(blockTypes)
            .map(({ name }) => name)
            .join(", "),
        ],
      ],
      fixes: ["take another file of the same model, such as Q8_0, Q4_K_M or F16"],
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

/** A file that is one of several would lack most of its tensors. */
function refuseParts({ metadata }: GgufHeader, path: string): void {
  const count = Number(metadata.get("split.count") ?? 1);
  if (count <= 1) return;
  throw new UnsupportedError({
    code: "gguf_split",
    summary: `${path} is one of ${count} parts of a model; parts cannot be read.`,
    fixes: [`join them first: llama-gguf-split --merge ${path} model.gguf`],
    fields: { path, count },
  });
}

function repeated(name: string, path: string): CheckpointError {
  return new CheckpointError({
    code: "header_lies",
    summary: `The header of ${path} describes tensor ${name} twice.`,
    fixes: ["fetch the file again"],
    fields: { path, tensor: name },
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
    refuseParts(header, path);
    const decode = (
      tensor: GgufTensor,
      data: Float32Array = new Float32Array(elementCount(tensor.shape)),
    ): Float32Array => {
      const length = byteLength(tensor, path, file.byteLength);
      const { decode: decodeBlocks } = blockTypes[tensor.type]!;
      const heads = interleavedHeads(header, tensor.name);
      if (heads === undefined) decodeBlocks(file.bytes(tensor.offset, length), data);
      else {
        const [rows, width = 1] = tensor.shape as [number, number?];
        for (let row = 0; row < rows; row += 1) {
          const at = tensor.offset + (interleavedRow(row, rows / heads) * length) / rows;
          decodeBlocks(file.bytes(at, length / rows), data.subarray(row * width, (row + 1) * width));
        }
      }
      file.forget(tensor.offset, length);
      return data;
    };
    const tensors = new Map<string, GgufTensor>();
    let divisors: Float32Array | undefined;
    for (const tensor of header.tensors) {
      // Tensors that no model here has keep their name, so that loading can say what is not used.
      const name = huggingFaceName(tensor.name) ?? tensor.name;
      if (tensors.has(name)) throw repeated(tensor.name, path);
      byteLength(tensor, path, file.byteLength);
      if (name === ROPE_DIVISORS) divisors = decode(tensor);
      else tensors.set(name, tensor);
    }
    const config = ggufConfig(header, path, divisors);
    const generationConfig = ggufGenerationConfig(header);
    const read = (name: string): HostTensor => {
      const tensor = findTensor(tensors, name, path);
      return hostTensor("float32", tensor.shape, decode(tensor));
    };
    const packed = (name: string): StoredBlocks | undefined => {
      const tensor = findTensor(tensors, name, path);
      const codes = blockCodes[tensor.type];
      const [rows, width] = tensor.shape;
      if (codes === undefined || rows === undefined || width === undefined) return undefined;
      const length = byteLength(tensor, path, file.byteLength);
      const heads = interleavedHeads(header, tensor.name);
      const stored = (row: number): number => (heads === undefined ? row : interleavedRow(row, rows / heads));
      const bytesOf = (row: number): Uint8Array =>
        file.bytes(tensor.offset + (stored(row) * length) / rows, length / rows);
      return {
        packing: codes.packing,
        raw: {
          kind: tensor.type,
          bytesPerRow: length / rows,
          copy(out, firstRow) {
            const first = tensor.offset + (firstRow * length) / rows;
            if (heads === undefined) out.set(file.bytes(first, out.length));
            else
              for (let at = 0; at < out.length; at += length / rows)
                out.set(bytesOf(firstRow + (at * rows) / length), at);
            file.forget(
              heads === undefined ? first : tensor.offset,
              heads === undefined ? out.length : length,
            );
          },
        },
        read() {
          const { packing, pack } = codes;
          const matrix = packMatrix(
            [rows, width],
            packing,
            (row, into) => codes.read(bytesOf(row), into),
            pack && ((row, packed, to, into) => pack(bytesOf(row), packed, to, into)),
          );
          file.forget(tensor.offset, length);
          return matrix;
        },
        readBytes() {
          const matrix = byteMatrix([rows, width], codes.packing, (row, into) =>
            codes.read(bytesOf(row), into),
          );
          file.forget(tensor.offset, length);
          return matrix;
        },
        rows(indices) {
          const data = new Float32Array(indices.length * width);
          for (const [i, row] of indices.entries())
            blockTypes[tensor.type]!.decode(bytesOf(row), data.subarray(i * width, (i + 1) * width));
          return data;
        },
      };
    };
    let tokenizer: ReturnType<typeof ggufTokenizer> | null = null;
    return {
      path,
      format: "gguf",
      names: () => [...tensors.keys()],
      describe(name) {
        const { shape, type } = findTensor(tensors, name, path);
        return { dtype: "float32", shape, storedAs: blockTypes[type]!.name };
      },
      read,
      decode(name, out) {
        decode(findTensor(tensors, name, path), out);
      },
      packed,
      config: () => config,
      tokenizerFiles() {
        if (tokenizer === null) tokenizer = ggufTokenizer(header, path);
        return tokenizer;
      },
      generationConfig: () => generationConfig,
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}
