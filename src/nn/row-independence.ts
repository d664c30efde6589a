import type { Dim } from "../base/tensor-type.js";
import { type Graph, topologicalOrder, type Value } from "../graph/value.js";
import { TOKENS } from "./trace.js";

/** How a value depends on the tokens: a row for each of them, a sum over them, or not at all. */
type Kind = "rows" | "sum" | "fixed";

/** What a graph that may be run on some of its tokens at a time computes. */
export interface RowGraph {
  /** Whether an input has a row for each token; others are read whole. */
  readonly inputs: readonly boolean[];
  /** Whether an output has a row for each token; others are sums over the tokens. */
  readonly outputs: readonly boolean[];
  /** Numbers a token of its widest value. */
  readonly widest: number;
  /** Numbers of all its values: a token, and beside the tokens, which every run computes anew. */
  readonly perToken: number;
  readonly perRun: number;
}

/** Stands in for sizes that adapters bring, such as ranks. */
const SOME_RANK = 16;

const factors = (dim: Dim): (number | string)[] =>
  typeof dim === "number"
    ? [dim]
    : dim.split("·").map((part) => (Number.isNaN(Number(part)) ? part : Number(part)));

/** Numbers of a value, or of one token of it. */
const numbers = (shape: readonly Dim[]): number =>
  shape
    .flatMap(factors)
    .reduce(
      (total: number, part) => total * (part === TOKENS ? 1 : typeof part === "number" ? part : SOME_RANK),
      1,
    );

const hasTokens = (shape: readonly Dim[]): boolean => shape.some((dim) => factors(dim).includes(TOKENS));

/** Whether tokens are the rows of a value, and nothing else of it. */
const leads = ([first, ...rest]: readonly Dim[]): boolean =>
  first !== undefined && factors(first)[0] === TOKENS && !hasTokens(rest);

/** The kind of what a node computes; undefined where a row may depend on other rows. */
function kindOf({ type: { shape }, node }: Value, kinds: ReadonlyMap<Value, Kind>): Kind | undefined {
  const { op, inputs } = node!;
  const rows = inputs.filter((input) => kinds.get(input) === "rows");
  const sums = inputs.some((input) => kinds.get(input) === "sum");
  if (!hasTokens(shape)) {
    if (rows.length === 0) return sums ? "sum" : "fixed";
    return op.sumsRows === true ? "sum" : undefined;
  }
  // Along its last axis, a vector of tokens is one row.
  const alongTokens = shape.length === 1 && rows.some(({ type }) => type.shape.length === 1);
  const byNumber = op.table !== undefined && kinds.get(inputs[op.table]!) === "rows";
  const apart = rows.length > 0 && !sums && leads(shape) && !alongTokens && !byNumber;
  return apart ? "rows" : undefined;
}

const analysed = new WeakMap<Graph, RowGraph | null>();

/**
 * Whether a graph can be run on some tokens after others, and what of it is cut then; undefined where rows depend on each other. Outputs
 * without tokens are gradients of parameters, which are sums over the tokens: a graph has them only behind the gradients it is given.
 */
export function rowGraph(graph: Graph): RowGraph | undefined {
  const known = analysed.get(graph);
  if (known !== undefined) return known ?? undefined;
  const found = analyse(graph);
  analysed.set(graph, found ?? null);
  return found;
}

function analyse(graph: Graph): RowGraph | undefined {
  const kinds = new Map<Value, Kind>();
  for (const input of graph.inputs) {
    const { shape } = input.type;
    if (hasTokens(shape) && shape[0] !== TOKENS) return undefined;
    if (hasTokens(shape.slice(1))) return undefined;
    kinds.set(input, hasTokens(shape) ? "rows" : "fixed");
  }
  let [widest, perToken, perRun] = [0, 0, 0];
  for (const value of topologicalOrder(graph)) {
    const kind = value.node && kindOf(value, kinds);
    if (kind === undefined) return undefined;
    kinds.set(value, kind);
    const size = numbers(value.type.shape);
    if (kind === "rows") {
      widest = Math.max(widest, size);
      perToken += size;
    } else perRun += size;
  }
  const results = graph.outputs.map((value) => kinds.get(value)!);
  const whole = graph.outputs.every(
    ({ type: { shape } }, i) => results[i] === "sum" || (results[i] === "rows" && shape[0] === TOKENS),
  );
  const rows = (kind: Kind | undefined): boolean => kind === "rows";
  if (!whole || !results.some(rows)) return undefined;
  return {
    inputs: graph.inputs.map((value) => rows(kinds.get(value))),
    outputs: results.map(rows),
    widest,
    perToken,
    perRun,
  };
}
