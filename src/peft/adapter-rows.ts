import type {
  BackwardOptions,
  BackwardOutput,
  Evaluation,
  ForwardOptions,
  ModelOutput,
  PlainTensor,
  PretrainedModel,
} from "../auto/pretrained-model.js";
import { ShapeError, UnsupportedError } from "../base/errors.js";
import type { PackedBatch, Rows, TaskBatch } from "../text/collate.js";
import { IGNORED } from "../text/encode-example.js";
import { unknownAdapter } from "./adapter-name.js";

/** Stands in `adapterNames` for rows that no adapter serves. */
export const BASE_ROWS = "__base__";

export interface MixedOptions extends ForwardOptions {
  /**
   * The adapter of each row, by name; `__base__` for none. Rows of one adapter are run together.
   *
   * @defaultValue the active adapter for all
   */
  readonly adapterNames?: readonly string[] | undefined;
}

/** Runs `body` with one adapter in use, or with none. */
type UseAdapter = <T>(name: string | undefined, body: () => Promise<T>) => Promise<T>;

/** A batch, and what serves its rows. */
interface MixedBatch {
  readonly base: PretrainedModel;
  readonly batch: TaskBatch;
  readonly adapterNames: readonly string[];
  readonly known: readonly string[];
  readonly use: UseAdapter;
}

function fault(summary: string, fields: Readonly<Record<string, unknown>>): ShapeError {
  return new ShapeError({ code: "adapter_names", summary, fields });
}

/** Gradients go to one adapter at a time. */
function refuseMixedTraining(options: object): void {
  if (!("adapterNames" in options) || options.adapterNames === undefined) return;
  throw new UnsupportedError({
    code: "mixed_training",
    summary:
      "A batch whose rows have adapters of their own cannot be trained on: gradients go to the active adapter.",
    fixes: ["run backward for the rows of each adapter: model.setAdapter(name), then model.backward(rows)"],
    fields: {},
  });
}

