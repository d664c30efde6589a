import { Random, textSeed } from "./random.js";

/** Fills a fresh tensor, which is all zero. */
export type Initialiser = (data: Float32Array, random: Random) => void;

/** Leaves it at zero. */
export const nothing: Initialiser = () => undefined;

/** The same number everywhere. */
export const always =
  (value: number): Initialiser =>
  (data) => {
    data.fill(value);
  };

/** U(±1/√width), what Kaiming's rule gives with a = √5; `width` is the second size of the tensor. */
export const kaiming =
  (width: number): Initialiser =>
  (data, random) => {
    for (let i = 0; i < data.length; i += 1) data[i] = random.uniform(-1, 1) / Math.sqrt(width);
  };

/** N(mean, deviation²). */
export const gaussian =
  (deviation: number, mean = 0): Initialiser =>
  (data, random) => {
    for (let i = 0; i < data.length; i += 1) data[i] = mean + deviation * random.normal();
  };

/** The same start from a seed of its own, where there is one; tensors of one key then start alike. */
export const seeded =
  (seed: number | undefined, key: string, init: Initialiser): Initialiser =>
  (data, random) =>
    init(data, seed === undefined ? random : new Random((seed ^ textSeed(key)) >>> 0));
