import { InferenceSession, Tensor } from "onnxruntime-node";
import { InternalError } from "../base/errors.js";
import type { CompileOptions, Engine, EngineSettings, RunOptions, Session } from "./engine.js";
import type { HostTensor } from "../base/host-tensor.js";

class NodeSession implements Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  #closed = false;

  constructor(
    readonly name: string,
    readonly session: InferenceSession,
  ) {
    this.inputNames = session.inputNames;
    this.outputNames = session.outputNames;
  }

  async run(
    inputs: readonly HostTensor[],
    outputs: readonly HostTensor[],
    options: RunOptions = {},
  ): Promise<void> {
    options.signal?.throwIfAborted();
    const feeds = Object.fromEntries(
      this.inputNames.map((name, i) => {
        const { dtype, data, dims } = inputs[i]!;
        return [name, new Tensor(dtype as Tensor.Type, data as Tensor.DataType, dims)];
      }),
    );
    let results: InferenceSession.OnnxValueMapType;
    try {
      results = await this.session.run(feeds);
    } catch (error) {
      const message = (error as Error).message;
      throw new InternalError(`ONNX Runtime refused to run ${this.name}: ${message}`, { message }, error);
    }
    for (const [i, name] of this.outputNames.entries()) {
      (outputs[i]!.data as Float32Array).set(results[name]!.data as unknown as Float32Array);
    }
    options.signal?.throwIfAborted();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.session.release();
  }
}

/** The Node binding of ONNX Runtime, where the C library cannot be called: it copies outputs and blocks while it runs. */
export async function createNodeEngine({ threads }: EngineSettings): Promise<Engine> {
  const open = new Set<Session>();
  return {
    name: "ort-node",
    capabilities: { fusedMatMul: true, bfloat16Inputs: false, asynchronous: false, sharedMemory: false },
    async compile(
      model: Uint8Array,
      { name = "graph", prepack = false, spins = false, profilePrefix }: CompileOptions = {},
    ): Promise<Session> {
      const profiling =
        profilePrefix === undefined ? {} : { enableProfiling: true, profileFilePrefix: profilePrefix };
      try {
        const session = await InferenceSession.create(model, {
          ...profiling,
          intraOpNumThreads: threads,
          logSeverityLevel: 4,
          enableMemPattern: false,
          extra: {
            session: {
              disable_prepacking: prepack ? "0" : "1",
              force_spinning_stop: "1",
              intra_op: { allow_spinning: spins ? "1" : "0" },
            },
          },
        });
        const wrapped = new NodeSession(name, session);
        open.add(wrapped);
        return wrapped;
      } catch (error) {
        const message = (error as Error).message;
        throw new InternalError(`ONNX Runtime refused to compile ${name}: ${message}`, { message }, error);
      }
    },
    async close(): Promise<void> {
      for (const session of open) await session.close();
      open.clear();
    },
  };
}
