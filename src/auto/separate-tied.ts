import type { Checkpoint } from "../files/checkpoint.js";
import { type Module, namedModules, nameTree, ownParameters, setOwnParameter } from "../nn/module.js";
import { Parameter } from "../nn/parameter.js";

interface Holder {
  readonly module: Module;
  readonly attribute: string;
  readonly name: string;
}

function sameElements(checkpoint: Checkpoint, first: string, second: string): boolean {
  const [a, b] = [checkpoint.read(first), checkpoint.read(second)];
  return (
    a.dtype === b.dtype &&
    a.data.length === b.data.length &&
    (a.data as Float32Array).every((value, i) => Object.is(value, b.data[i]))
  );
}

/**
 * Gives modules that share a parameter one of their own where the file has a tensor for each and these differ: then the weights were
 * not tied when they were saved, whatever the config says.
 *
 * @param storedName - the tensor of the file for a parameter's full name, if there is one
 */
export function separateTied(
  root: Module,
  checkpoint: Checkpoint,
  storedName: (name: string) => string | undefined,
): void {
  const holders = new Map<Parameter, Holder[]>();
  for (const [path, module] of namedModules(root)) {
    for (const [attribute, parameter] of ownParameters(module)) {
      const name = path === "" ? attribute : `${path}.${attribute}`;
      holders.set(parameter, [...(holders.get(parameter) ?? []), { module, attribute, name }]);
    }
  }
  for (const [parameter, sharing] of holders) {
    if (sharing.length === 1) continue;
    const [first, ...others] = sharing.flatMap((holder) => {
      const stored = storedName(holder.name);
      return stored === undefined ? [] : [{ ...holder, stored }];
    });
    for (const { module, attribute, stored } of others) {
      if (stored === first!.stored || sameElements(checkpoint, first!.stored, stored)) continue;
      setOwnParameter(module, attribute, new Parameter(parameter.shape));
    }
  }
  nameTree(root);
}
