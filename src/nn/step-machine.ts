import { byteParts } from "../base/byte-matrix.js";
import { type HostTensor, tensorBytes } from "../base/host-tensor.js";
import { packedParts } from "../base/packed-matrix.js";
import { BYTES_PER_ELEMENT, type DType } from "../base/tensor-type.js";
import type { Crew, Engine } from "../runtime/engine.js";
import { Arena } from "../steps/arena.js";
import { arrange, type BlockTensor, filledRows } from "../steps/arrange.js";
import type { Cells } from "../steps/cells.js";
import { NoSteps, StepEmitter } from "../steps/emitter.js";
import { StepProgram } from "../steps/program.js";
import { UNPACKED, unpackStep } from "../steps/products.js";
import type { Parameter } from "./parameter.js";
import type { Source } from "./token-program.js";
import type { Leaf } from "./trace.js";

type PackedLeaf = Extract<Leaf, { kind: "packed" }>;

/** A memory that small steps run over, with its threads and the weights that were put there. */
export interface OpenMachine {
  readonly arena: Arena;
  readonly crew: Crew;
}

/** What a tensor holds, by its name. */
function kindOf(part: string): BlockTensor {
  if (part === "byte bytes") return "bytes";
  return part.startsWith("codes ") ? "nibbles" : "numbers";
}

const rowsOfAll = (parameters: readonly Parameter[]): number =>
  parameters.reduce((sum, { shape }) => sum + shape[0]!, 0);

/** The frozen matrix of 16 bits that a source is, which kernels read as it is; undefined of any other. */
export function halfWeight(source: Source): Parameter | undefined {
  if (source.kind !== "parameter") return undefined;
  const { parameter } = source;
  const { type, trainable, decodes } = parameter;
  const half = !trainable && !decodes && /^b?float16$/.test(type.dtype);
  // Sizes that graphs keep open are those of adapters.
  const matrix = type.shape.length === 2 && type.shape.every((dim) => typeof dim === "number");
  return half && matrix ? parameter : undefined;
}

/** Bytes of a file that are unpacked at once: two such pieces are there, one that is read and one that threads unpack. */
const MOST_RAW = 2 ** 20;

/** Runs small steps of a model: opened when something is generated, closed when training starts. */
export class StepMachine {
  #open: OpenMachine | undefined;
  /** Weights in blocks, by their parameters and the name of the tensor. */
  #weights = new Map<string, Cells>();
  /** Weights of 16 bits, and what they were copied from. */
  #halves = new Map<Parameter, { readonly tensor: HostTensor; readonly cells: Cells }>();
  /** Whether weights could not be put there: then nothing is run in steps any more. */
  #failed = false;
  /** What is being put there. */
  #loading: Promise<unknown> = Promise.resolve();
  readonly #numbers = new Map<Parameter, number>();

  constructor(readonly engine: Engine) {}

