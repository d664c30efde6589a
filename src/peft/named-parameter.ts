import type { Parameter } from "../nn/parameter.js";

/** A parameter as users see it. */
export interface NamedParameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly size: number;
  readonly trainable: boolean;
  /** float32: the live array of an adapter's parameter, a copy of a frozen half-precision one. */
  readonly data: Float32Array;
  readonly grad: Float32Array | undefined;
}

/** The same parameter under another name. */
export function renamed(parameter: Parameter, name: string): NamedParameter {
  return Object.create(parameter, { name: { value: name, enumerable: true } }) as NamedParameter;
}
