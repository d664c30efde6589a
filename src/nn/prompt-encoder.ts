import type { Random } from "../base/random.js";
import type { Value } from "../graph/value.js";
import type { Parameter } from "./parameter.js";
import type { VirtualContext } from "./site.js";

/** Makes a trained tensor of an encoder, under its name in Hugging Face. */
export type MakeTensor = (
  key: string,
  shape: readonly number[],
  init: (data: Float32Array, random: Random) => void,
) => Parameter;

/** The graph of a part of an encoder: rows (n, in) → (n, out). */
export type Encode = (context: VirtualContext, x: Value) => Value;

/** U(±bound), as PyTorch starts its layers. */
const uniform =
  (bound: number) =>
  (data: Float32Array, random: Random): void => {
    for (let i = 0; i < data.length; i += 1) data[i] = random.uniform(-bound, bound);
  };

/** N(0, deviation²). */
export const normal =
  (deviation: number) =>
  (data: Float32Array, random: Random): void => {
    for (let i = 0; i < data.length; i += 1) data[i] = deviation * random.normal();
  };

/** y = x Wᵀ + b, with `key.weight` (out, in) and `key.bias` (out). */
export function linear(make: MakeTensor, key: string, from: number, to: number, zero = false): Encode {
  const init = zero ? () => undefined : uniform(1 / Math.sqrt(from));
  const weight = make(`${key}.weight`, [to, from], init);
  const bias = make(`${key}.bias`, [to], init);
  return ({ f, p }, x) => f.add(f.matmul(x, p(weight), { transposeB: true }), p(bias));
}

/** Linear layers with a non-linearity in between, numbered as in a sequence of PyTorch: `key.0`, `key.2` … */
export function multilayer(
  make: MakeTensor,
  key: string,
  widths: readonly number[],
  options: {
    readonly activation: "relu" | "tanh";
    /** Whether the last layer starts at zero. */
    readonly zero?: boolean;
  },
): Encode {
  const last = widths.length - 2;
  const layers = widths
    .slice(1)
    .map((to, i) => linear(make, `${key}.${2 * i}`, widths[i]!, to, i === last && options.zero));
  return (context, x) =>
    layers.reduce((y, layer, i) => layer(context, i === 0 ? y : context.f[options.activation](y)), x);
}

/** One direction of one layer: hidden states (n, H) of rows (n, in), in the order of the rows. */
function direction(
  make: MakeTensor,
  key: string,
  suffix: string,
  from: number,
  hidden: number,
  steps: readonly number[],
): Encode {
  const init = uniform(1 / Math.sqrt(hidden));
  const tensor = (name: string, shape: readonly number[]): Parameter =>
    make(`${key}.${name}_${suffix}`, shape, init);
  const inputs = tensor("weight_ih", [4 * hidden, from]);
  const states = tensor("weight_hh", [4 * hidden, hidden]);
  const inputBias = tensor("bias_ih", [4 * hidden]);
  const stateBias = tensor("bias_hh", [4 * hidden]);
  return ({ f, p }, x) => {
    const bias = f.add(p(inputBias), p(stateBias));
    const given = f.add(f.matmul(x, p(inputs), { transposeB: true }), bias); // (n, 4 H)
    const outputs = new Map<number, Value>();
    let h: Value | undefined;
    let c: Value | undefined;
    for (const t of steps) {
      const now = f.slice(given, { axis: 0, start: t, end: t + 1 });
      const gates = h === undefined ? now : f.add(now, f.matmul(h, p(states), { transposeB: true }));
      const gate = (i: number): Value =>
        f.slice(gates, { axis: 1, start: i * hidden, end: (i + 1) * hidden });
      const fresh = f.mul(f.sigmoid(gate(0)), f.tanh(gate(2)));
      c = c === undefined ? fresh : f.add(f.mul(f.sigmoid(gate(1)), c), fresh);
      h = f.mul(f.sigmoid(gate(3)), f.tanh(c));
      outputs.set(t, h);
    }
    const rows = [...outputs].sort(([a], [b]) => a - b).map(([, row]) => row);
    return f.concat(rows, { axis: 0 });
  };
}

/**
 * A bidirectional LSTM over the rows, with dropout between its layers: (n, in) → (n, 2 H). The first state is zero.
 *
 * i, f, o = σ(W x + U h + b), g = tanh(W x + U h + b), c ← f ⊙ c + i ⊙ g, h ← o ⊙ tanh(c)
 */
export function bidirectionalLstm(
  make: MakeTensor,
  key: string,
  sizes: { readonly from: number; readonly hidden: number; readonly layers: number; readonly steps: number },
  dropout: number,
): Encode {
  const { from, hidden, layers, steps } = sizes;
  const forth = Array.from({ length: steps }, (_, t) => t);
  const stack = Array.from({ length: layers }, (_, l) => {
    const width = l === 0 ? from : 2 * hidden;
    return [
      direction(make, key, `l${l}`, width, hidden, forth),
      direction(make, key, `l${l}_reverse`, width, hidden, [...forth].reverse()),
    ];
  });
  return (context, x) =>
    stack.reduce((y, pair, l) => {
      const input = l === 0 ? y : context.dropout(y, dropout);
      return context.f.concat(
        pair.map((run) => run(context, input)),
        { axis: 1 },
      );
    }, x);
}