  /** The memory and its threads; undefined where the engine has none, or the system no memory or threads to give. */
  open(): OpenMachine | undefined {
    if (this.#failed) return undefined;
    if (this.#open !== undefined || this.engine.openCrew === undefined) return this.#open;
    try {
      const arena = new Arena();
      this.#open = { arena, crew: this.engine.openCrew(arena.memory) };
    } catch {
      return undefined;
    }
    return this.#open;
  }

  #keyOf(parameters: readonly Parameter[], part: string): string {
    const numbers = parameters.map((one) => {
      if (!this.#numbers.has(one)) this.#numbers.set(one, this.#numbers.size);
      return this.#numbers.get(one)!;
    });
    return `${numbers.join(" ")} ${part}`;
  }

  /** Where a tensor of weights in blocks is, once it was loaded. */
  weights({ parameters, part }: PackedLeaf): Cells {
    return this.#weights.get(this.#keyOf(parameters, part))!;
  }

  /** The same of a weight of 16 bits. */
  half(parameter: Parameter): Cells {
    return this.#halves.get(parameter)!.cells;
  }

  /**
   * Puts the weights in blocks and of 16 bits that a graph reads where steps can read them, those that are not there yet.
   *
   * @throws NoSteps where there is no memory
   */
  load(sources: readonly Source[]): Promise<void> {
    const next = this.#loading.then(() => this.#load(sources));
    // What came half-way must not be taken for whole.
    this.#loading = next.catch(() => (this.#failed = true));
    return next;
  }

  async #load(sources: readonly Source[]): Promise<void> {
    if (this.#failed) throw new NoSteps("loading failed before");
    this.#checkSize(sources);
    let before: Promise<void> = Promise.resolve();
    for (const source of sources) {
      const half = halfWeight(source);
      if (half !== undefined) this.#copy(half);
      if (source.kind !== "packed") continue;
      const { parameters, part } = source;
      if (this.#weights.has(this.#keyOf(parameters, part))) continue;
      // While threads unpack some, the next ones are read.
      const unpacked = this.#put(parameters, part.startsWith("byte "));
      // Where both fail, the first error tells.
      unpacked.catch(() => undefined);
      await before;
      before = unpacked;
    }
    await before;
  }

  #checkSize(sources: readonly Source[]): void {
    const halves = new Set(sources.flatMap((source) => halfWeight(source) ?? []));
    const blocks = new Set(sources.flatMap((source) => (source.kind === "packed" ? source.parameters : [])));
    let bytes = 0;
    for (const { size } of halves) bytes += size * BYTES_PER_ELEMENT.bfloat16;
    // Bytes are more than codes of 4 bits with scales and offsets.
    for (const { size } of blocks) bytes += size * 1.25;
    if (bytes > this.#open!.crew.mostBytes) throw new NoSteps("too large to be copied");
  }

  /** Copies a weight of 16 bits as it is, unless this was done before. */
  #copy(parameter: Parameter): void {
    const { tensor } = parameter;
    const before = this.#halves.get(parameter);
    if (before?.tensor === tensor) return;
    const { arena } = this.#open!;
    if (before !== undefined) arena.free(before.cells.address);
    const { data, dims, dtype } = tensor;
    const address = arena.allocate(data.byteLength);
    if (address === undefined) throw new NoSteps("no memory");
    arena.bytesAt(address, data.byteLength).set(tensorBytes(tensor));
    const cells = { address, origin: address, dims, dtype, stride: dims.at(-1)! };
    this.#halves.set(parameter, { tensor, cells });
  }

  /** Room for a tensor of some weights, one below the other. */
  #room(parameters: readonly Parameter[], part: string, dims: readonly number[], dtype: DType): Cells {
    const key = this.#keyOf(parameters, part);
    const known = this.#weights.get(key);
    if (known !== undefined) return known;
    const rows = rowsOfAll(parameters);
    const perRow = dims.slice(1).reduce((a, b) => a * b, BYTES_PER_ELEMENT[dtype]);
    const address = this.#open!.arena.allocate(filledRows(rows) * perRow);
    if (address === undefined) throw new NoSteps("no memory");
    const cells = { address, origin: address, dims: [rows, ...dims.slice(1)], dtype, stride: dims.at(-1)! };
    this.#weights.set(key, cells);
    return cells;
  }

  /** Settles when the tensors of some weights are there. */
  async #put(parameters: readonly Parameter[], inBytes: boolean): Promise<void> {
    const direct = parameters.every(({ blocks }) => UNPACKED[blocks!.raw.kind]?.bits === (inBytes ? 8 : 4));
    if (direct) return this.#unpack(parameters, inBytes);
    const { arena } = this.#open!;
    let before = 0;
    for (const parameter of parameters) {
      const blocks = parameter.blocks!;
      const parts: ReadonlyMap<string, HostTensor> = inBytes
        ? byteParts(blocks.readBytes())
        : packedParts(blocks.read());
      for (const [part, { data, dims, dtype }] of parts) {
        const { address } = this.#room(parameters, part, dims, dtype);
        const size = (filledRows(rowsOfAll(parameters)) * data.byteLength) / dims[0]!;
        arrange(kindOf(part), data, dims[0]!, before, arena.bytesAt(address, size));
      }
      before += parameter.shape[0]!;
    }
  }

  /** The same with the blocks of the file as they stand there, by all threads, some rows after others. */
  async #unpack(parameters: readonly Parameter[], inBytes: boolean): Promise<void> {
    let firstRow = 0;
    for (const { blocks, shape } of parameters) {
      const [rows, width] = shape as [number, number];
      const { kind, bytesPerRow, copy } = blocks!.raw;
      const { blockSize } = blocks!.packing;
      const count = width / blockSize;
      const tensors = {
        codes: inBytes
          ? this.#room(parameters, "byte bytes", [rows, count, blockSize], "uint8")
          : this.#room(parameters, "codes 0", [rows, count, blockSize / 2], "uint8"),
        scales: this.#room(parameters, inBytes ? "byte scales" : "scales 0", [rows, count], "float32"),
        offsets: UNPACKED[kind]!.offsets
          ? this.#room(parameters, "offsets", [rows, count], "float32")
          : undefined,
      };
      const piece = Math.max(1, Math.floor(MOST_RAW / bytesPerRow));
      for (let row = 0; row < rows; row += piece) {
        const part = { rows: Math.min(piece, rows - row), firstRow: firstRow + row, kind };
        await this.#unpackRows(part.rows * bytesPerRow, (out) => copy(out, row), part, tensors);
      }
      firstRow += rows;
    }
  }

  async #unpackRows(
    bytes: number,
    fill: (out: Uint8Array) => void,
    part: Omit<Parameters<typeof unpackStep>[1], "raw">,
    tensors: Parameters<typeof unpackStep>[2],
  ): Promise<void> {
    const { arena, crew } = this.#open!;
    const raw = arena.allocate(Math.max(MOST_RAW, bytes));
    if (raw === undefined) throw new NoSteps("no memory");
    fill(arena.bytesAt(raw, bytes));
    const emit = new StepEmitter(arena, crew.threads);
    unpackStep(emit, { raw, ...part }, tensors);
    const program = new StepProgram(emit);
    await crew.run(program.address, 1);
    await crew.idle();
    program.release();
    arena.free(raw);
  }

  /** Gives the memory up once nothing runs over it. */
  async close(): Promise<void> {
    await this.#loading;
    const open = this.#open;
    this.#open = undefined;
    this.#failed = false;
    this.#weights = new Map();
    this.#halves = new Map();
    await open?.crew.close();
  }
}
