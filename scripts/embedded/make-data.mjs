// Makes the task (definition -> kind of thing) and the text that the base is trained on, which shares no definition with it.
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeRandom } from "./random.mjs";
import { cacheFolder, fetchWordNet, readSynsets } from "./wordnet.mjs";

// Lexicographer files of nouns, as WordNet numbers them.
const KINDS = {
  4: "act",
  5: "animal",
  6: "artifact",
  8: "body",
  10: "communication",
  12: "feeling",
  13: "food",
  15: "place",
  18: "person",
  20: "plant",
  27: "substance",
  28: "time",
};
const TRAIN = 560;
const TEST = 42;

const wordNet = fetchWordNet();
const synsets = readSynsets(wordNet);
const random = makeRandom(20_261_124);
const key = (definition) => definition.toLowerCase().replace(/[^a-z ]/g, "").split(" ").slice(0, 8).join(" ");

const seen = new Set();
const kinds = Object.fromEntries(Object.values(KINDS).map((kind) => [kind, []]));
for (const synset of random.shuffle([...synsets])) {
  const kind = synset.part === "noun" ? KINDS[synset.file] : undefined;
  const length = synset.definition.length;
  // Short glosses say too little, long ones too much; a definition that begins like another one is left out.
  if (kind === undefined || length < 24 || length > 140 || seen.has(key(synset.definition))) continue;
  seen.add(key(synset.definition));
  if (kinds[kind].length < TRAIN + TEST) kinds[kind].push(synset);
}

const rows = (from, to) =>
  random.shuffle(
    Object.entries(kinds).flatMap(([kind, list]) =>
      list.slice(from, to).map(({ definition }) => ({ prompt: definition, completion: kind })),
    ),
  );
const test = rows(0, TEST);
const train = rows(TEST, TEST + TRAIN);
const lines = (list) => list.map((row) => JSON.stringify(row)).join("\n") + "\n";
mkdirSync("embedded/task", { recursive: true });
writeFileSync("embedded/task/train.jsonl", lines(train));
writeFileSync("embedded/task/test.jsonl", lines(test));

const held = new Set([...train, ...test].map(({ prompt }) => key(prompt)));
const texts = synsets
  .filter(({ definition }) => definition.length > 0 && !held.has(key(definition)))
  .flatMap(({ word, definition }) => [
    { word, definition, form: "entry" },
    { word, definition, form: "question" },
  ]);
writeFileSync(join(cacheFolder, "corpus.jsonl"), lines(random.shuffle(texts)));
mkdirSync("embedded/licenses", { recursive: true });
copyFileSync(join(wordNet, "LICENSE"), "embedded/licenses/wordnet.txt");
console.log(`${train.length} training rows, ${test.length} test rows, ${texts.length} texts for the base`);
