import { type Bnb4, blockCount, decode4, type NestedScales } from "../base/bnb4.js";
import { codeBooks, type QuantType } from "../base/code-books.js";
import type { StoredCodes } from "../base/coded-matrix.js";
import { CheckpointError, UnsupportedError } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import { type HostTensor, tensorBytes, zeros } from "../base/host-tensor.js";
import { formatShape } from "../base/tensor-type.js";
import type { Checkpoint } from "./checkpoint.js";

/** What follows the name of a weight in codes of 4 bits: its settings as JSON in bytes. */
const STATE = /\.quant_state\.bitsandbytes__(\w+)$/;

/** Tensors beside a weight that say how to read it. */
const BESIDE =
  /\.weight\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.\w+)$|\.(SCB|weight_format)$/;

/** The settings that bitsandbytes writes beside a weight. */
interface QuantState {
  readonly quant_type: QuantType;
  readonly blocksize: number;
  readonly shape: readonly number[];
  readonly nested_blocksize?: number;
  readonly nested_offset?: number;
}

function damaged(path: string, name: string, what: string): CheckpointError {
  return new CheckpointError({
    code: "codes_damaged",
    summary: `${name} of ${path} cannot be decoded: ${what}.`,
    fixes: ["fetch the file again, or save the model anew with a current bitsandbytes"],
    fields: { path, tensor: name },
  });
}

/** Refuses weights that other programs have put into codes, instead of calling their tensors missing. */
function refuseOthers(checkpoint: Checkpoint): void {
  const config = checkpoint.config()["quantization_config"] as Readonly<Record<string, unknown>> | undefined;
  const method = config?.["quant_method"] ?? "bitsandbytes";
  if (method === "bitsandbytes") return;
  throw new UnsupportedError({
    code: "quantisation_unsupported",
    summary: `${checkpoint.path} holds weights in the codes of ${String(method)}, which cannot be read.`,
    facts: [["known", "bitsandbytes (nf4, fp4, int8); GGUF files"]],
    fixes: ["take the model that was quantised, and load it with loadIn4bit"],
    fields: { path: checkpoint.path, method },
  });
}

/** Reads the weights of one checkpoint that are in codes. */
class BnbReader {
  readonly #names: ReadonlySet<string>;
  /** Weights in codes of 4 bits, with the name of what is said of each. */
  readonly #states = new Map<string, string>();

