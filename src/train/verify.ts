import type { HostTensor } from "../base/host-tensor.js";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import type { PeftModel } from "../peft/peft-model.js";

/** A 64-bit fingerprint of a tensor's bytes; two tensors that differ in one bit differ in it. */
export function fingerprint({ data }: HostTensor): string {
  const bytes = data.byteLength;
  const words = bytes >> 2;
  const aligned = data.byteOffset % 4 === 0;
  const source = aligned ? data : data.slice();
  const view = new Int32Array(source.buffer as ArrayBuffer, source.byteOffset, words);
  // Two lanes of multiply and add: each step is a bijection of the lane for a given word, so no single change can vanish.
  let a = 0x811c9dc5 | 0;
  let b = bytes | 0;
  for (let i = 0; i < words; i += 1) {
    a = Math.imul(a ^ view[i]!, 0x01000193);
    b = (Math.imul(b, 0x5bd1e995) + view[i]!) | 0;
  }
  const tail = new Uint8Array(source.buffer as ArrayBuffer, source.byteOffset + words * 4, bytes - words * 4);
  for (const byte of tail) a = Math.imul(a ^ byte, 0x01000193);
  return `${(a >>> 0).toString(16).padStart(8, "0")}${(b >>> 0).toString(16).padStart(8, "0")}`;
}

/** The state of a model before training. */
export interface Snapshot {
  readonly base: ReadonlyMap<string, string>;
  readonly adapter: ReadonlyMap<string, Float32Array>;
}

/** What verification found. */
export interface VerificationReport {
  readonly baseTensors: number;
  /** Base tensors whose bytes changed. */
  readonly baseChanged: readonly string[];
  readonly adapterTensors: number;
  /** Adapter tensors that are as they were. */
  readonly adapterUnmoved: readonly string[];
  readonly ok: boolean;
}

function baseFingerprints(base: PretrainedModel): Map<string, string> {
  return new Map(
    [...base.namedParameters()].map((parameter) => {
      const print =
        base.runner.keepsDecoded && !parameter.transient
          ? fingerprint(parameter.tensor)
          : parameter.readOnce(fingerprint);
      return [parameter.name, print];
    }),
  );
}

/** Remembers the bytes of every base tensor and the values of the active adapter. */
export function takeSnapshot(model: PeftModel): Snapshot {
  const { tensors, fixed } = model.adapter();
  const trained = [...tensors].filter(([, parameter]) => !fixed.has(parameter));
  const adapter = new Map(trained.map(([name, { data }]) => [name, data.slice()]));
  return { base: baseFingerprints(model.base), adapter };
}

/**
 * Compares a model with its snapshot: every base tensor has to be bit-identical, and every adapter tensor has to have moved.
 *
 * @example
 * const before = takeSnapshot(model);
 * for await (const event of train(model, dataset)) continue;
 * verifyOnlyAdapterMoved(model, before).ok;
 */
export function verifyOnlyAdapterMoved(model: PeftModel, before: Snapshot): VerificationReport {
  const after = baseFingerprints(model.base);
  const baseChanged = [...before.base]
    .filter(([name, value]) => after.get(name) !== value)
    .map(([name]) => name);
  const { tensors } = model.adapter();
  const adapterUnmoved = [...before.adapter]
    .filter(([name, values]) => tensors.get(name)!.data.every((value, i) => Object.is(value, values[i])))
    .map(([name]) => name);
  return {
    baseTensors: before.base.size,
    baseChanged,
    adapterTensors: before.adapter.size,
    adapterUnmoved,
    ok: baseChanged.length === 0 && adapterUnmoved.length === 0 && after.size === before.base.size,
  };
}
