import { InternalError, ShapeError } from "../base/errors.js";
import type { NdArray } from "../graph/nd-array.js";
import { type DType, formatShape, type TensorType } from "../base/tensor-type.js";
import { nodeValue, type Value } from "../graph/value.js";
import type { Emitter } from "../onnx/emitter.js";
import type { Cells } from "../steps/cells.js";
import type { StepEmitter } from "../steps/emitter.js";
import type * as Ops from "./index.js";

/** The op table that gradient rules receive, so that they sit beside their op without import cycles. */
export type OpTable = typeof Ops.ops;

export type Attrs = Readonly<Record<string, unknown>>;

type Tuple<N extends number, T, R extends T[] = []> = number extends N
  ? T[]
  : R["length"] extends N
    ? R
    : Tuple<N, T, [...R, T]>;

/** What a gradient rule gets: the table, dL/dy, y itself, the inputs, the attributes, and which inputs ask. */
export interface GradientContext<N extends number, A> {
  readonly f: OpTable;
  readonly dy: Value;
  readonly y: Value;
  readonly inputs: Tuple<N, Value>;
  readonly attrs: A;
}

export interface LowerContext<N extends number, A> {
  readonly emit: Emitter;
  readonly inputs: Tuple<N, string>;
  readonly types: Tuple<N, TensorType>;
  readonly attrs: A;
  readonly type: TensorType;
}

/** What steps of an op are made with: where its inputs are, and the sizes of its result. */
export interface StepContext<N extends number, A> {
  readonly emit: StepEmitter;
  readonly inputs: Tuple<N, Cells>;
  readonly dims: readonly number[];
  readonly attrs: A;
}

/** A made-up tensor for tests: its shape, and what its elements are. */
export interface SampleInput {
  readonly shape: readonly number[];
  /** `normal` by default; `index` gives integers below `below`. */
  readonly kind?: "normal" | "positive" | "index" | "uniform";
  readonly below?: number;
  readonly dtype?: DType;
  /** Its elements, where they have to fit those of other inputs. */
  readonly values?: readonly number[];
}

export interface Sample<A> {
  readonly inputs: readonly SampleInput[];
  readonly attrs: A;
}

/** Everything there is to know of an op, side by side. */
export interface OpDefinition<N extends number, A> {
  /** The name it has in the table and in printed graphs. */
  readonly name: string;
  /** Number of inputs; `variadic` ops take a list. */
  readonly arity: N | "variadic";
  infer(types: Tuple<N, TensorType>, attrs: A): TensorType;
  /**
   * dL/dx for each input, undefined where no gradient flows. Graph to graph, so that the backward pass is lowered too.
   * Results may have the broadcast shape: the reverse walk sums them down.
   */
  gradient(context: GradientContext<N, A>): readonly (Value | undefined | (() => Value))[];
  /** Emits ONNX nodes and returns the name of the result, followed by the names of what else the node computes. */
  lower(context: LowerContext<N, A>): string | readonly string[];
  /**
   * Adds its steps for a few rows, which run without the runtime, and says where the result will be. Graphs with an op without steps, or
   * with one that throws `NoSteps`, are left to the runtime.
   */
  steps?(context: StepContext<N, A>): Cells;
  /** Plain float64 reference, for tests and nothing else. */
  evaluate(inputs: Tuple<N, NdArray>, attrs: A): NdArray;
  readonly samples: readonly Sample<NoInfer<A>>[];
  /** For matrix products of their first input: the numbers that are multiplied. */
  readonly multiplies?: "float32" | "int8";
  /** The runtime has kernels for float32 alone. */
  readonly float32Only?: boolean;
  /** The result is rounded, so that central differences say nothing of the gradient. */
  readonly rounds?: boolean;
  /** Whether all inputs but the first are codes of a matrix, which graphs have as constants. */
  readonly codes?: boolean;
  /** Whether a result without the first axis of its inputs is a sum over it: of the tokens, where these are rows. */
  readonly sumsRows?: boolean;
  /** The input whose rows are looked up, or written, by their numbers. */
  readonly table?: number;
  /** The gradient rule throws: second derivatives are not offered. */
  readonly firstOrder?: boolean;
  /** What its node computes beside y, in the order of the names that `lower` adds to its result. */
  readonly more?: {
    infer(types: Tuple<N, TensorType>, attrs: A): readonly TensorType[];
    evaluate(inputs: Tuple<N, NdArray>, attrs: A): readonly NdArray[];
  };
}

/** An op as graphs hold it, whatever its arity and attributes. */
export type AnyOp = Omit<OpDefinition<number, Attrs>, "arity">;

type Call<N extends number, A> = keyof A extends never
  ? (...inputs: Tuple<N, Value>) => Value
  : (...inputs: [...Tuple<N, Value>, A]) => Value;

/** An op: call it with values (and its attributes last) to get the value it computes. */
export type Op<N extends number, A = unknown> = Call<N, A> & { readonly definition: OpDefinition<N, A> };

/** An op over any number of values. */
export type VariadicOp<A> = ((inputs: readonly Value[], attrs: A) => Value) & {
  readonly definition: OpDefinition<number, A>;
};

function apply(definition: AnyOp, inputs: readonly Value[], attrs: Attrs): Value {
  const type = definition.infer(
    inputs.map((input) => input.type),
    attrs,
  );
  return nodeValue(definition, inputs, attrs, type);
}

/**
 * Declares an op with a fixed number of inputs.
 *
 * @example
 * export const neg: Op<1> = defineOp({ name: "neg", arity: 1, infer: ([x]) => x, ... });
 */
export function defineOp<N extends number, A>(definition: OpDefinition<N, A>): Op<N, A> {
  const erased = definition as unknown as AnyOp;
  const arity = definition.arity as number;
  const call = (...args: unknown[]): Value =>
    apply(erased, args.slice(0, arity) as Value[], (args[arity] as Attrs | undefined) ?? {});
  return Object.assign(call, { definition }) as unknown as Op<N, A>;
}

/** Declares an op over a list of values. */
export function defineVariadicOp<A>(definition: OpDefinition<number, A>): VariadicOp<A> {
  const erased = definition as unknown as AnyOp;
  const call = (inputs: readonly Value[], attrs: A): Value => apply(erased, inputs, attrs as Attrs);
  return Object.assign(call, { definition });
}

/**
 * What the node of y computes beside it, in order.
 *
 * @example
 * const context = f.cachedAttention(...);
 * const [keys, values] = besides(context);
 */
export function besides(y: Value): Value[] {
  const { op, inputs, attrs } = y.node!;
  const { infer, evaluate } = op.more!;
  const types = infer(
    inputs.map((input) => input.type),
    attrs,
  );
  return types.map((type, i) => {
    const definition: AnyOp = {
      name: `${op.name}_${i + 1}`,
      infer: () => type,
      gradient() {
        throw new InternalError(`${op.name} has no gradient of what it computes beside its result.`);
      },
      lower: ({ emit, inputs: [name] }) => emit.besides(name!)[i]!,
      evaluate: ([, ...arrays], own) => evaluate(arrays, own)[i]!,
      samples: [],
    };
    return nodeValue(definition, [y, ...inputs], attrs, type);
  });
}

/** The error of an op whose inputs do not fit together. */
export function shapeMismatch(op: string, reason: string, types: readonly TensorType[]): ShapeError {
  return new ShapeError({
    code: "shape_mismatch",
    summary: `${op}: ${reason}.`,
    facts: types.map(
      (type, index) => [`input ${index}`, `${type.dtype} ${formatShape(type.shape)}`] as const,
    ),
    fields: { op, inputs: types },
  });
}
