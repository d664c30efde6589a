import type { TensorType } from "../base/tensor-type.js";
import { inputValue, type Value, withScope } from "../graph/value.js";
import { ops } from "../ops/index.js";
import type { Int8Side } from "../steps/to-int8.js";
import type { Int8Part } from "./int8-weights.js";
import { type Module, ownParameter } from "./module.js";
import type { BytePart } from "../base/byte-matrix.js";
import type { PackedPart } from "../base/packed-matrix.js";
import type { Parameter } from "./parameter.js";
import type { ReplaceContext, VirtualContext } from "./site.js";

/** What an input of a traced graph stands for, so that the runner can find it. */
export type Leaf =
  | { readonly kind: "parameter"; readonly parameter: Parameter }
  /** One of the tensors of matrices in blocks, of one below the other where there are several: a constant of the compiled graph. */
  | {
      readonly kind: "packed";
      readonly parameters: readonly Parameter[];
      readonly part: PackedPart | BytePart;
    }
  /** A tensor of a frozen weight in 8 bits, and which sides of the weight the model reads. */
  | {
      readonly kind: "int8";
      readonly parameter: Parameter;
      readonly part: Int8Part;
      readonly sides: readonly Int8Side[];
    }
  /** The rows of a table that the tokens name. */
  | { readonly kind: "rows"; readonly parameter: Parameter }
  | { readonly kind: "stream"; readonly stream: string }
  | { readonly kind: "batch"; readonly name: string }
  | { readonly kind: "columnKeys"; readonly width: number; readonly index: number }
  /** Random numbers for the dropout of rows that are no tokens of the batch. */
  | { readonly kind: "virtualKeys"; readonly rows: number; readonly index: number };

/** Token rows of a packed batch. */
export const TOKENS = "N";

/** Rows of a batch. */
export const ROWS = "B";

/** How products with frozen weights are computed, where it is not with decoded float32 weights. */
export interface Products {
  /** Whether matrices in blocks are used as they are. */
  readonly packed?: boolean;
  /** Whether they are computed in whole numbers of 8 bits: not at all, forward and backward, or forward alone. */
  readonly int8?: boolean | "forward";
  /** Whether codes of more than 4 bits are then used as bytes, not as two digits. */
  readonly bytes?: boolean;
  /** Whether small steps compute them: with bytes where they say the same as two digits, and what blocks add to products in one go. */
  readonly steps?: boolean;
}

export interface TraceOptions {
  readonly training?: boolean;
  readonly rows?: string;
  readonly products?: Products;
}

/** A graph under construction: model code calls `f`, and asks here for whatever comes from outside. */
export class Trace {
  readonly f = ops;
  readonly leaves = new Map<Value, Leaf>();
  /** What reached each module, before any adapter. */
  readonly inputs = new Map<Module, Value>();
  readonly #parameters = new Map<Parameter, Value>();
  readonly #batch = new Map<string, Value>();
  /** Sums of inputs over blocks, by input and number of blocks: products that read one input share them. */
  readonly blockSums = new Map<string, Value>();
  /** Products that were computed together with others of the same input. */
  readonly shared = new Map<Parameter, { readonly x: Value; readonly product: Value }>();
  /** Whether dropout is on. */
  readonly training: boolean;
  /** Name of the number of rows that dropout works on. */
  readonly rows: string;
  readonly products: Products;

  constructor({ training = false, rows = TOKENS, products = {} }: TraceOptions = {}) {
    this.training = training;
    this.rows = rows;
    this.products = products;
  }

  /** A stream of token rows: (N, width). */
  stream(name: string, width: number): Value {
    const value = inputValue(name, { dtype: "float32", shape: [TOKENS, width] });
    this.leaves.set(value, { kind: "stream", stream: name });
    return value;
  }

  /** A parameter in its stored element type. */
  storedParameter(parameter: Parameter): Value {
    let value = this.#parameters.get(parameter);
    if (value === undefined) {
      value = inputValue(parameter.name, parameter.type);
      this.#parameters.set(parameter, value);
      this.leaves.set(value, { kind: "parameter", parameter });
    }
    return value;
  }

