/** Options that choose layers by their numbers. */
export interface LayerChoice {
  readonly layersToTransform?: number | readonly number[] | undefined;
  /** Names of the lists of layers; every list counts where it is absent. */
  readonly layersPattern?: string | readonly string[] | undefined;
}

/** The layers that are chosen; undefined where the choice is left open. */
export function chosenLayers({ layersToTransform }: LayerChoice): ReadonlySet<number> | undefined {
  if (layersToTransform === undefined) return undefined;
  const layers = typeof layersToTransform === "number" ? [layersToTransform] : layersToTransform;
  return layers.length === 0 ? undefined : new Set(layers);
}

/** The names of `layersPattern` as a list. */
export function layerLists({ layersPattern }: LayerChoice): readonly string[] {
  const names = typeof layersPattern === "string" ? [layersPattern] : (layersPattern ?? []);
  return names.filter((name) => name !== "");
}

/**
 * The number of the layer that a path belongs to: of the first number after a name, or after one of `lists`, also where the list
 * stands at the root of the model. Undefined for what is in no layer.
 */
export function layerOf(path: string, lists: readonly string[]): number | undefined {
  const segments = path.split(".");
  for (let i = 1; i < segments.length; i += 1) {
    if (!/^\d+$/.test(segments[i]!)) continue;
    const before = segments.slice(0, i).join(".");
    if (lists.length === 0 || lists.some((name) => before === name || before.endsWith(`.${name}`)))
      return Number(segments[i]);
  }
  return undefined;
}
