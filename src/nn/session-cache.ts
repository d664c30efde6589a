import type { Graph } from "../graph/value.js";
import { lowerGraph } from "../onnx/lower.js";
import type { Engine, Session } from "../runtime/engine.js";
import { matmulFlops } from "./flops.js";
import type { Profiler } from "./profiler.js";

function hash(bytes: Uint8Array): number {
  let a = 0x811c9dc5;
  for (const byte of bytes) a = Math.imul(a ^ byte, 0x01000193);
  return a >>> 0;
}

const equal = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

/** Compiled graphs by content: all layers of one structure share a session. */
export class SessionCache {
  /** Gets the time of every run while it is set. */
  profiler: Profiler | undefined;
  readonly #entries = new Map<number, { bytes: Uint8Array; session: Promise<Session> }[]>();

  constructor(readonly engine: Engine) {}

  /** The session of a graph; compiled at its first use. */
  compile(graph: Graph): Promise<Session> {
    const bytes = lowerGraph(graph, this.engine.capabilities);
    const key = hash(bytes);
    const bucket = this.#entries.get(key) ?? [];
    this.#entries.set(key, bucket);
    const known = bucket.find((entry) => equal(entry.bytes, bytes));
    if (known !== undefined) return known.session;
    const began = performance.now();
    const profilePrefix = this.profiler?.nodePrefix;
    const compiled = this.engine.compile(bytes, {
      name: graph.name,
      ...(profilePrefix !== undefined && { profilePrefix }),
    });
    const session = compiled.then((one) => {
      this.profiler?.record("compile", began);
      return this.#timed(graph, one);
    });
    bucket.push({ bytes, session });
    return session;
  }

  /** The same session, whose runs the profiler hears of. */
  #timed(graph: Graph, session: Session): Session {
    const flops = matmulFlops(graph);
    return {
      inputNames: session.inputNames,
      outputNames: session.outputNames,
      run: async (inputs, outputs, options) => {
        const { profiler } = this;
        if (profiler === undefined) return session.run(inputs, outputs, options);
        const start = performance.now();
        await session.run(inputs, outputs, options);
        const sizes = new Map<string, number>();
        for (const [i, { type }] of graph.inputs.entries()) {
          for (const [axis, dim] of type.shape.entries())
            if (typeof dim === "string") sizes.set(dim, inputs[i]!.dims[axis]!);
        }
        profiler.record(graph.name, start, flops(sizes));
      },
      close: () => session.close(),
    };
  }

  get size(): number {
    return [...this.#entries.values()].reduce((total, bucket) => total + bucket.length, 0);
  }

  async close(): Promise<void> {
    const sessions = [...this.#entries.values()].flat();
    this.#entries.clear();
    for (const { session } of sessions) await (await session).close();
  }
}
