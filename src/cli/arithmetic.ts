import { choice } from "../base/option.js";

/** What commands that train or generate compute products with frozen weights in. */
export const arithmetic = choice({
  values: ["float32", "int8"],
  default: "float32",
  doc: "What products with frozen weights are computed in: int8 is faster where the processor multiplies bytes, at about 1 % error (of gradients while training, of what is multiplied while generating).",
});
