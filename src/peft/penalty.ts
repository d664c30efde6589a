import type { ForwardOptions, PretrainedModel } from "../auto/pretrained-model.js";
import { gradients } from "../autodiff/gradients.js";
import { zeros } from "../base/host-tensor.js";
import { InternalError } from "../base/errors.js";
import type { Value } from "../graph/value.js";
import { addGradient, runBound } from "../nn/graph-runner.js";
import type { Parameter } from "../nn/parameter.js";
import type { BoundGraph } from "../nn/token-program.js";
import { Trace } from "../nn/trace.js";
import type { AttachedAdapter } from "./attached-adapter.js";

interface PenaltyProgram {
  readonly bound: BoundGraph;
  readonly trained: readonly Parameter[];
}

const programs = new WeakMap<AttachedAdapter, PenaltyProgram>();

function penaltyProgram(adapter: AttachedAdapter): PenaltyProgram | undefined {
  const known = programs.get(adapter);
  if (known !== undefined) return known;
  const t = new Trace({ training: true });
  const p = (parameter: Parameter): Value => t.parameter(parameter);
  const parts = adapter.attachments.flatMap(({ attachment: { penalty } }) =>
    penalty === undefined ? [] : [penalty({ f: t.f, p })],
  );
  if (parts.length === 0) return undefined;
  const total = parts.reduce((sum, part) => t.f.add(sum, part));
  const leaves = [...t.leaves].flatMap(([value, leaf]) =>
    leaf.kind === "parameter" ? [{ value, leaf, parameter: leaf.parameter }] : [],
  );
  const wrt = leaves.filter(({ parameter }) => parameter.trainable);
  const one = t.f.constant({ shape: [], value: 1 });
  const found = gradients(
    new Map([[total, one]]),
    wrt.map(({ value }) => value),
  );
  const moved = wrt.flatMap(({ parameter }, i) =>
    found[i] === undefined ? [] : [[parameter, found[i]] as const],
  );
  const program = {
    bound: {
      graph: {
        name: "penalty",
        inputs: leaves.map(({ value }) => value),
        outputs: [total, ...moved.map(([, value]) => value)],
      },
      sources: leaves.map(({ leaf }) => leaf),
    },
    trained: moved.map(([parameter]) => parameter),
  };
  programs.set(adapter, program);
  return program;
}

/**
 * Adds what an adapter puts on the loss, times `weight`, to the gradients of its parameters.
 *
 * @returns the penalty times the weight; 0 where the adapter has none.
 */
export async function addPenalty(
  base: PretrainedModel,
  adapter: AttachedAdapter,
  weight: number,
  options: ForwardOptions,
): Promise<number> {
  const program = penaltyProgram(adapter);
  if (program === undefined) return 0;
  const value = zeros("float32", []);
  const found = program.trained.map(({ shape }) => zeros("float32", shape));
  const unresolved = (): never => {
    throw new InternalError("A penalty asked for something that is no parameter.");
  };
  await runBound(base.runner, program.bound, unresolved, [value, ...found], options);
  for (const [i, gradient] of found.entries()) {
    const data = gradient.data as Float32Array;
    for (let j = 0; j < data.length; j += 1) data[j]! *= weight;
    addGradient(program.trained[i]!, gradient);
  }
  return weight * (value.data[0] as number);
}