/** Rows of each adapter, in the order in which they come first. */
function groupRows({ batch, adapterNames, known }: MixedBatch): Map<string, number[]> {
  const rows = (batch as { readonly inputIds?: Rows }).inputIds;
  if (rows === undefined)
    throw fault("adapterNames needs a batch of rows (inputIds); this one is packed already.", {});
  if (rows.length !== adapterNames.length) {
    throw fault(`adapterNames has ${adapterNames.length} entries; the batch has ${rows.length} rows.`, {
      names: adapterNames.length,
      rows: rows.length,
    });
  }
  const groups = new Map<string, number[]>();
  for (const [row, name] of adapterNames.entries()) {
    if (name !== BASE_ROWS && !known.includes(name)) throw unknownAdapter(name, [...known, BASE_ROWS]);
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  return groups;
}

const isRows = (values: Rows | ArrayLike<number>): values is Rows => typeof values[0] === "object";

/** What fills rows up to the longest of the batch, so that every part of it has the same padded shape. */
const FILL: Readonly<Record<string, number>> = { attentionMask: 0, decoderAttentionMask: 0, labels: IGNORED };

const widest = (rows: Rows): number => rows.reduce((most, row) => Math.max(most, row.length), 0);

/** Masks that keep what was added to ragged rows from being read. */
function withMasks(batch: TaskBatch): TaskBatch {
  const ones = (rows: Rows): number[][] => rows.map((row) => Array.from(row, () => 1));
  const { inputIds, attentionMask = ones(inputIds), decoderInputIds, decoderAttentionMask } = batch;
  if (decoderInputIds === undefined) return { ...batch, attentionMask };
  return {
    ...batch,
    attentionMask,
    decoderAttentionMask: decoderAttentionMask ?? ones(decoderInputIds),
  };
}

/** Some rows of a batch, padded as the whole of it is. */
function pickRows(batch: TaskBatch, rows: readonly number[]): TaskBatch {
  const picked = Object.entries(withMasks(batch)).map(([name, values]: [string, unknown]) => {
    if (typeof values === "function")
      throw fault(`${name} is of the whole batch, which adapterNames takes apart.`, { name });
    if (values === undefined) return [name, undefined];
    const list = values as Rows | ArrayLike<number>;
    if (!isRows(list)) return [name, rows.map((row) => list[row]!)];
    const width = widest(list);
    const filled = rows.map((row) => {
      const own = Array.from(list[row]!);
      return [...own, ...Array.from({ length: width - own.length }, () => FILL[name] ?? 0)];
    });
    return [name, filled];
  });
  return Object.fromEntries(picked) as unknown as TaskBatch;
}

/** Runs every group of rows with its adapter. */
async function runGroups<T>(
  mixed: MixedBatch,
  run: (part: TaskBatch) => Promise<T>,
): Promise<{ readonly rows: readonly number[]; readonly result: T }[]> {
  const results: { rows: readonly number[]; result: T }[] = [];
  for (const [name, rows] of groupRows(mixed)) {
    const result = await mixed.use(name === BASE_ROWS ? undefined : name, () => {
      const { taskIds, ...part } = pickRows(mixed.batch, rows);
      // Adapters that have no tasks take no numbers of them.
      return run(mixed.base.taskCount === undefined ? part : { ...part, taskIds });
    });
    results.push({ rows, result });
  }
  return results;
}

const isTensor = (value: unknown): value is PlainTensor =>
  typeof value === "object" && value !== null && "dims" in value && "data" in value;

/** Tensors of some rows each as one of all rows. */
function joinTensors(
  parts: readonly { readonly rows: readonly number[]; readonly tensor: PlainTensor }[],
): PlainTensor {
  const count = parts.reduce((sum, { rows }) => sum + rows.length, 0);
  const inner = parts[0]!.tensor.dims.slice(1);
  const size = inner.reduce((a, b) => a * b, 1);
  const data = new Float32Array(count * size);
  for (const { rows, tensor } of parts)
    for (const [i, row] of rows.entries())
      data.set(tensor.data.subarray(i * size, (i + 1) * size), row * size);
  return { data, dims: [count, ...inner] };
}

/**
 * Output of a batch whose rows have adapters of their own: rows of one adapter are run together, so it costs what its parts cost. The
 * loss is the mean over all that is supervised.
 *
 * @throws {@link ShapeError} `adapter_names`; {@link ConfigError} `adapter_unknown`
 */
async function forwardMixed(mixed: MixedBatch, options: ForwardOptions): Promise<ModelOutput> {
  const parts = await runGroups(mixed, (part) => mixed.base.forward(part, options));
  const supervisedTokens = parts.reduce((sum, { result }) => sum + result.supervisedTokens, 0);
  const sum = parts.reduce(
    (total, { result: { loss, supervisedTokens: count } }) => total + (count === 0 ? 0 : loss! * count),
    0,
  );
  const joined = Object.entries(parts[0]!.result).map(([name, value]: [string, unknown]) => {
    if (!isTensor(value)) return [name, value];
    const tensors = parts.map(({ rows, result }) => ({
      rows,
      tensor: (result as unknown as Readonly<Record<string, PlainTensor>>)[name]!,
    }));
    return [name, joinTensors(tensors)];
  });
  const loss = parts.every(({ result }) => result.loss === undefined) ? undefined : sum / supervisedTokens;
  return { ...Object.fromEntries(joined), loss, supervisedTokens } as ModelOutput;
}

/** Summed loss of a batch whose rows have adapters of their own; answers come adapter by adapter. */
async function evaluateMixed(mixed: MixedBatch, options: ForwardOptions): Promise<Evaluation> {
  const parts = await runGroups(mixed, (part) => mixed.base.evaluate(part, options));
  const answers = parts.flatMap(({ result }) => (result.answers === undefined ? [] : [result.answers]));
  return {
    loss: parts.reduce((sum, { result }) => sum + result.loss, 0),
    supervisedTokens: parts.reduce((sum, { result }) => sum + result.supervisedTokens, 0),
    answers: answers[0] && { ...answers[0], rows: answers.flatMap(({ rows }) => rows) },
  };
}

/**
 * Runs batches with the active adapter, or with an adapter of its own for each row. While rows have adapters of their own, which one is
 * in use changes, so other calls wait.
 */
export class AdapterRows {
  #mixing: Promise<unknown> | undefined;

  constructor(
    readonly base: PretrainedModel,
    readonly adapters: { readonly names: () => readonly string[]; readonly use: UseAdapter },
  ) {}

  forward(batch: TaskBatch | PackedBatch, { adapterNames, ...rest }: MixedOptions): Promise<ModelOutput> {
    if (adapterNames === undefined) return this.#afterMixing(() => this.base.forward(batch, rest));
    return this.#mix(batch, adapterNames, (mixed) => forwardMixed(mixed, rest));
  }

  evaluate(batch: TaskBatch | PackedBatch, { adapterNames, ...rest }: MixedOptions): Promise<Evaluation> {
    if (adapterNames === undefined) return this.#afterMixing(() => this.base.evaluate(batch, rest));
    return this.#mix(batch, adapterNames, (mixed) => evaluateMixed(mixed, rest));
  }

  async backward(batch: TaskBatch | PackedBatch, options: BackwardOptions): Promise<BackwardOutput> {
    refuseMixedTraining(options);
    return this.#afterMixing(() => this.base.backward(batch, options));
  }

  async #afterMixing<T>(work: () => Promise<T>): Promise<T> {
    while (this.#mixing !== undefined) await this.#mixing.catch(() => undefined);
    return work();
  }

  async #mix<T>(
    batch: TaskBatch | PackedBatch,
    adapterNames: readonly string[],
    work: (mixed: MixedBatch) => Promise<T>,
  ): Promise<T> {
    return this.#afterMixing(() => {
      const { names, use } = this.adapters;
      const running = work({ base: this.base, batch: batch as TaskBatch, adapterNames, known: names(), use });
      this.#mixing = running;
      return running.finally(() => (this.#mixing = undefined));
    });
  }
}
