import { choice } from "../base/option.js";

/** What commands that train or generate compute products with frozen weights in. */
export const arithmetic = choice({
  values: ["float32", "int8"],
  default: "float32",
  doc: "What products with frozen weights are computed in: int8 is faster and rounds to 8 bits, 1 to 6 % off a product; adapters that are trained so have been as good.",
});
