import { truncatedSvd } from "./svd.js";

/** Rounds through the matrix, and its share of further vectors, that Hugging Face's low-rank decomposition takes. */
const ITERATIONS = 4;
const OVERSAMPLING = 2;

/** Turns vectors round whose largest entry is negative, so that the same rows always give the same signs. */
function fixSign(vector: Float64Array): Float64Array {
  const largest = vector.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  return largest < 0 ? vector.map((value) => -value) : vector;
}

/**
 * The main directions of rows that come in batches, none of which is kept: the rows so far are represented by their mean, their
 * variance and the directions found, scaled by their singular values.
 *
 * @see Ross, Lim, Lin and Yang, "Incremental Learning for Robust Visual Tracking" (2008), §3.1; as scikit-learn and Hugging Face's
 * EVA have it
 */
export class IncrementalPca {
  /** Directions, each of length n, the one that explains most first; empty before the first batch. */
  components: Float64Array[] = [];
  singularValues = new Float64Array(0);
  /** The share of the variance that each direction explains. */
  explained = new Float64Array(0);
  #mean = new Float64Array(0);
  /** Σ (x − mean)² of each column. */
  #spread = new Float64Array(0);
  #seen = 0;

  /** @param count - directions to find, at most n. */
  constructor(readonly count: number) {}

  /**
   * Takes a batch.
   *
   * @param rows - (m, n), row by row; m at least `count`.
   */
  fit(rows: Float32Array, m: number, n: number): void {
    const first = this.#seen === 0;
    const mean = new Float64Array(n);
    for (let i = 0; i < m; i += 1) for (let j = 0; j < n; j += 1) mean[j]! += rows[i * n + j]!;
    for (let j = 0; j < n; j += 1) mean[j]! /= m;
    const spread = new Float64Array(n);
    const kept = this.components.length;
    const matrix = new Float32Array((m + (first ? 0 : kept + 1)) * n);
    for (const [k, component] of this.components.entries())
      for (let j = 0; j < n; j += 1) matrix[k * n + j] = this.singularValues[k]! * component[j]!;
    for (let i = 0; i < m; i += 1) {
      for (let j = 0; j < n; j += 1) {
        const centred = rows[i * n + j]! - mean[j]!;
        spread[j]! += centred * centred;
        matrix[(kept + i) * n + j] = centred;
      }
    }
    const total = this.#seen + m;
    if (first) {
      this.#mean = mean;
      this.#spread = spread;
    } else {
      const shift = Math.sqrt((this.#seen / total) * m);
      for (let j = 0; j < n; j += 1) {
        const step = this.#mean[j]! - mean[j]!;
        matrix[(kept + m) * n + j] = shift * step;
        this.#spread[j]! += spread[j]! + shift * shift * step * step;
        this.#mean[j] = (this.#mean[j]! * this.#seen + mean[j]! * m) / total;
      }
    }
    this.#seen = total;
    const height = matrix.length / n;
    const width = Math.min(height, n, OVERSAMPLING * this.count);
    const { S, V } = truncatedSvd(matrix, height, n, width, { iterations: ITERATIONS, seed: 42 });
    this.components = V.slice(0, this.count).map(fixSign);
    this.singularValues = S.slice(0, this.count);
    const variance = this.#spread.reduce((sum, value) => sum + value, 0);
    this.explained = this.singularValues.map((value) => (value * value) / variance);
  }
}
