import type { Int8Rows } from "../base/coded-matrix.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import { LARGEST_CODE, roundRows } from "../base/int8-rows.js";
import type { Value } from "../graph/value.js";
import type { MatrixLayout } from "./bnb4-weight.js";
import { type CodedProduct, type CodedWeight, turn } from "./coded-weight.js";
import { Parameter } from "./parameter.js";

/**
 * A weight in whole numbers of 8 bits by rows, as LLM.int8() keeps it. Products are those of float32 rows with the decoded weight; outliers
 * need no treatment of their own then.
 */
export class Int8RowsWeight implements CodedWeight {
  readonly turned: boolean;
  readonly #codes: Parameter;
  readonly #scales: Parameter;
  #made: Int8Rows | undefined;

  constructor(
    readonly layout: MatrixLayout,
    readonly make: () => Int8Rows,
  ) {
    const { out, width, turned } = layout;
    this.turned = turned;
    this.#codes = new Parameter([out, width]);
    this.#codes.defer("int8", () => hostTensor("int8", [out, width], this.#coded.codes));
    this.#scales = new Parameter([out]);
    this.#codes.name = "codes";
    this.#scales.name = "scales";
    this.#scales.defer("float32", () => {
      const scales = this.#coded.largest.map((size) => size / LARGEST_CODE);
      return hostTensor("float32", [out], scales);
    });
  }

  get #coded(): Int8Rows {
    this.#made ??= this.make();
    return this.#made;
  }

  get bytes(): number {
    const { codes, largest } = this.#coded;
    return codes.byteLength + 2 * largest.byteLength;
  }

  get config(): Readonly<Record<string, unknown>> {
    return { quant_method: "bitsandbytes", load_in_8bit: true, load_in_4bit: false };
  }

  product({ f, x, read }: CodedProduct): Value {
    const codes = f.cast(read(this.#codes), { to: "float32" });
    return f.mul(f.matmul(x, codes, { transposeB: true }), read(this.#scales)); // (N, out)
  }

  decode(out: Float32Array): void {
    const { out: rows, width, turned } = this.layout;
    const { codes, largest } = this.#coded;
    for (let i = 0; i < rows; i += 1) {
      const scale = Math.fround(largest[i]! / LARGEST_CODE);
      for (let j = 0; j < width; j += 1)
        out[turned ? j * rows + i : i * width + j] = codes[i * width + j]! * scale;
    }
  }

  recode(values: Float32Array): Int8RowsWeight {
    const { out, width, turned } = this.layout;
    let rows = values;
    if (turned) {
      rows = new Float32Array(values.length);
      turn(values, width, out, rows);
    }
    const coded = roundRows(rows, out, width);
    return new Int8RowsWeight(this.layout, () => coded);
  }

  stored(): readonly (readonly [string, HostTensor])[] {
    const { out, width } = this.layout;
    const { codes, largest } = this.#coded;
    return [
      ["weight", hostTensor("int8", [out, width], codes)],
      ["SCB", hostTensor("float32", [out], largest)],
      ["weight_format", hostTensor("uint8", [], Uint8Array.of(0))],
    ];
  }
}