  /** A parameter as float32; integers stay what they are. */
  parameter(parameter: Parameter): Value {
    const stored = this.storedParameter(parameter);
    return /^(float32|u?int)/.test(stored.type.dtype) ? stored : this.f.cast(stored, { to: "float32" });
  }

  /** Whether an active adapter puts something in the place of a module's own parameter. */
  isReplaced(module: Module, name: string): boolean {
    return module.attachments.some(({ active, replaces }) => active && replaces?.[name] !== undefined);
  }

  /** A module's own parameter, or the one that stands in for it. */
  standing(module: Module, name: string): Parameter {
    const own = ownParameter(module, name);
    return module.attachments.reduce(
      (parameter, { active, standsIn }) => (active ? standsIn?.[name] : undefined) ?? parameter,
      own,
    );
  }

  /** Rows (N, D) of a table for the tokens of the batch, read where it is kept; undefined where the whole table is needed. */
  rowsOfTable(module: Module, ids: Value): Value | undefined {
    const weight = this.standing(module, "weight");
    const leaf = this.leaves.get(ids);
    const tokens = leaf?.kind === "batch" && leaf.name === "tokens";
    if (!tokens || weight.blocks === undefined || this.isReplaced(module, "weight")) return undefined;
    const rows = inputValue(`rows of ${weight.name}`, {
      dtype: "float32",
      shape: [TOKENS, weight.shape[1]!],
    });
    this.leaves.set(rows, { kind: "rows", parameter: weight });
    return rows;
  }

  /** A module's own parameter as float32, or what the active adapters put in its place. */
  own(module: Module, name: string): Value {
    const value = this.ownStored(module, name);
    return value.type.dtype === "float32" ? value : this.f.cast(value, { to: "float32" });
  }

  /** The same, in the stored element type where nothing replaces it. */
  ownStored(module: Module, name: string): Value {
    let value = (): Value => this.storedParameter(this.standing(module, name));
    const turn = (x: Value): Value => this.#turned(module, name, x);
    for (const { active, replaces } of module.attachments) {
      const replace = active ? replaces?.[name] : undefined;
      if (replace === undefined) continue;
      const below = value;
      const replaced = turn(replace(this.#replaceContext(() => turn(below()))));
      value = () => replaced;
    }
    return value();
  }

  /** The base enters the graph where it is asked for, so that what is replaced as a whole costs nothing. */
  #replaceContext(below: () => Value): ReplaceContext {
    const asFloat32 = (value: Value): Value =>
      value.type.dtype === "float32" ? value : this.f.cast(value, { to: "float32" });
    return {
      f: this.f,
      get base() {
        return asFloat32(below());
      },
      p: (parameter) => this.parameter(parameter),
    };
  }

  /** A parameter that is kept transposed as (out, in), or back. */
  #turned(module: Module, name: string, x: Value): Value {
    return module.transposed.includes(name) ? this.f.transpose(x, { axes: [1, 0] }) : x;
  }

  /** A tensor that is the same for all layers of one run, such as token ids or rotary tables. */
  batch(name: string, type: TensorType): Value {
    let value = this.#batch.get(name);
    if (value === undefined) {
      value = inputValue(name, type);
      this.#batch.set(name, value);
      this.leaves.set(value, { kind: "batch", name });
    }
    return value;
  }

  /** Drops a share p of the elements of x (N, D) while training. */
  dropout(x: Value, p: number): Value {
    if (!this.training || p === 0) return x;
    return this.#dropWith(x, this.batch("rowKeys", { dtype: "float32", shape: [this.rows, 2] }), p);
  }

  #dropWith(x: Value, rows: Value, p: number): Value {
    const width = x.type.shape[1] as number;
    return this.f.dropout(x, rows, this.#columnKeys(width), { p });
  }

