import { InternalError } from "../base/errors.js";
import { asFloat32 } from "../base/half.js";
import type { DType, Shape, TensorType } from "../base/tensor-type.js";
import type { StoredBlocks } from "../base/packed-matrix.js";
import type { CodedWeight } from "./coded-weight.js";
import { elementCount, type HostTensor, hostTensor, zeros } from "../base/host-tensor.js";

export interface ParameterOptions {
  readonly dtype?: DType;
  /** Sizes that graphs keep symbolic, such as the rank of an adapter. */
  readonly symbolic?: Shape;
  readonly trainable?: boolean;
}

/** What else is known of elements that are not read yet. */
export interface Deferred {
  /** The same matrix as the file keeps it, where products can use that. */
  readonly blocks?: StoredBlocks | undefined;
  /** How the elements are decoded, where they have to be. */
  readonly decode?: ((out: Float32Array) => void) | undefined;
  /** Whether they stay in memory once they were decoded. @defaultValue true */
  readonly kept?: boolean;
}

// For elements that are read once, shared by all parameters.
let scratch = new Float32Array(0);

/**
 * A tensor of weights: its size is known at once, its elements when it is loaded.
 *
 * Weights of a checkpoint stay in the element type of the file (float32, float16, bfloat16); graphs compute in float32.
 */
export class Parameter {
  /** Full name, as Hugging Face writes it; set when the model tree is named. */
  name = "";
  readonly shape: readonly number[];
  /**
   * dL/dW, summed over the calls of `backward` since the last `zeroGrad`; undefined before the first. While `train` runs one array serves
   * step after step: copy it to keep it.
   */
  grad: Float32Array | undefined;
  /** The array of a gradient that is forgotten, for the next one. */
  spareGrad: Float32Array | undefined;
  trainable: boolean;
  #type: TensorType;
  #tensor: HostTensor | undefined;
  #load: (() => HostTensor) | undefined;
  #blocks: StoredBlocks | undefined;
  #decode: ((out: Float32Array) => void) | undefined;
  #kept = true;
  #coded: CodedWeight | undefined;

  constructor(shape: readonly number[], options: ParameterOptions = {}) {
    this.shape = shape;
    this.trainable = options.trainable ?? false;
    this.#type = { dtype: options.dtype ?? "float32", shape: options.symbolic ?? shape };
  }

  /** Element type and sizes as graphs see them. */
  get type(): TensorType {
    return this.#type;
  }

  get size(): number {
    return elementCount(this.shape);
  }

  /** Says where the elements come from, without reading them yet. */
  defer(dtype: DType, load: () => HostTensor, { blocks, decode, kept = true }: Deferred = {}): void {
    this.#decode = decode;
    this.#kept = kept;
    this.#type = { dtype, shape: this.#type.shape };
    this.#tensor = undefined;
    this.#load = load;
    this.#blocks = blocks;
    this.#coded = undefined;
  }

  /** Keeps it in codes, which are decoded to float32 whenever somebody needs the elements. */
  keepCoded(coded: CodedWeight): void {
    const load = (): HostTensor => {
      const tensor = zeros("float32", this.shape);
      coded.decode(tensor.data as Float32Array);
      return tensor;
    };
    this.defer("float32", load, { decode: (out) => coded.decode(out), kept: false });
    this.#coded = coded;
  }

  /** The codes it is kept in, while it is frozen and nothing was put in their place. */
  get coded(): CodedWeight | undefined {
    return this.trainable || this.loaded ? undefined : this.#coded;
  }

  /** Whether its elements are decoded anew for each use, however much memory there is. */
  get transient(): boolean {
    return !this.#kept && this.decodes;
  }

  /** The blocks that the file keeps it in, while it is frozen and nothing was put in their place. */
  get blocks(): StoredBlocks | undefined {
    return this.trainable ? undefined : this.#blocks;
  }

  /** Takes these elements. */
  assign(tensor: HostTensor): void {
    if (elementCount(tensor.dims) !== this.size) {
      throw new InternalError(
        `${this.name} has ${this.size} elements and was given ${elementCount(tensor.dims)}.`,
      );
    }
    this.#type = { dtype: tensor.dtype, shape: this.#type.shape };
    this.#tensor = tensor;
    this.#load = undefined;
    this.#blocks = undefined;
    this.#decode = undefined;
    this.#coded = undefined;
    this.#kept = true;
  }

  /** Whether its elements have to be decoded from a file whenever they are read. */
  get decodes(): boolean {
    return this.#decode !== undefined && !this.trainable;
  }

  /** Gives the elements to somebody who needs them once; those that have to be decoded for it are not kept. */
  readOnce<T>(use: (tensor: HostTensor) => T): T {
    if (this.#tensor !== undefined || this.#decode === undefined) return use(this.tensor);
    if (scratch.length < this.size) scratch = new Float32Array(this.size);
    const data = scratch.subarray(0, this.size);
    this.#decode(data);
    return use(hostTensor("float32", this.shape, data));
  }

  /** Decodes the elements into memory of the caller. */
  decodeInto(out: Float32Array): void {
    if (this.#decode === undefined) throw new InternalError(`${this.name} has nothing to decode.`);
    this.#decode(out);
  }

  get loaded(): boolean {
    return this.#tensor !== undefined;
  }

  /** The elements in the stored type; read on first use, and a copy where they are decoded anew each time. */
  get tensor(): HostTensor {
    if (this.#tensor === undefined) {
      if (this.#load === undefined) throw new InternalError(`${this.name} was used before it was loaded.`);
      const tensor = this.#load();
      if (this.transient) return tensor;
      this.#tensor = tensor;
    }
    return this.#tensor;
  }

  /** The elements as float32: the live array of a float32 parameter, a converted copy of any other. */
  get data(): Float32Array {
    return asFloat32(this.tensor);
  }

  /** Makes room for float32 elements of this parameter's own, all zero. */
  allocate(): Float32Array {
    this.assign(zeros("float32", this.shape));
    return this.tensor.data as Float32Array;
  }
}
