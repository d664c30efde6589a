import type { DType } from "../base/tensor-type.js";
import type { EngineCapabilities } from "../runtime/engine.js";

/** Values an ONNX attribute can have here. */
export type AttributeValue = number | { readonly float: number } | string | readonly number[];

export interface EmitOptions {
  readonly domain?: "com.microsoft" | undefined;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  /** Number of outputs; the first one's name is returned, the rest end in `_1`, `_2`. */
  readonly outputs?: number;
}

/** What `lower` writes to. */
export interface Emitter {
  readonly capabilities: EngineCapabilities;
  /** Adds a node and returns the name of its first output. */
  node(opType: string, inputs: readonly string[], options?: EmitOptions): string;
  /** A constant tensor; equal constants are stored once. */
  constant(dtype: DType, dims: readonly number[], values: readonly number[]): string;
  /** What the node behind a result computes beside it. */
  besides(result: string): readonly string[];
}
