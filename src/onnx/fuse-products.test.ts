import { expect, test } from "vitest";
import { inputValue } from "../graph/value.js";
import { ops as f } from "../ops/index.js";
import { findProductSums } from "./fuse-products.js";

const real = (name: string, ...shape: (number | string)[]) => inputValue(name, { dtype: "float32", shape });
const [x, w, c, bias] = [real("x", "N", 4), real("w", 3, 4), real("c", "N", 3), real("bias", 3)];
const product = f.matmul(x, w, { transposeB: true, alpha: 2 });

test("a product is added into a sum of its shape, on either side", () => {
  for (const sum of [f.add(c, product), f.add(product, c)]) {
    const { sums, products } = findProductSums({ inputs: [x, w, c], outputs: [sum], name: "g" });
    expect(sums.get(sum)).toEqual({ a: x, b: w, c, attrs: { transposeB: true, alpha: 2 } });
    expect([...products]).toEqual([product]);
  }
});

test("of two products one is computed first", () => {
  const other = f.matmul(x, w, { transposeB: true });
  const sum = f.add(product, other);
  const { sums, products } = findProductSums({ inputs: [x, w], outputs: [sum], name: "g" });
  expect(sums.get(sum)!.c).toBe(product);
  expect([...products]).toEqual([other]);
});

test("a factor of an input becomes part of alpha, unless something else reads it", () => {
  const scaled = f.scale(x, { by: 3 });
  const sum = f.add(c, f.matmul(scaled, w, { transposeB: true, alpha: 2 }));
  const graph = { inputs: [x, w, c], name: "g" };
  const alone = findProductSums({ ...graph, outputs: [sum] });
  expect(alone.sums.get(sum)).toEqual({ a: x, b: w, c, attrs: { transposeB: true, alpha: 6 } });
  expect(alone.products.has(scaled)).toBe(true);
  const shared = findProductSums({ ...graph, outputs: [sum, f.neg(scaled)] });
  expect(shared.sums.get(sum)).toEqual({ a: scaled, b: w, c, attrs: { transposeB: true, alpha: 2 } });
});

test.each([
  ["is read twice", [f.mul(f.add(c, product), product)]],
  ["is a result itself", [f.add(c, product), product]],
  ["is spread over more rows", [f.add(bias, product)]],
])("a product stays by itself where it %s", (_, outputs) => {
  expect(findProductSums({ inputs: [x, w, c, bias], outputs, name: "g" }).sums.size).toBe(0);
});

test("products of stacks stay by themselves", () => {
  const [a, b, rest] = [real("a", 2, "N", 4), real("b", 2, 4, 3), real("rest", 2, "N", 3)];
  const outputs = [f.add(rest, f.matmul(a, b, {}))];
  expect(findProductSums({ inputs: [a, b, rest], outputs, name: "g" }).sums.size).toBe(0);
});
