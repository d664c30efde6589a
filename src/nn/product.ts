import type { BytePart } from "../base/byte-matrix.js";
import type { PackedPart, Packing } from "../base/packed-matrix.js";
import type { TensorType } from "../base/tensor-type.js";
import { inputValue, type Value } from "../graph/value.js";
import type { CodedWeight } from "./coded-weight.js";
import type { Int8Matrix, Int8Side } from "../steps/to-int8.js";
import type { Int8Part } from "./int8-weights.js";
import type { Module } from "./module.js";
import type { Parameter } from "./parameter.js";
import type { Trace } from "./trace.js";

/**
 * x Wᵀ, where W (out, in) is a module's own weight or what the active adapters put in its place. A weight that is frozen and not
 * replaced may be read as it is kept, in codes or in the blocks of a file, or in 8 bits.
 *
 * Shapes: x (N, in) → (N, out).
 */
export function product(t: Trace, module: Module, x: Value): Value {
  const weight = t.standing(module, "weight");
  const replaced = t.isReplaced(module, "weight");
  if (weight.coded !== undefined && !replaced) return codedProduct(t, weight, weight.coded, x);
  const packing = t.products.packed === true && !replaced ? weight.blocks?.packing : undefined;
  const shared = t.shared.get(weight);
  if (packing !== undefined && shared?.x === x) return shared.product;
  if (packing !== undefined) return packedProduct(t, [weight], packing, x);
  const turned = module.transposed.includes("weight");
  const { int8 = false } = t.products;
  if (int8 !== false && !replaced && !weight.trainable)
    return (int8 === true ? int8Product : int8ForwardProduct)(t, weight, turned, x);
  // What stands in for a turned weight is turned back by whoever asks for it.
  return t.f.matmul(x, t.own(module, "weight"), turned ? {} : { transposeB: true });
}

/** Codes are inputs, so that layers share a graph. */
function codedProduct(t: Trace, weight: Parameter, coded: CodedWeight, x: Value): Value {
  const decoded = t.parameter(weight);
  return coded.product({
    f: t.f,
    x,
    read: (part) => t.storedParameter(part),
    inputGradient: (dy) => t.f.matmul(dy, decoded, coded.turned ? { transposeB: true } : {}),
  });
}

/**
 * Computes x Wᵀ of several modules at once, where their weights are kept in blocks of one kind and used as they are: `product` then
 * takes its part. One product with many rows is faster than several with few.
 */
export function shareProducts(t: Trace, modules: readonly Module[], x: Value): void {
  if (t.products.packed !== true) return;
  const families = new Map<string, Parameter[]>();
  for (const module of modules) {
    const weight = t.standing(module, "weight");
    if (weight.coded !== undefined || weight.blocks === undefined || t.isReplaced(module, "weight")) continue;
    const kind = JSON.stringify(weight.blocks.packing);
    families.set(kind, [...(families.get(kind) ?? []), weight]);
  }
  for (const weights of families.values()) {
    const packing = weights[0]!.blocks!.packing;
    if (weights.length < 2 || packing === undefined) continue;
    const all = packedProduct(t, weights, packing, x);
    let start = 0;
    for (const weight of weights) {
      const end = start + weight.shape[0]!;
      t.shared.set(weight, { x, product: t.f.slice(all, { axis: 1, start, end }) });
      start = end;
    }
  }
}

/** Codes and scales of the blocks are constants of the graph; rows of several weights follow each other. */
function packedProduct(t: Trace, parameters: readonly Parameter[], packing: Packing, x: Value): Value {
  const out = parameters.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const width = parameters[0]!.shape[1]!;
  const names = parameters.map(({ name }) => name).join(" and ");
  const part = (name: PackedPart | BytePart, type: TensorType): Value => {
    const value = inputValue(`${names} ${name}`, type);
    t.leaves.set(value, { kind: "packed", parameters, part: name });
    return value;
  };
  const rounds = (t.products.int8 ?? false) !== false;
  const blocks = width / packing.blockSize;
  const { bytes = false, steps = false } = t.products;
  const asBytes = steps ? packing.symmetric === true : bytes && rounds;
  if (asBytes && packing.digits === 2)
    return t.f.byteMatmul(
      x,
      part("byte bytes", { dtype: "uint8", shape: [out, blocks, packing.blockSize] }),
      part("byte scales", { dtype: "float32", shape: [out, blocks] }),
    );
  const real: TensorType = { dtype: "float32", shape: [out, blocks] };
  if (steps && packing.digits === 1 && packing.offsets)
    return t.f.packedOffsetMatmul(
      x,
      part("codes 0", { dtype: "uint8", shape: [out, blocks, packing.blockSize / 2] }),
      part("scales 0", real),
      part("offsets", real),
    );
  const multiply = rounds ? t.f.packedInt8Matmul : t.f.packedMatmul;
  const terms = Array.from({ length: packing.digits }, (_, digit) =>
    multiply(
      x,
      part(`codes ${digit}`, { dtype: "uint8", shape: [out, blocks, packing.blockSize / 2] }),
      part(`scales ${digit}`, real),
    ),
  );
  if (packing.offsets) {
    const sums = sumsOfBlocks(t, x, blocks, packing.blockSize); // (N, in / block)
    terms.push(t.f.matmul(sums, part("offsets", real), { transposeB: true }));
  }
  return terms.reduce((sum, term) => t.f.add(sum, term));
}

/** Sums of x (N, in) over the blocks of its rows. */
function sumsOfBlocks(t: Trace, x: Value, blocks: number, blockSize: number): Value {
  const key = `${x.id} ${blocks}`;
  let sums = t.blockSums.get(key);
  if (sums === undefined) {
    const split = t.f.reshape(x, { shape: [x.type.shape[0]!, blocks, blockSize] });
    sums = t.f.sum(split, { axis: 2 });
    t.blockSums.set(key, sums);
  }
  return sums;
}

/** One side of a weight in 8 bits. Codes are inputs, so that layers share a graph. */
function int8Side(t: Trace, weight: Parameter, side: Int8Side, sides: readonly Int8Side[]): [Value, Value] {
  const [rows, columns] = weight.shape as [number, number];
  const shape = side === "asStored" ? [rows, columns] : [columns, rows];
  const part = (what: keyof Int8Matrix, type: TensorType): Value => {
    const name: Int8Part = `${side} ${what}`;
    const value = inputValue(`${weight.name} ${name}`, type);
    t.leaves.set(value, { kind: "int8", parameter: weight, part: name, sides });
    return value;
  };
  return [
    part("codes", { dtype: "int8", shape }),
    part("scales", { dtype: "float32", shape: shape.slice(1) }),
  ];
}

/** The gradient reads the other side. */
function int8Product(t: Trace, weight: Parameter, turned: boolean, x: Value): Value {
  const sides: readonly Int8Side[] = ["asStored", "turned"];
  const asStored = int8Side(t, weight, "asStored", sides);
  const other = int8Side(t, weight, "turned", sides);
  return turned ? t.f.int8Matmul(x, ...asStored, ...other) : t.f.int8Matmul(x, ...other, ...asStored);
}

/** The gradient reads the weight in floats. */
function int8ForwardProduct(t: Trace, weight: Parameter, turned: boolean, x: Value): Value {
  const side: Int8Side = turned ? "asStored" : "turned";
  return t.f.int8ForwardMatmul(x, ...int8Side(t, weight, side, [side]), {
    inputGradient: (dy) => t.f.matmul(dy, t.parameter(weight), turned ? { transposeB: true } : {}),
  });
}
