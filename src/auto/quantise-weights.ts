import { type Bnb4Format, quantise4 } from "../base/bnb4.js";
import type { StoredCodes } from "../base/coded-matrix.js";
import { asFloat32 } from "../base/half.js";
import { type HostTensor, zeros } from "../base/host-tensor.js";
import type { TaskModule } from "../models/model.js";
import { Bnb4Weight, type MatrixLayout } from "../nn/bnb4-weight.js";
import { type CodedWeight, turn } from "../nn/coded-weight.js";
import { Int8RowsWeight } from "../nn/int8-rows-weight.js";
import { namedModules, ownParameters } from "../nn/module.js";
import type { Parameter } from "../nn/parameter.js";

/** A weight of a linear layer that no other kind of module has. */
export interface LinearPlace {
  readonly path: string;
  readonly layout: MatrixLayout;
}

/** The weights of linear layers, without those that an embedding shares. */
export function linearPlaces(root: TaskModule): Map<Parameter, LinearPlace> {
  const places = new Map<Parameter, LinearPlace>();
  const others = new Set<Parameter>();
  for (const [path, module] of namedModules(root)) {
    const site = module.site();
    if (site?.kind === "linear") {
      const turned = module.transposed.includes("weight");
      places.set(site.weight, { path, layout: { out: site.outFeatures, width: site.inFeatures, turned } });
    } else for (const [, parameter] of ownParameters(module)) others.add(parameter);
  }
  for (const parameter of others) places.delete(parameter);
  return places;
}

/** Whether a linear layer is quantised with its model: one of the body, which no head is. */
export const isQuantised = (root: TaskModule, { path }: LinearPlace, whole: RegExp | undefined): boolean =>
  !root.headNames.includes(path.split(".")[0]!) && whole?.test(path) !== true;

/** A weight in the codes that a file keeps it in; they are read in place. */
export function fromFile({ layout }: LinearPlace, stored: StoredCodes): CodedWeight {
  return stored.kind === "bnb4"
    ? new Bnb4Weight(layout, stored.format, () => stored.read())
    : new Int8RowsWeight(layout, () => stored.read());
}

/** A weight in codes that are made of its elements at the first use; `done` is called when they are no longer needed. */
export function quantised(
  { layout }: LinearPlace,
  format: Bnb4Format,
  read: () => HostTensor,
  done: () => void,
): Bnb4Weight {
  return new Bnb4Weight(layout, format, () => {
    const { out, width, turned } = layout;
    const stored = asFloat32(read());
    let rows = stored;
    if (turned) {
      rows = new Float32Array(stored.length);
      turn(stored, width, out, rows);
    }
    const coded = quantise4(rows, format);
    done();
    return coded;
  });
}

/** The elements that codes stand for, as the module keeps them. */
export function decodedTensor(coded: CodedWeight, shape: readonly number[]): HostTensor {
  const tensor = zeros("float32", shape);
  coded.decode(tensor.data as Float32Array);
  return tensor;
}
