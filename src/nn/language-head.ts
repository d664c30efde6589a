import { cutBackward } from "../autodiff/cut.js";
import { gradients } from "../autodiff/gradients.js";
import { inputValue, type Value } from "../graph/value.js";
import { type HostTensor, hostTensor, zeros } from "../base/host-tensor.js";
import { rowsOf } from "./buffer-pool.js";
import { addGradient, int64Tensor, runBound } from "./graph-runner.js";
import type { Parameter } from "./parameter.js";
import type { Runner } from "./runner.js";
import type { BoundGraph, Source } from "./token-program.js";
import { type Products, Trace } from "./trace.js";

/** The positions whose loss counts, of a batch of hidden states. */
export interface Supervision {
  /** Rows of the hidden states. */
  readonly rows: Int32Array;
  /** The token that each should predict. */
  readonly labels: Int32Array;
}

export interface HeadOptions {
  readonly training?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly brief?: boolean | undefined;
}

interface LossProgram {
  readonly bound: BoundGraph;
  readonly hiddenGradient: boolean;
  readonly parameters: readonly Parameter[];
}

/** The head of a language model: scores, and the loss with its gradient, in chunks of rows, so that no full scores exist. */
export class LanguageHead {
  #programs = new Map<string, LossProgram>();
  readonly #scores = new Map<string, BoundGraph>();
  #vocabularySize = 0;

  constructor(readonly runner: Runner) {}

  /** Must be called when adapters come, go, or change what is trained. */
  invalidate(): void {
    this.#programs.clear();
    this.#scores.clear();
  }

  /**
   * Gradients never in 8 bits: that of the scores is one large number a row and very many small ones that add up to as much, which
   * rounding to 127 steps would drop.
   */
  get products(): Products {
    const { products } = this.runner;
    return { ...products, int8: products.int8 === true && "forward" };
  }

