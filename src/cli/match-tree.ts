import type { MatchReport, ModuleMatch } from "../match/report.js";
import { formatCount } from "./format.js";

interface TreeNode {
  readonly name: string;
  module?: ModuleMatch;
  readonly children: Map<string, TreeNode>;
}

interface Line {
  readonly depth: number;
  readonly name: string;
  readonly module: ModuleMatch | undefined;
}

/** Paints a text; the plain text where no person is watching. */
export type Paint = (colour: "green" | "yellow" | "dim" | "red", text: string) => string;

const CODES = { green: 32, yellow: 33, dim: 2, red: 31 } as const;

/** Colours for a terminal. */
export const paintFor =
  (colours: boolean): Paint =>
  (colour, text) =>
    colours && text !== "" ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text;

function treeOf(modules: readonly ModuleMatch[]): TreeNode {
  const root: TreeNode = { name: "", children: new Map() };
  for (const module of modules) {
    let node = root;
    for (const segment of module.name.split(".")) {
      const child = node.children.get(segment) ?? { name: segment, children: new Map<string, TreeNode>() };
      node.children.set(segment, child);
      node = child;
    }
    node.module = module;
  }
  return root;
}

/** What a module and everything below it is and becomes, without the numbers of layers, so that equal ones can be told. */
function signature({ module, children }: TreeNode): string {
  const own =
    module === undefined
      ? ""
      : [
          module.type,
          module.shape,
          module.status,
          module.status === "layer" ? "" : module.why,
          module.rank,
          module.alpha,
        ].join("|");
  return `${own}(${[...children.values()].map((child) => `${child.name}=${signature(child)}`).join()})`;
}

const isNumber = (name: string): boolean => /^\d+$/.test(name);

/** Children with runs of equal layers folded; a list of layers stands before the numbers, as in `layers.0-29`. */
function* folded(node: TreeNode, prefix = ""): Generator<[name: string, node: TreeNode]> {
  const children = [...node.children.values()];
  for (let i = 0; i < children.length;) {
    const child = children[i]!;
    let end = i + 1;
    if (isNumber(child.name)) {
      const same = signature(child);
      while (end < children.length && isNumber(children[end]!.name) && signature(children[end]!) === same)
        end += 1;
    }
    const range = end - i > 1 ? `${child.name}-${children[end - 1]!.name}` : child.name;
    const isList =
      child.children.size > 0 &&
      [...child.children.keys()].every(isNumber) &&
      (child.module === undefined || child.module.type === "ModuleList");
    if (isList) yield* folded(child, `${prefix}${range}.`);
    else yield [prefix + range, child];
    i = end;
  }
}

function* walk(node: TreeNode, depth: number): Generator<Line> {
  for (const [name, child] of folded(node)) {
    yield { depth, name, module: child.module };
    yield* walk(child, depth + 1);
  }
}

/** What becomes of a module, behind its type and shape. */
function mark(module: ModuleMatch, paint: Paint): string {
  const { status, why, rank, alpha, trained } = module;
  if (status === "adapted") {
    const values = [rank === undefined ? "" : `r ${rank}`, alpha === undefined ? "" : `α ${alpha}`];
    const facts = [...values, `+${formatCount(trained)}`].filter((text) => text !== "").join("  ");
    return paint("green", `← ${why}  ${facts}`);
  }
  if (status === "saved")
    return paint("yellow", trained > 0 ? `← ${why}  trained as a whole, ${formatCount(trained)}` : why);
  return status === "unmatched" ? "" : paint(status === "unsupported" ? "red" : "dim", `left out: ${why}`);
}

/** The modules of a report as a tree, layers that repeat folded, each marked with what becomes of it. */
export function matchTree(report: MatchReport, paint: Paint): string[] {
  const lines = [...walk(treeOf(report.modules), 0)];
  const names = lines.map(({ depth, name }) => "  ".repeat(depth) + name);
  const kinds = lines.map(({ module }) =>
    module === undefined
      ? ""
      : `${module.type}${module.shape === undefined ? "" : ` (${module.shape.join(", ")})`}`,
  );
  const [nameWidth, kindWidth] = [names, kinds].map((texts) =>
    Math.max(0, ...texts.map(({ length }) => length)),
  );
  return lines.map(({ module }, i) => {
    const text = module === undefined ? "" : mark(module, paint);
    return `${names[i]!.padEnd(nameWidth!)}  ${kinds[i]!.padEnd(kindWidth!)}  ${text}`.trimEnd();
  });
}
