import { type Initialiser, nothing } from "../base/fill.js";
import { smallestSvd } from "../base/smallest-svd.js";
import { weightData } from "../nn/site.js";
import { checkRank, type LoraStart } from "./lora-pair.js";

/**
 * Columns of B are the left singular vectors of W that belong to its smallest singular values, and stay what they are; A starts at zero
 * and is trained alone.
 *
 * @see "Minor Component Adaptation", arXiv:2604.01694
 */
export const mica: LoraStart = {
  fixedB: true,
  start(context) {
    const { site, r, scope } = context;
    checkRank(scope, [site.outFeatures, site.inFeatures], r, "mica");
    const { outFeatures, inFeatures } = site;
    return { A: nothing, B: asColumns(() => smallestSvd(weightData(site), outFeatures, inFeatures, r).U) };
  },
  /** The projection of an embedding is its table turned round, so the left vectors are the right ones of the table. */
  embeddingB({ site, r, scope }) {
    const { vocabularySize, width, weight } = site;
    checkRank(scope, [vocabularySize, width], r, "mica");
    return asColumns(() => smallestSvd(weight.data, vocabularySize, width, r).V);
  },
};

const asColumns =
  (make: () => readonly Float64Array[]): Initialiser =>
  (data) => {
    const columns = make();
    for (const [k, column] of columns.entries())
      for (let i = 0; i < column.length; i += 1) data[i * columns.length + k] = column[i]!;
  };
