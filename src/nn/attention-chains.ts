import type { Group, Tile } from "./attention-tiles.js";

/** Tiles of one group that are run one after another, since they add to the same gradients of keys and values. */
export interface Chain {
  readonly group: number;
  readonly tiles: readonly Tile[];
}

/** Chains that a batch has at least, where it has so many tiles: what can be under way at once. */
const CHAINS = 4;

/** A chain may have so much more than its share of the work: what each further one adds up has to be added once more. */
const SLACK = 0.25;

const scoresOf = ({ queries, keys }: Tile): number => (queries[1] - queries[0]) * (keys[1] - keys[0]);

/** Numbers of scores a head in the largest tile. */
export const largestTile = (plan: readonly Group[]): number =>
  plan.reduce((most, { tiles }) => tiles.reduce((size, tile) => Math.max(size, scoresOf(tile)), most), 0);

/**
 * Cuts groups with more than a quarter of the work into chains. It looks at the batch alone, not at the machine: sums in another order
 * have other last bits.
 */
export function chainsOf(plan: readonly Group[]): Chain[] {
  const costs = plan.map(({ tiles }) => tiles.reduce((sum, tile) => sum + scoresOf(tile), 0));
  const total = costs.reduce((sum, cost) => sum + cost, 0);
  return plan.flatMap(({ tiles }, group): Chain[] => {
    const wanted = Math.ceil((CHAINS * costs[group]!) / (total * (1 + SLACK)));
    const count = Math.min(tiles.length, Math.max(1, wanted));
    // Tiles grow along a row, so that chains take turns.
    return Array.from({ length: count }, (_, chain) => ({
      group,
      tiles: tiles.filter((_tile, i) => i % count === chain),
    }));
  });
}
