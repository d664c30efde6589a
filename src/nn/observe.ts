import type { Value } from "../graph/value.js";
import type { HostTensor } from "../base/host-tensor.js";
import type { Module } from "./module.js";
import type { Over } from "./stage.js";
import type { TracedStage } from "./token-program.js";

/** Somebody who looks at the rows that reach modules, while a batch is run. */
export interface Observer {
  readonly modules: ReadonlySet<Module>;
  /**
   * Called once for all modules that read the same rows.
   *
   * @param rows - (N, in), of all tokens of the batch or of its source; they are written over when this returns.
   * @param over - which of the two.
   */
  take(modules: readonly Module[], rows: HostTensor, over: Over): void;
}

/** Modules of a stage that read one stream or value. */
export interface ObservedInput {
  readonly modules: readonly Module[];
  /** The stream that they read, among what the stage reads or writes. */
  readonly stream: string;
  readonly from: "reads" | "writes";
}

/** A stage that also writes what its observed modules read, where that is no stream of its own. */
export function withObserved(
  traced: TracedStage,
  modules: ReadonlySet<Module>,
): { readonly traced: TracedStage; readonly inputs: readonly ObservedInput[] } {
  const byValue = new Map<Value, Module[]>();
  for (const [module, x] of traced.inputs)
    if (modules.has(module)) byValue.set(x, [...(byValue.get(x) ?? []), module]);
  const named = (values: ReadonlyMap<string, Value>, x: Value): string | undefined =>
    [...values].find(([, value]) => value === x)?.[0];
  const writes = new Map(traced.writes);
  const inputs = [...byValue].map(([x, readers]): ObservedInput => {
    const read = named(traced.reads, x);
    if (read !== undefined) return { modules: readers, stream: read, from: "reads" };
    const stream = named(writes, x) ?? `input of ${readers[0]!.path}`;
    writes.set(stream, x);
    return { modules: readers, stream, from: "writes" };
  });
  return { traced: { ...traced, writes }, inputs };
}
