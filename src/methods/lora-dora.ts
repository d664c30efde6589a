import type { Value } from "../graph/value.js";
import { type AdaptContext, type EmbeddingSite, type LinearSite, weightData } from "../nn/site.js";
import type { Parameter } from "../nn/parameter.js";
import type { Adapter, Scope } from "./method.js";

type Ops = AdaptContext["f"];
type Read = (parameter: Parameter) => Value;

/** The parameters of the update s · B A. */
export interface LowRank {
  readonly A: Parameter;
  readonly B: Parameter;
  readonly scaling: Parameter;
  readonly dropout: number;
}

/** Lengths of the rows of W + s B A, with A (r, n), B (m, r) and W (m, n) as they are on the host. */
function rowLengths(W: Float32Array, { A, B, scaling }: LowRank, m: number, n: number): Float32Array {
  const r = A.shape[0]!;
  const [a, b, s] = [A.data, B.data, scaling.data[0]!];
  const changed = b.some((value) => value !== 0) && a.some((value) => value !== 0);
  return Float32Array.from({ length: m }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < n; j += 1) {
      let value = W[i * n + j]!;
      if (changed) for (let k = 0; k < r; k += 1) value += s * b[i * r + k]! * a[k * n + j]!;
      sum += value * value;
    }
    return Math.sqrt(sum);
  });
}

/** m / ‖W + s B A‖, row by row, from ‖W‖², ⟨W Aᵀ, B⟩ and B (A Aᵀ) Bᵀ: the sum itself is never made. (m) */
function ratio(f: Ops, p: Read, W: Value, update: LowRank, magnitude: Parameter): Value {
  const [A, B, s] = [f.detach(p(update.A)), f.detach(p(update.B)), p(update.scaling)];
  const rows = W.type.shape[0] as number;
  const total = (x: Value): Value => f.sum(x, { axis: 1 }); // (m)
  const cross = total(f.mul(f.matmul(W, A, { transposeB: true }), B)); // ⟨W Aᵀ, B⟩
  const square = total(f.mul(f.matmul(B, f.matmul(A, A, { transposeB: true }), {}), B)); // B (A Aᵀ) Bᵀ
  const own = f.reshape(f.sumSquare(W), { shape: [rows] });
  const change = f.mul(f.add(f.scale(cross, { by: 2 }), f.mul(square, s)), s);
  return f.div(p(magnitude), f.detach(f.sqrt(f.add(own, change))));
}

/**
 * DoRA at a linear layer: the rows of W + s · B A keep their direction and get a trained length m.
 *
 * y = m / ‖W + s B A‖ ⊙ (W x + s · B A x) + b, the norm taken for a constant by the gradient
 *
 * @see Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", arXiv:2402.09353, eq. 5 and §4.3
 */
export function doraLinear(site: LinearSite, scope: Scope, update: LowRank): Adapter {
  const { inFeatures, outFeatures } = site;
  const magnitude = scope.param(
    "lora_magnitude_vector",
    [outFeatures],
    (data) => data.set(rowLengths(weightData(site), update, outFeatures, inFeatures)),
    { live: "lora_magnitude_vector.weight" },
  );
  return {
    forward({ f, x, base, own, p, dropout }) {
      const W = own("weight");
      const factor = ratio(f, p, W, update, magnitude);
      const dropped = dropout(x, update.dropout);
      const inner = f.mul(f.matmul(dropped, p(update.A), { transposeB: true }), p(update.scaling));
      const low = f.matmul(inner, p(update.B), { transposeB: true }); // (N, out)
      const y = base(x);
      if (dropped !== x) {
        // Only what passes the dropout gets the new length, as in Hugging Face.
        const full = f.matmul(dropped, W, { transposeB: true });
        return f.add(y, f.sub(f.mul(f.add(full, low), factor), full));
      }
      if (site.bias === undefined) return f.mul(f.add(y, low), factor);
      const bias = own("bias");
      return f.add(f.mul(f.add(f.sub(y, bias), low), factor), bias);
    },
    merged({ f, own, p }) {
      const W = own("weight");
      const factor = f.reshape(ratio(f, p, W, update, magnitude), { shape: [outFeatures, 1] });
      const sum = f.add(W, f.mul(f.matmul(p(update.B), p(update.A), {}), p(update.scaling)));
      return { weight: f.mul(sum, factor) };
    },
  };
}

/** DoRA at an embedding: the same for the columns of the table, each over all tokens. */
export function doraEmbedding(site: EmbeddingSite, scope: Scope, update: LowRank): Adapter {
  const { vocabularySize, width } = site;
  const turned = (): Float32Array => {
    const table = site.weight.data;
    return Float32Array.from(
      { length: table.length },
      (_, i) => table[(i % vocabularySize) * width + Math.floor(i / vocabularySize)]!,
    );
  };
  const magnitude = scope.param(
    "lora_magnitude_vector",
    [width],
    (data) => data.set(rowLengths(turned(), update, width, vocabularySize)),
    { live: "lora_magnitude_vector.weight" },
  );
  const factorOf = (f: Ops, p: Read, table: Value): Value =>
    ratio(f, p, f.transpose(table, { axes: [1, 0] }), update, magnitude);
  return {
    forward({ f, x, base, own, p }) {
      const rows = f.gather(f.transpose(p(update.A), { axes: [1, 0] }), x); // (N, r)
      const low = f.matmul(f.mul(rows, p(update.scaling)), p(update.B), { transposeB: true }); // (N, D)
      return f.mul(f.add(base(x), low), factorOf(f, p, own("weight")));
    },
    merged({ f, own, p }) {
      const table = own("weight");
      const low = f.matmul(p(update.A), p(update.B), { transposeA: true, transposeB: true }); // (V, D)
      return { weight: f.mul(f.add(table, f.mul(low, p(update.scaling))), factorOf(f, p, table)) };
    },
  };
}
