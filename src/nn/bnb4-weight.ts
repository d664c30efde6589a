import {
  type Bnb4,
  type Bnb4Format,
  blockCount,
  codedBytes,
  decode4,
  decodeScales,
  quantise4,
} from "../base/bnb4.js";
import { codeBooks } from "../base/code-books.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import type { Value } from "../graph/value.js";
import { type CodedProduct, type CodedWeight, turn } from "./coded-weight.js";
import { Parameter } from "./parameter.js";

/** The sizes of a matrix, and whether the module keeps it as (in, out). */
export interface MatrixLayout {
  readonly out: number;
  readonly width: number;
  readonly turned: boolean;
}

/**
 * A weight in codes of 4 bits, as bitsandbytes keeps them. Its codes are made, or read, when they are first used.
 *
 * W (out, in) = book[code] · absmax, in blocks along its rows, one after another.
 */
export class Bnb4Weight implements CodedWeight {
  readonly turned: boolean;
  readonly #codes: Parameter;
  readonly #absmax: Parameter;
  #made: Bnb4 | undefined;

  constructor(
    readonly layout: MatrixLayout,
    readonly format: Bnb4Format,
    readonly make: () => Bnb4,
  ) {
    this.turned = layout.turned;
    const size = layout.out * layout.width;
    const blocks = blockCount({ size, blockSize: format.blockSize });
    this.#codes = new Parameter([Math.ceil(size / 2)]);
    this.#codes.defer("uint8", () => hostTensor("uint8", this.#codes.shape, this.#coded.codes));
    this.#absmax = new Parameter([blocks]);
    this.#codes.name = "codes";
    this.#absmax.name = "absmax";
    // Scales that are kept in codes themselves are decoded for each use.
    this.#absmax.defer(
      "float32",
      () => hostTensor("float32", [blocks], this.#coded.absmax as Float32Array),
      format.nested ? { decode: (out) => decodeScales(this.#coded.absmax, out), kept: false } : {},
    );
  }

  get #coded(): Bnb4 {
    this.#made ??= this.make();
    return this.#made;
  }

  get bytes(): number {
    return codedBytes(this.#coded);
  }

  get config(): Readonly<Record<string, unknown>> {
    const { quantType, nested } = this.format;
    return {
      quant_method: "bitsandbytes",
      load_in_4bit: true,
      load_in_8bit: false,
      bnb_4bit_quant_type: quantType,
      bnb_4bit_use_double_quant: nested,
      bnb_4bit_compute_dtype: "float32",
      bnb_4bit_quant_storage: "uint8",
    };
  }

  product({ f, x, read, inputGradient }: CodedProduct): Value {
    const { out, width } = this.layout;
    const { blockSize, quantType } = this.format;
    const attrs = { out, width, blockSize, quantType, inputGradient };
    return f.bnb4Matmul(x, read(this.#codes), read(this.#absmax), attrs);
  }

  decode(out: Float32Array): void {
    const { out: rows, width, turned } = this.layout;
    if (!turned) {
      decode4(this.#coded, out);
      return;
    }
    const values = new Float32Array(rows * width);
    decode4(this.#coded, values);
    turn(values, rows, width, out);
  }

  recode(values: Float32Array): Bnb4Weight {
    const { out, width, turned } = this.layout;
    let rows = values;
    if (turned) {
      rows = new Float32Array(values.length);
      turn(values, width, out, rows);
    }
    const coded = quantise4(rows, this.format);
    return new Bnb4Weight(this.layout, this.format, () => coded);
  }

  stored(): readonly (readonly [string, HostTensor])[] {
    const { codes, absmax, quantType, blockSize } = this.#coded;
    const { out, width } = this.layout;
    const real = (values: Float32Array): HostTensor => hostTensor("float32", [values.length], values);
    const bytes = (values: Uint8Array): HostTensor => hostTensor("uint8", [values.length], values);
    const plain = absmax instanceof Float32Array;
    const state = {
      quant_type: quantType,
      blocksize: blockSize,
      dtype: "float32",
      shape: [out, width],
      ...(plain
        ? {}
        : {
            nested_blocksize: absmax.blockSize,
            nested_dtype: "float32",
            nested_offset: absmax.offset,
          }),
    };
    return [
      ["weight", hostTensor("uint8", [codes.length, 1], codes)],
      ["weight.absmax", plain ? real(absmax) : bytes(absmax.codes)],
      ...(plain
        ? []
        : ([
            ["weight.nested_absmax", real(absmax.absmax)],
            ["weight.nested_quant_map", real(absmax.map)],
          ] as const)),
      ["weight.quant_map", real(codeBooks[quantType])],
      [
        `weight.quant_state.bitsandbytes__${quantType}`,
        bytes(new TextEncoder().encode(JSON.stringify(state))),
      ],
    ];
  }
}
