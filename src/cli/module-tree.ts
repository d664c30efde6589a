import { type Module, childModules, ownParameters } from "../nn/module.js";

interface Line {
  readonly depth: number;
  readonly name: string;
  readonly text: string;
}

/** What a module is made of, without the names of its layers, so that equal ones can be told. */
function structure(module: Module): string {
  const own = ownParameters(module).map(
    ([name, { shape, type }]) => `${name}:${shape.join("x")}:${type.dtype}`,
  );
  return `${module.kind}(${own.join()};${childModules(module)
    .map(([name, child]) => `${name}=${structure(child)}`)
    .join()})`;
}

const shortType: Readonly<Record<string, string>> = { float32: "f32", float16: "f16", bfloat16: "bf16" };

function describe(module: Module): string {
  const own = ownParameters(module).map(
    ([name, { shape, type }]) => `${name} (${shape.join(", ")}) ${shortType[type.dtype] ?? type.dtype}`,
  );
  return [module.kind, ...own].join("  ");
}

/** Children with runs of equal list items folded: `layers.0-29`. */
function* foldedChildren(module: Module): Generator<[name: string, child: Module]> {
  const children = childModules(module);
  for (let i = 0; i < children.length;) {
    const [name, child] = children[i]!;
    const match = /^(.*)\.(\d+)$/.exec(name);
    let end = i + 1;
    if (match !== null) {
      const same = structure(child);
      while (
        end < children.length &&
        children[end]![0].startsWith(`${match[1]}.`) &&
        structure(children[end]![1]) === same
      )
        end += 1;
    }
    yield [end - i > 1 ? `${match![1]}.${match![2]}-${Number(match![2]) + end - i - 1}` : name, child];
    i = end;
  }
}

function* walk(name: string, module: Module, depth: number): Generator<Line> {
  yield { depth, name, text: describe(module) };
  for (const [childName, child] of foldedChildren(module)) yield* walk(childName, child, depth + 1);
}

/** The tree of a model, one line a module; layers that repeat are folded. */
export function moduleTree(root: Module): string[] {
  const lines = [...walk("", root, 0)].slice(1);
  const width = Math.max(...lines.map(({ depth, name }) => 2 * depth + name.length));
  return [
    describe(root),
    ...lines.map(({ depth, name, text }) => `${("  ".repeat(depth) + name).padEnd(width)}  ${text}`),
  ];
}
