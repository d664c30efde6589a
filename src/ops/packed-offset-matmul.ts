import { ndArray } from "../graph/nd-array.js";
import { blockSteps } from "../steps/products.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";
import { packedMatmul } from "./packed-matmul.js";

const { definition } = packedMatmul;

/**
 * y = x Wᵀ with W in codes of 4 bits and offsets of its blocks, W = scale (code − 8) + offset: `packedMatmul`, and the sums of x over
 * blocks times the offsets.
 *
 * Shapes: x (N, in), codes (out, in / b, b / 2) uint8, scales and offsets (out, in / b) → (N, out); b is 16 or more and a power of two.
 */
export const packedOffsetMatmul: Op<4> = defineOp({
  name: "packedOffsetMatmul",
  arity: 4,
  infer([x, codes, scales, offsets]) {
    if (String(offsets.shape) !== String(scales.shape) || offsets.dtype !== scales.dtype)
      throw shapeMismatch("packedOffsetMatmul", "scales and offsets differ", [scales, offsets]);
    return definition.infer([x, codes, scales], {});
  },
  gradient: ({ f, dy, inputs: [x, codes, scales, offsets] }) => [
    () => {
      const [out, blocks] = scales.type.shape as [number, number];
      const width = x.type.shape[1] as number;
      const w = f.reshape(f.unpack(codes, scales), { shape: [out, blocks, width / blocks] });
      const whole = f.add(w, f.unsqueeze(offsets, { axis: 2 }));
      return f.matmul(dy, f.reshape(whole, { shape: [out, width] }), {});
    },
    undefined,
    undefined,
    undefined,
  ],
  lower({ emit, inputs: [x, codes, scales, offsets], types }) {
    const product = definition.lower({
      emit,
      inputs: [x, codes, scales],
      types: [types[0], types[1], types[2]],
      attrs: {},
      type: types[0],
    }) as string;
    const [, blocks] = types[2].shape as [number, number];
    const split = emit.node("Reshape", [x, emit.constant("int64", [3], [0, blocks, -1])]);
    const sums = emit.node("ReduceSum", [split, emit.constant("int64", [1], [2])], {
      attributes: { keepdims: 0 },
    });
    const turned = emit.node("Transpose", [offsets], { attributes: { perm: [1, 0] } });
    return emit.node("Add", [product, emit.node("MatMul", [sums, turned])]);
  },
  steps: ({ emit, inputs: [x, codes, scales, offsets] }) => blockSteps(emit, [x, codes, scales, offsets], 4),
  evaluate([x, codes, scales, offsets]) {
    const y = definition.evaluate([x, codes, scales], {});
    const [out, blocks] = offsets.dims as [number, number];
    const [rows, width] = x.dims as [number, number];
    const size = width / blocks;
    for (let i = 0; i < rows; i += 1)
      for (let k = 0; k < width; k += 1)
        for (let j = 0; j < out; j += 1)
          y.data[i * out + j]! += x.data[i * width + k]! * offsets.data[j * blocks + Math.floor(k / size)]!;
    return ndArray(y.dims, y.data);
  },
  multiplies: "float32",
  samples: definition.samples.map(({ inputs, attrs }) => ({ inputs: [...inputs, inputs[2]!], attrs })),
  float32Only: true,
  codes: true,
});
