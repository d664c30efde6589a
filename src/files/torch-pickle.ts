import { CheckpointError } from "../base/errors.js";

/** A name of Python that a pickle calls. */
class Global {
  constructor(readonly name: string) {}
}

/** A stretch of bytes that tensors are read from. */
export interface StorageReference {
  /** Class of the storage, such as `torch FloatStorage`. */
  readonly type: string;
  readonly key: string;
}

/** A tensor as a pickle describes it, in elements. */
export interface PickledTensor {
  readonly storage: StorageReference;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

const MARK = Symbol("mark");

const isTensor = (value: unknown): value is PickledTensor =>
  typeof value === "object" && value !== null && "storage" in value && "strides" in value;

/** What the few calls give that a file of tensors is made of; undefined for any other. */
function call(name: string, values: readonly unknown[]): unknown {
  if (name === "collections OrderedDict") return new Map();
  if (name === "torch._utils _rebuild_parameter") return values[0];
  if (name !== "torch._utils _rebuild_tensor_v2") return undefined;
  const [storage, offset, shape, strides] = values as [StorageReference, number, number[], number[]];
  return { storage, offset, shape, strides };
}

/** Reads the opcodes of a pickle one after another. Nothing of Python is run: only tensors, texts, numbers and containers are made. */
class Reader {
  readonly #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();
  readonly #view: DataView;
  #at = 0;

  constructor(
    readonly bytes: Uint8Array,
    readonly path: string,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fault(reason: string): CheckpointError {
    return new CheckpointError({
      code: "pickle_other",
      summary: `${this.path} holds more than tensors: ${reason}. Nothing in it was run.`,
      fixes: ["save it again with Python as safetensors: save_adapter(folder, name, use_safetensors=True)"],
      fields: { path: this.path, reason },
    });
  }

  #text(length: number): string {
    this.#at += length;
    return new TextDecoder().decode(this.bytes.subarray(this.#at - length, this.#at));
  }

  #line(): string {
    const end = this.bytes.indexOf(10, this.#at);
    if (end < 0) throw this.fault("it breaks off");
    const text = this.#text(end - this.#at);
    this.#at += 1;
    return text;
  }

  #uint(width: 1 | 2 | 4): number {
    const at = this.#at;
    this.#at += width;
    if (width === 1) return this.#view.getUint8(at);
    return width === 2 ? this.#view.getUint16(at, true) : this.#view.getUint32(at, true);
  }

  #long(length: number): number {
    let value = 0n;
    for (let i = length - 1; i >= 0; i -= 1) value = (value << 8n) | BigInt(this.bytes[this.#at + i] ?? 0);
    this.#at += length;
    return Number(BigInt.asIntN(8 * length, value));
  }

  #sinceMark(): unknown[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) throw this.fault("its marks do not match");
    const items = this.#stack.splice(mark);
    return items.slice(1);
  }

  #put(items: readonly unknown[]): void {
    const target = this.#stack.at(-1);
    if (!(target instanceof Map)) throw this.fault("it changes something that is no dictionary");
    for (let i = 0; i + 1 < items.length; i += 2) target.set(items[i], items[i + 1]);
  }

  #append(items: readonly unknown[]): void {
    const target = this.#stack.at(-1);
    if (!Array.isArray(target)) throw this.fault("it changes something that is no list");
    target.push(...items);
  }

  #reduce(): unknown {
    const [made, values] = this.#stack.splice(-2);
    const name = made instanceof Global ? made.name : String(made);
    const result = call(name, Array.isArray(values) ? values : []);
    if (result === undefined) throw this.fault(`it calls ${name.replace(" ", ".")}`);
    return result;
  }

  #storage(): StorageReference {
    const [kind, type, key] = this.#stack.pop() as unknown[];
    if (kind !== "storage" || !(type instanceof Global)) throw this.fault("it refers to something unknown");
    return { type: type.name, key: String(key) };
  }

  #global(): Global {
    const [module, name] = this.#stack.splice(-2);
    return new Global(`${String(module)} ${String(name)}`);
  }

  #tuple(count: number): unknown[] {
    return this.#stack.splice(-count);
  }

  /** What an opcode puts on the stack. */
  #value(op: number): unknown {
    switch (String.fromCharCode(op)) {
      case "(":
        return MARK;
      case "N":
        return null;
      case "}":
        return new Map();
      case "]":
      case ")":
        return [];
      case "t":
        return this.#sinceMark();
      case "c":
        return new Global(`${this.#line()} ${this.#line()}`);
      case "X":
        return this.#text(this.#uint(4));
      case "K":
        return this.#uint(1);
      case "M":
        return this.#uint(2);
      case "J":
        return this.#long(4);
      case "G":
        this.#at += 8;
        return this.#view.getFloat64(this.#at - 8);
      case "h":
        return this.#memo.get(this.#uint(1));
      case "j":
        return this.#memo.get(this.#uint(4));
      case "Q":
        return this.#storage();
      case "R":
        return this.#reduce();
    }
    switch (op) {
      case 0x85:
      case 0x86:
      case 0x87:
        return this.#tuple(op - 0x84);
      case 0x88:
      case 0x89:
        return op === 0x88;
      case 0x8a:
        return this.#long(this.#uint(1));
      case 0x8c:
        return this.#text(this.#uint(1));
      case 0x93:
        return this.#global();
    }
    throw this.fault(`it uses the opcode ${op}`);
  }

  /** Whether an opcode was one that puts nothing on the stack. */
  #quiet(op: number): boolean {
    switch (String.fromCharCode(op)) {
      case "q":
        this.#memo.set(this.#uint(1), this.#stack.at(-1));
        return true;
      case "r":
        this.#memo.set(this.#uint(4), this.#stack.at(-1));
        return true;
      case "u":
        this.#put(this.#sinceMark());
        return true;
      case "s":
        this.#put(this.#stack.splice(-2));
        return true;
      case "e":
        this.#append(this.#sinceMark());
        return true;
      case "a":
        this.#append(this.#stack.splice(-1));
        return true;
      case "b":
        // Attributes of a dictionary: versions of modules, which tensors do not need.
        this.#stack.pop();
        return true;
    }
    if (op === 0x80) this.#at += 1;
    else if (op === 0x94) this.#memo.set(this.#memo.size, this.#stack.at(-1));
    else if (op === 0x95) this.#at += 8;
    else return false;
    return true;
  }

  read(): unknown {
    try {
      while (this.#at < this.bytes.length) {
        const op = this.#uint(1);
        if (op === 0x2e) return this.#stack.pop();
        if (!this.#quiet(op)) this.#stack.push(this.#value(op));
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
    throw this.fault("it breaks off");
  }
}

/**
 * The tensors that a pickle of torch describes, by name. No code in it is run.
 *
 * @throws {@link CheckpointError} `pickle_other` where it holds anything but tensors
 */
export function readTorchPickle(bytes: Uint8Array, path: string): Map<string, PickledTensor> {
  const reader = new Reader(bytes, path);
  const result = reader.read();
  if (!(result instanceof Map)) throw reader.fault("it is no dictionary of tensors");
  return new Map(
    [...(result as Map<unknown, unknown>)].map(([name, value]): [string, PickledTensor] => {
      if (typeof name !== "string" || !isTensor(value)) throw reader.fault(`${String(name)} is no tensor`);
      return [name, value];
    }),
  );
}
