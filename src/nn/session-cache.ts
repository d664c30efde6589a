import type { HostTensor } from "../base/host-tensor.js";
import type { Graph, Value } from "../graph/value.js";
import { lowerGraph } from "../onnx/lower.js";
import type { Engine, Session } from "../runtime/engine.js";
import { matmulFlops, noteSizes } from "./flops.js";
import type { Profiler } from "./profiler.js";

function hash(bytes: Uint8Array): number {
  let a = 0x811c9dc5;
  for (const byte of bytes) a = Math.imul(a ^ byte, 0x01000193);
  return a >>> 0;
}

const equal = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

const byteLength = (tensors: Iterable<HostTensor> = []): number => {
  let bytes = 0;
  for (const { data } of tensors) bytes += data.byteLength;
  return bytes;
};

/** Inputs of a graph that are compiled into it. */
export interface GraphConstants {
  /** What they are parts of: graphs of one structure are the same where their constants have the same owners. */
  readonly owners: readonly object[];
  /** Reads them; they are not kept. */
  read(): ReadonlyMap<Value, HostTensor>;
}

/** How a graph is compiled. */
export interface CompileChoices {
  readonly constants?: GraphConstants | undefined;
  /** Whether its threads stay awake from op to op. */
  readonly spins?: boolean | undefined;
  /** Whether it has one thread, that of its caller. */
  readonly alone?: boolean | undefined;
}

interface Entry {
  readonly bytes: Uint8Array;
  readonly owners: readonly object[];
  readonly spins: boolean;
  readonly alone: boolean;
  readonly session: Promise<Session>;
}

const sameOwners = (a: readonly object[], b: readonly object[]): boolean =>
  a.length === b.length && a.every((owner, i) => owner === b[i]);

/** Compiled graphs by content: all layers of one structure share a session. */
export class SessionCache {
  /** Gets the time of every run while it is set. */
  profiler: Profiler | undefined;
  readonly #entries = new Map<number, Entry[]>();

  constructor(readonly engine: Engine) {}

  /** The session of a graph, whose inputs are those of the graph without the constants; compiled at its first use. */
  compile(graph: Graph, { constants, spins = false, alone = false }: CompileChoices = {}): Promise<Session> {
    const owners = constants?.owners ?? [];
    const bytes = lowerGraph(graph, this.engine.capabilities);
    const key = hash(bytes);
    const bucket = this.#entries.get(key) ?? [];
    this.#entries.set(key, bucket);
    const known = bucket.find(
      (entry) =>
        entry.spins === spins &&
        entry.alone === alone &&
        sameOwners(entry.owners, owners) &&
        equal(entry.bytes, bytes),
    );
    if (known !== undefined) return known.session;
    const began = performance.now();
    const profilePrefix = this.profiler?.nodePrefix;
    const values = constants?.read();
    const model = values === undefined ? bytes : lowerGraph(graph, this.engine.capabilities, values);
    const inputs = graph.inputs.filter((input) => values?.has(input) !== true);
    const compiled = this.engine.compile(model, {
      name: graph.name,
      prepack: values !== undefined,
      spins,
      alone,
      ...(profilePrefix !== undefined && { profilePrefix }),
    });
    const session = compiled.then((one) => {
      this.profiler?.record("compile", began);
      return this.#timed({ ...graph, inputs }, one, byteLength(values?.values()));
    });
    bucket.push({ bytes, owners, spins, alone, session });
    return session;
  }

  /** The same session, whose runs the profiler hears of. */
  #timed(graph: Graph, session: Session, constantBytes: number): Session {
    const flops = matmulFlops(graph);
    return {
      inputNames: session.inputNames,
      outputNames: session.outputNames,
      run: async (inputs, outputs, options) => {
        const { profiler } = this;
        if (profiler === undefined) return session.run(inputs, outputs, options);
        const span = profiler.begin(graph.name);
        try {
          await session.run(inputs, outputs, options);
        } catch (error) {
          span.end();
          throw error;
        }
        const sizes = new Map<string, number>();
        for (const [i, { type }] of graph.inputs.entries()) noteSizes(sizes, type, inputs[i]!.dims);
        const bytes = constantBytes + byteLength(inputs) + byteLength(outputs);
        span.end(flops(sizes), bytes);
      },
      close: () => session.close(),
    };
  }

  /** Gives up the sessions that have constants compiled into them. */
  async closeWithConstants(): Promise<void> {
    for (const [key, bucket] of this.#entries) {
      this.#entries.set(
        key,
        bucket.filter(({ owners }) => owners.length === 0),
      );
      for (const { owners, session } of bucket) if (owners.length > 0) await (await session).close();
    }
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