  /** Uniform numbers (2, width), drawn anew for every pass. */
  #columnKeys(width: number): Value {
    const columns = inputValue("columnKeys", { dtype: "float32", shape: [2, width] });
    const index = [...this.leaves.values()].filter((leaf) => leaf.kind === "columnKeys").length;
    this.leaves.set(columns, { kind: "columnKeys", width, index });
    return columns;
  }

  /** While training, 1 or 0 for each of `count` things, 0 with probability p: (1, count). */
  keep(count: number, p: number): Value | undefined {
    if (!this.training || p === 0) return undefined;
    const draws = this.f.slice(this.#columnKeys(count), { axis: 0, start: 0, end: 1 });
    return this.f.step(this.f.offset(draws, { by: -p }));
  }

  /** What the graph of virtual tokens is made with. */
  virtualContext(): VirtualContext {
    return {
      f: this.f,
      p: (parameter) => this.parameter(parameter),
      tasks: () => this.batch("taskIds", { dtype: "int64", shape: [ROWS] }),
      dropout: (x, p) => {
        if (!this.training || p === 0) return x;
        const count = x.type.shape[0] as number;
        const keys = inputValue("virtualKeys", { dtype: "float32", shape: [count, 2] });
        const index = [...this.leaves.values()].filter((leaf) => leaf.kind === "virtualKeys").length;
        this.leaves.set(keys, { kind: "virtualKeys", rows: count, index });
        return this.#dropWith(x, keys, p);
      },
    };
  }

  /** Embedded tokens x (N, D) of the table `module`, virtual ones in the rows that the batch keeps for them. */
  withVirtual(module: Module, x: Value): Value {
    let y = x;
    for (const { active, virtual } of module.attachments) {
      if (!active || virtual?.into !== "input") continue;
      const column = (name: string): Value => this.batch(name, { dtype: "float32", shape: [TOKENS, 1] });
      const index = this.batch("virtualIndex", { dtype: "int64", shape: [TOKENS] });
      const rows = virtual.rows(this.virtualContext());
      // Real rows read row 0 and multiply it by zero, so the gradient needs no sizes that are unknown.
      const placed = this.f.mul(this.f.gather(rows, index), column("virtualRows"));
      y = this.f.add(this.f.mul(y, column("realRows")), placed);
    }
    return y;
  }

  /** Applies a module through the active adapters at it, the last one outermost. */
  adapt(module: Module, x: Value, base: (x: Value) => Value): Value {
    this.inputs.set(module, x);
    let apply = (input: Value): Value => withScope(module.path.split(".").at(-1)!, () => base(input));
    for (const attachment of module.attachments) {
      if (!attachment.active || attachment.forward === undefined) continue;
      const around = attachment.forward.bind(attachment);
      const inner = apply;
      apply = (input) =>
        withScope(`${module.path.split(".").at(-1)!}.${attachment.adapter}`, () =>
          around({
            f: this.f,
            x: input,
            base: inner,
            p: (parameter) => this.parameter(parameter),
            own: (name) => this.#turned(module, name, this.own(module, name)),
            dropout: (value, p) => this.dropout(value, p),
            keep: (count, p) => this.keep(count, p),
          }),
        );
    }
    return apply(x);
  }

  /**
   * Adds what a module computed to the residual stream, with the norm that follows, through the active adapters at it: norm(h + r).
   *
   * Shapes: h and r (N, D) → (N, D).
   */
  join(module: Module, h: Value, r: Value, norm?: (x: Value) => Value): Value {
    let apply = (x: Value): Value => {
      const sum = this.f.add(x, r);
      return norm === undefined ? sum : norm(sum);
    };
    for (const attachment of module.attachments) {
      if (!attachment.active || attachment.join === undefined) continue;
      const around = attachment.join.bind(attachment);
      const base = apply;
      apply = (x) =>
        withScope(`${module.path.split(".").at(-1)!}.${attachment.adapter}`, () =>
          around({
            f: this.f,
            h: x,
            r,
            norm,
            base,
            p: (parameter) => this.parameter(parameter),
            dropout: (value, p) => this.dropout(value, p),
          }),
        );
    }
    return apply(h);
  }
}
