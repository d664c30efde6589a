import { cutBackward, forwardValues } from "../autodiff/cut.js";
import { gradients } from "../autodiff/gradients.js";
import type { TensorType } from "../base/tensor-type.js";
import { type Graph, inputValue, type Value } from "../graph/value.js";
import { ops } from "../ops/index.js";
import { isProduct } from "./flops.js";
import type { Module } from "./module.js";
import type { Parameter } from "./parameter.js";
import type { TokenStage } from "./stage.js";
import { type Leaf, Trace, type TraceOptions } from "./trace.js";

/** Where an input of a graph comes from when it runs. */
export type Source =
  | Leaf
  | { readonly kind: "saved"; readonly index: number }
  /** Gradient of a stream that the stage wrote. */
  | { readonly kind: "gradient"; readonly stream: string }
  /** Gradient that later stages left for a stream that the stage read. */
  | { readonly kind: "accumulated"; readonly stream: string };

/** A graph with the sources of its inputs. */
export interface BoundGraph {
  readonly graph: Graph;
  readonly sources: readonly Source[];
  /** Whether its threads stay awake from op to op. */
  readonly spins?: boolean;
}

/** Forward and backward graph of a stage under one policy of what is kept in between. */
export interface TokenProgram {
  /** Outputs: the streams written, in order, then the saved values. */
  readonly forward: BoundGraph;
  readonly writes: readonly string[];
  readonly saved: readonly TensorType[];
  /** Outputs: gradients of `streams`, then of `parameters`. Absent where nothing below is trained. */
  readonly backward?: BoundGraph & {
    readonly streams: readonly string[];
    readonly parameters: readonly Parameter[];
  };
}

/** A stage as a graph of values. */
export interface TracedStage {
  readonly stage: TokenStage;
  readonly leaves: ReadonlyMap<Value, Leaf>;
  readonly reads: ReadonlyMap<string, Value>;
  readonly writes: ReadonlyMap<string, Value>;
  /** Its trainable parameters, with the values they have in the graph. */
  readonly trained: readonly (readonly [Value, Parameter])[];
  /** What reaches each of its modules. */
  readonly inputs: ReadonlyMap<Module, Value>;
}

/** Runs the model code of a stage once, to get its graph. */
export function traceStage(stage: TokenStage, options: TraceOptions): TracedStage {
  const t = new Trace(options);
  const reads = new Map(Object.entries(stage.reads).map(([name, width]) => [name, t.stream(name, width)]));
  const results = stage.trace(t, Object.fromEntries(reads));
  const writes = new Map(Object.keys(stage.writes).map((name) => [name, results[name]!]));
  const trained = [...t.leaves].flatMap(([value, leaf]) =>
    leaf.kind === "parameter" && leaf.parameter.trainable ? [[value, leaf.parameter] as const] : [],
  );
  return { stage, leaves: t.leaves, reads, writes, trained, inputs: t.inputs };
}

export interface TokenProgramOptions {
  /** Streams whose gradient is asked for: something below them is trained. */
  readonly wanted: ReadonlySet<string>;
  /** Streams of `reads` that later stages have left a gradient for. */
  readonly accumulated: ReadonlySet<string>;
  /** Written streams that get a gradient from later stages. */
  readonly seeded: ReadonlySet<string>;
}

/** Matrix products are dear to repeat; norms, activations and sums are cheap. */
const isDear = (value: Value): boolean => value.node !== undefined && isProduct(value.node);

/** Builds the programs of a stage: `save` keeps matrix products for the backward pass, `recompute` keeps nothing. */
export function tokenPrograms(
  traced: TracedStage,
  options: TokenProgramOptions,
): { readonly save: TokenProgram; readonly recompute: TokenProgram } {
  const { trained } = traced;
  const writes = [...traced.writes.keys()];
  // Layers of one structure have one name, so that they share a compiled graph.
  const part = traced.stage.name.replaceAll(/\b\d+\b/g, "*");
  const outputs = [...traced.writes.values()];
  const wantedStreams = [...traced.reads].filter(([name]) => options.wanted.has(name));
  const wrt = [...wantedStreams.map(([, value]) => value), ...trained.map(([value]) => value)];

  const sources = new Map<Value, Source>(traced.leaves);
  const seeds = new Map<Value, Value>();
  for (const [name, y] of traced.writes) {
    if (!options.seeded.has(name)) continue;
    const dy = inputValue(`d_${name}`, y.type);
    sources.set(dy, { kind: "gradient", stream: name });
    seeds.set(y, dy);
  }
  const asked = wrt.length > 0 && seeds.size > 0;
  const found = asked ? gradients(seeds, wrt) : [];
  const streamGradients: [string, Value][] = [];
  const parameterGradients: [Parameter, Value][] = [];
  for (const [i, dx] of found.entries()) {
    const stream = wantedStreams[i];
    if (dx === undefined) continue;
    if (stream === undefined) {
      parameterGradients.push([trained[i - wantedStreams.length]![1], dx]);
    } else if (options.accumulated.has(stream[0])) {
      const rest = inputValue(`rest_${stream[0]}`, dx.type);
      sources.set(rest, { kind: "accumulated", stream: stream[0] });
      // The sum is the last node, so it may be written over the accumulated gradient.
      streamGradients.push([stream[0], ops.add(dx, rest)]);
    } else {
      streamGradients.push([stream[0], dx]);
    }
  }

  const forward = forwardValues([...traced.leaves.keys()], outputs);
  const build = (save: (value: Value) => boolean): TokenProgram => {
    const gradientValues = [...streamGradients, ...parameterGradients].map(([, value]) => value);
    const cut = cutBackward(gradientValues, forward, save);
    const forwardLeaves = cutBackward([...outputs, ...cut.saved], forward, () => false).leaves;
    const backwardInputs = [...cut.saved, ...cut.leaves];
    const backward = {
      graph: { name: `${part} backward`, inputs: backwardInputs, outputs: gradientValues },
      sources: [
        ...cut.saved.map((_, index): Source => ({ kind: "saved", index })),
        ...cut.leaves.map((value) => sources.get(value)!),
      ],
      streams: streamGradients.map(([name]) => name),
      parameters: parameterGradients.map(([parameter]) => parameter),
    };
    return {
      forward: {
        graph: { name: `${part} forward`, inputs: forwardLeaves, outputs: [...outputs, ...cut.saved] },
        sources: forwardLeaves.map((value) => sources.get(value)!),
      },
      writes,
      saved: cut.saved.map((value) => value.type),
      ...(gradientValues.length === 0 ? {} : { backward }),
    };
  };
  return { save: build(isDear), recompute: build(() => false) };
}