  constructor(readonly file: Checkpoint) {
    this.#names = new Set(file.names());
    for (const name of this.#names) if (STATE.test(name)) this.#states.set(name.replace(STATE, ""), name);
  }

  stored(name: string): StoredCodes | undefined {
    const state = this.#states.get(name);
    if (state !== undefined) return this.#fourBits(name, state);
    const scales = name.replace(/weight$/, "SCB");
    return scales !== name && this.#names.has(scales) ? this.#eightBits(name, scales) : undefined;
  }

  #read(name: string): HostTensor {
    if (!this.#names.has(name)) throw damaged(this.file.path, name, "the file does not hold it");
    return this.file.read(name);
  }

  #state(stateName: string): QuantState {
    const { path } = this.file;
    let state: Partial<QuantState>;
    try {
      state = JSON.parse(new TextDecoder().decode(tensorBytes(this.#read(stateName)))) as Partial<QuantState>;
    } catch (error) {
      if (error instanceof CheckpointError) throw error;
      throw damaged(path, stateName, "it is no JSON");
    }
    const { quant_type: type, blocksize = 0, shape } = state;
    if (type === undefined || !Object.hasOwn(codeBooks, type))
      throw damaged(path, stateName, `its quant_type is ${JSON.stringify(type)}, and nf4 and fp4 are known`);
    if (!(Number.isInteger(blocksize) && blocksize > 0) || shape?.length !== 2)
      throw damaged(path, stateName, "it says no block size and no two sizes of a matrix");
    return state as QuantState;
  }

  #fourBits(name: string, stateName: string): StoredCodes {
    const state = this.#state(stateName);
    const [out, width] = state.shape as [number, number];
    const nested = this.#names.has(`${name}.nested_absmax`);
    const format = { quantType: state.quant_type, blockSize: state.blocksize, nested };
    const read = (): Bnb4 => {
      const size = out * width;
      const codes = tensorBytes(this.#read(name));
      const book = this.#read(`${name}.quant_map`).data as Float32Array;
      if (!codeBooks[format.quantType].every((value, i) => value === book[i]))
        throw damaged(this.file.path, `${name}.quant_map`, `it is not that of ${format.quantType}`);
      const absmax = nested ? this.#nested(name, state) : (this.#read(`${name}.absmax`).data as Float32Array);
      const blocks = blockCount({ size, blockSize: format.blockSize });
      const scales = absmax instanceof Float32Array ? absmax.length : absmax.codes.length;
      if (codes.length !== Math.ceil(size / 2) || scales !== blocks)
        throw damaged(
          this.file.path,
          name,
          `its sizes are not those of a matrix ${formatShape(state.shape)}`,
        );
      return { quantType: format.quantType, blockSize: format.blockSize, size, codes, absmax };
    };
    return { kind: "bnb4", shape: [out, width], format, read };
  }

  #nested(
    name: string,
    { nested_blocksize: blockSize = 0, nested_offset: offset }: QuantState,
  ): NestedScales {
    const codes = tensorBytes(this.#read(`${name}.absmax`));
    const absmax = this.#read(`${name}.nested_absmax`).data as Float32Array;
    const map = this.#read(`${name}.nested_quant_map`).data as Float32Array;
    if (offset === undefined || absmax.length !== Math.ceil(codes.length / blockSize) || map.length !== 256)
      throw damaged(this.file.path, `${name}.nested_absmax`, "its settings do not fit its sizes");
    return { codes, absmax, map, blockSize, offset };
  }

  #eightBits(name: string, scales: string): StoredCodes {
    const [out = 0, width = 0] = this.file.describe(name).shape;
    return {
      kind: "int8Rows",
      shape: [out, width],
      read: () => {
        const codes = this.#read(name).data as Int8Array;
        const largest = this.#read(scales).data as Float32Array;
        if (largest.length !== out)
          throw damaged(this.file.path, scales, `it has ${largest.length} scales for ${out} rows`);
        return { codes, largest };
      },
    };
  }
}

/** What a matrix in codes is called where its kind is shown. */
const shownKind = (stored: StoredCodes): string =>
  stored.kind === "bnb4" ? stored.format.quantType : "int8";

/** The float32 matrix (out, in) that codes stand for. */
function decoded(stored: StoredCodes): HostTensor {
  const tensor = zeros("float32", stored.shape);
  const out = tensor.data as Float32Array;
  if (stored.kind === "bnb4") decode4(stored.read(), out);
  else {
    const { codes, largest } = stored.read();
    const width = stored.shape[1];
    for (let i = 0; i < out.length; i += 1)
      out[i] = codes[i]! * Math.fround(largest[Math.floor(i / width)]! / 127);
  }
  return tensor;
}

/**
 * A checkpoint whose weights bitsandbytes may have put into codes: what lies beside a weight is taken with it, and the weight is what it
 * stands for. Codes are read in place.
 *
 * @throws {@link UnsupportedError} `quantisation_unsupported` for codes of other programs
 * @throws {@link CheckpointError} `codes_damaged` where a weight in codes is read that lacks something
 */
export function withBnbCodes(file: Checkpoint): Checkpoint {
  refuseOthers(file);
  const all = file.names();
  const beside = all.filter((name) => BESIDE.test(name));
  if (beside.length === 0) return file;
  const reader = new BnbReader(file);
  const names = all.filter((name) => !BESIDE.test(name));
  // A weight in bytes that nothing says how to read is no number of anything.
  const lost = names.filter(
    (name) => /^u?int8$/.test(file.describe(name).dtype) && reader.stored(name) === undefined,
  );
  if (lost.length > 0) throw damaged(file.path, firstFew(lost), "nothing says how its codes are to be read");
  return {
    ...file,
    names: () => names,
    describe(name) {
      const stored = reader.stored(name);
      if (stored === undefined) return file.describe(name);
      return { dtype: "float32", shape: stored.shape, storedAs: shownKind(stored) };
    },
    read(name) {
      const stored = reader.stored(name);
      return stored === undefined ? file.read(name) : decoded(stored);
    },
    coded: (name) => reader.stored(name),
  };
}
