import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import ts from "typescript";
import { describe, expect, test } from "vitest";
import { commands } from "../src/commands/index.js";
import { methods } from "../src/methods/index.js";
import { models } from "../src/models/index.js";
import { ops } from "../src/ops/index.js";
import { toKebabCase } from "../src/base/spelling.js";

const SRC = resolve(import.meta.dirname, "../src");

/** Rooms from the top down: value imports may only point to rooms further up, or stay in the room. */
const ROOMS = [
  "base",
  "files",
  "text",
  "graph",
  "steps",
  "ops",
  "autodiff",
  "onnx",
  "runtime",
  "nn",
  "models",
  "auto",
  "match",
  "methods",
  "peft",
  "train",
  "testing",
  "cli",
  "commands",
];

/** Rooms that have to run in a browser. */
const PORTABLE = [
  "match",
  "graph",
  "steps",
  "ops",
  "autodiff",
  "onnx",
  "nn",
  "models",
  "methods",
  "peft",
  "text",
  "train",
  "auto",
  "base",
];

/** Lines that a file may have. */
const CAP = 300;

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

const files = readdirSync(SRC, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
  .map((name) => name.replaceAll("\\", "/"));

function importsOf(file: string): { imports: Import[]; specifiers: string[] } {
  const source = ts.createSourceFile(file, readFileSync(join(SRC, file), "utf8"), ts.ScriptTarget.ES2022);
  const imports: Import[] = [];
  const specifiers: string[] = [];
  const add = (text: string, typeOnly: boolean): void => {
    specifiers.push(text);
    if (!text.startsWith(".")) return;
    const to = relative(SRC, resolve(SRC, dirname(file), text))
      .replaceAll("\\", "/")
      .replace(/\.js$/, ".ts");
    imports.push({ from: file, to, typeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      const clause = node.importClause;
      const named = clause?.namedBindings;
      const allTypes =
        named !== undefined &&
        ts.isNamedImports(named) &&
        clause?.name === undefined &&
        named.elements.length > 0 &&
        named.elements.every((element) => element.isTypeOnly);
      add(node.moduleSpecifier.text, clause?.isTypeOnly === true || allTypes);
    }
    if (
      ts.isExportDeclaration(node) &&
      node.moduleSpecifier !== undefined &&
      ts.isStringLiteral(node.moduleSpecifier)
    ) {
      add(node.moduleSpecifier.text, node.isTypeOnly);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return { imports, specifiers };
}

const graph = new Map(files.map((file) => [file, importsOf(file)]));
const roomOf = (file: string): string | undefined => (file.includes("/") ? file.split("/")[0] : undefined);

test("every folder is a room, and rooms are flat", () => {
  for (const file of files) {
    if (!file.includes("/")) expect(["index.ts", "main.ts"]).toContain(file);
    else {
      expect(ROOMS, file).toContain(roomOf(file));
      expect(file.split("/"), file).toHaveLength(2);
    }
  }
});

test("value imports point up", () => {
  const wrong = [...graph.values()]
    .flatMap(({ imports }) => imports)
    .filter(({ from, to, typeOnly }) => {
      const [a, b] = [roomOf(from), roomOf(to)];
      return !typeOnly && a !== undefined && (b === undefined || ROOMS.indexOf(b) > ROOMS.indexOf(a));
    })
    .map(({ from, to }) => `${from} → ${to}`);
  expect(wrong).toEqual([]);
});

test("there is no cycle of value imports", () => {
  const state = new Map<string, "open" | "done">();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (state.get(file) === "done") return;
    if (state.get(file) === "open") {
      cycles.push([...path.slice(path.indexOf(file)), file].join(" → "));
      return;
    }
    state.set(file, "open");
    for (const { to, typeOnly } of graph.get(file)?.imports ?? []) if (!typeOnly) visit(to, [...path, file]);
    state.set(file, "done");
  };
  for (const file of files) visit(file, []);
  expect(cycles).toEqual([]);
});

test("portable rooms import nothing of Node", () => {
  const wrong = files.filter(
    (file) =>
      PORTABLE.includes(roomOf(file) ?? "") &&
      graph
        .get(file)!
        .specifiers.some(
          (text) => text.startsWith("node:") || text === "koffi" || text === "onnxruntime-node",
        ),
  );
  expect(wrong).toEqual([]);
});

test("files are small", () => {
  const large = files
    .map((file) => [file, readFileSync(join(SRC, file), "utf8").split("\n").length] as const)
    .filter(([, lines]) => lines > CAP)
    .map(([file, lines]) => `${file}: ${lines} lines`);
  expect(large).toEqual([]);
});

test("names say what a file holds", () => {
  const vague = files.filter((file) => /\/(utils?|helpers?|common|misc|types)\.ts$/.test(file));
  expect(vague).toEqual([]);
  expect(files.filter((file) => /[A-Z_]/.test(file.split("/").at(-1)!))).toEqual([]);
});

test("plain errors are not thrown", () => {
  const plain = files.filter((file) => /throw new Error\(/.test(readFileSync(join(SRC, file), "utf8")));
  expect(plain).toEqual([]);
});

describe("registries agree with their folders", () => {
  const members = (room: string, contract: string): string[] =>
    files
      .filter(
        (file) => roomOf(file) === room && ![`${room}/${contract}.ts`, `${room}/index.ts`].includes(file),
      )
      .map((file) => file.slice(room.length + 1, -3))
      .sort();
  test.each([
    ["ops", "op", Object.keys(ops).map(toKebabCase)],
    ["models", "model", Object.keys(models)],
    ["methods", "method", Object.keys(methods).map((name) => name.toLowerCase().replaceAll("_", "-"))],
    ["commands", "command", Object.keys(commands)],
  ])("%s", (room, contract, names) => {
    // A part of a member stands beside it, under its name: lora-init.ts beside lora.ts.
    const parts = (file: string): boolean =>
      !names.includes(file) && names.some((name) => file.startsWith(`${name}-`));
    expect([...names].sort()).toEqual(members(room, contract).filter((file) => !parts(file)));
  });

  test("names in the registries are the names of the definitions", () => {
    for (const [name, model] of Object.entries(models)) expect(model.modelType).toBe(name);
    for (const [name, method] of Object.entries(methods)) expect(method.name).toBe(name);
    for (const [name, command] of Object.entries(commands)) expect(command.name).toBe(name);
    for (const [name, op] of Object.entries(ops)) expect(op.definition.name).toBe(name);
  });
});

test("shared code never asks which method it has", () => {
  const wrong = files.filter(
    (file) =>
      !["methods", "models", "commands"].includes(roomOf(file) ?? "") &&
      /["'](LORA|IA3|ADALORA|PREFIX_TUNING)["']/.test(
        readFileSync(join(SRC, file), "utf8").replace(/\/\*\*[\s\S]*?\*\/|\/\/.*/g, ""),
      ),
  );
  expect(wrong).toEqual([]);
});