  #scoreGraph(): BoundGraph {
    const { model } = this.runner;
    const products = this.products;
    const key = String(products.packed);
    let scores = this.#scores.get(key);
    if (scores === undefined) {
      const t = new Trace({ products });
      const x = inputValue("rows", { dtype: "float32", shape: ["R", model.hidden.width] });
      const logits = model.head(t, x);
      this.#vocabularySize = logits.type.shape[1] as number;
      const leaves = [...t.leaves];
      scores = {
        graph: { name: "head", inputs: [x, ...leaves.map(([value]) => value)], outputs: [logits] },
        sources: [{ kind: "stream", stream: "rows" }, ...leaves.map(([, leaf]) => leaf)],
      };
      this.#scores.set(key, scores);
    }
    return scores;
  }

  get vocabularySize(): number {
    this.#scoreGraph();
    return this.#vocabularySize;
  }

  /** Rows whose scores are there at once. */
  get #chunkRows(): number {
    return Math.max(1, Math.floor(this.runner.memory.scoreBytes / 4 / this.vocabularySize));
  }

  /** Scores of hidden rows start … end − 1, (end − start, V). */
  async logits(
    hidden: HostTensor,
    start: number,
    end: number,
    options: HeadOptions = {},
  ): Promise<Float32Array> {
    const bound = this.#scoreGraph();
    const width = this.vocabularySize;
    const out = new Float32Array((end - start) * width);
    const chunk = this.#chunkRows;
    await this.runner.weights.during(bound.sources, async () => {
      for (let from = start; from < end; from += chunk) {
        const to = Math.min(end, from + chunk);
        const part = out.subarray((from - start) * width, (to - start) * width);
        const rows = rowsOf(hidden, from, to);
        const results = [hostTensor("float32", [to - from, width], part)];
        await runBound(this.runner, bound, () => rows, results, options);
      }
    });
    return out;
  }

  #lossProgram(training: boolean, withGradients: boolean, hiddenGradient: boolean): LossProgram {
    const products = this.products;
    const key = [training, withGradients, hiddenGradient, products.packed].join();
    const known = this.#programs.get(key);
    if (known !== undefined) return known;
    const { model } = this.runner;
    const t = new Trace({ training, products });
    const f = t.f;
    const hidden = inputValue("hidden", { dtype: "float32", shape: ["N", model.hidden.width] });
    const rows = inputValue("rows", { dtype: "int64", shape: ["R"] });
    const labels = inputValue("labels", { dtype: "int64", shape: ["R"] });
    const weight = inputValue("weight", { dtype: "float32", shape: [] });
    const x = f.gather(hidden, rows); // (R, D)
    const losses = f.crossEntropy(model.head(t, x), labels);
    const loss = f.mul(f.sum(losses, { axis: 0 }), weight);
    const trained = [...t.leaves].flatMap(([value, leaf]) =>
      withGradients && leaf.kind === "parameter" && leaf.parameter.trainable
        ? [[value, leaf.parameter] as const]
        : [],
    );
    const wrt = [...(hiddenGradient ? [x] : []), ...trained.map(([value]) => value)];
    const one = f.constant({ shape: [], value: 1 });
    const found = wrt.length === 0 ? [] : (gradients(new Map([[loss, one]]), wrt) as Value[]);
    const outputs = [loss, ...found];
    const sources = new Map<Value, Source>(t.leaves);
    for (const [value, name] of [
      [hidden, "hidden"],
      [rows, "rows"],
      [labels, "labels"],
      [weight, "weight"],
    ] as const) {
      sources.set(value, { kind: "batch", name });
    }
    const { leaves } = cutBackward(outputs, new Set(), () => false);
    const program = {
      bound: {
        graph: { name: "loss", inputs: leaves, outputs },
        sources: leaves.map((leaf) => sources.get(leaf)!),
      },
      hiddenGradient,
      parameters: trained.map(([, parameter]) => parameter),
    };
    this.#programs.set(key, program);
    return program;
  }

  /**
   * Σ of the cross-entropies times `weight`, with the gradient of the hidden states (N, D) from the pool where asked for;
   * gradients of trained head parameters are added to them.
   */
  async loss(
    hidden: HostTensor,
    supervision: Supervision,
    weight: number,
    options: HeadOptions & { readonly gradients: boolean; readonly hiddenGradient: boolean },
  ): Promise<{ loss: number; dHidden: HostTensor | undefined }> {
    const { pool, weights } = this.runner;
    const program = this.#lossProgram(options.training ?? false, options.gradients, options.hiddenGradient);
    const dHidden = options.hiddenGradient ? pool.acquire("float32", hidden.dims) : undefined;
    if (dHidden !== undefined) (dHidden.data as Float32Array).fill(0);
    // Chunks share what has to be decoded.
    const loss = await weights.during(program.bound.sources, () =>
      this.#lossOfChunks(program, { hidden, supervision, weight, dHidden }, options),
    );
    return { loss, dHidden };
  }

  /** Σ of the cross-entropies times `weight`, chunk by chunk; gradients of the hidden states go into `dHidden`. */
  async #lossOfChunks(
    program: LossProgram,
    given: {
      readonly hidden: HostTensor;
      readonly supervision: Supervision;
      readonly weight: number;
      readonly dHidden: HostTensor | undefined;
    },
    options: HeadOptions,
  ): Promise<number> {
    const { hidden, supervision, weight, dHidden } = given;
    const { pool } = this.runner;
    const width = hidden.dims[1]!;
    const chunk = this.#chunkRows;
    let total = 0;
    for (let from = 0; from < supervision.rows.length; from += chunk) {
      const rows = supervision.rows.subarray(from, from + chunk);
      const labels = supervision.labels.subarray(from, from + chunk);
      const batch: Record<string, HostTensor> = {
        hidden,
        rows: int64Tensor(rows),
        labels: int64Tensor(labels),
        weight: hostTensor("float32", [], new Float32Array([weight])),
      };
      const sum = zeros("float32", []);
      const dRows = pool.acquire("float32", [rows.length, width]);
      const trained = program.parameters.map((parameter) => pool.acquire("float32", parameter.shape));
      const outputs = [sum, ...(dHidden === undefined ? [] : [dRows]), ...trained];
      const resolve = (source: Source): HostTensor => batch[(source as { name: string }).name]!;
      await runBound(this.runner, program.bound, resolve, outputs, options);
      total += sum.data[0] as number;
      if (dHidden !== undefined) {
        const target = dHidden.data as Float32Array;
        const part = dRows.data as Float32Array;
        for (const [i, row] of rows.entries())
          target.set(part.subarray(i * width, (i + 1) * width), row * width);
      }
      pool.release(dRows);
      for (const [i, parameter] of program.parameters.entries()) {
        addGradient(parameter, trained[i]!);
        pool.release(trained[i]!);
      }
    }
    return total;
  }
}
