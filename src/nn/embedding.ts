import type { Value } from "../graph/value.js";
import { Module } from "./module.js";
import { Parameter } from "./parameter.js";
import type { EmbeddingSite } from "./site.js";
import type { Trace } from "./trace.js";

/**
 * Rows of a table: y = scale · W[ids].
 *
 * Shapes: ids (N) int64 → (N, D); weight (V, D).
 */
export class Embedding extends Module {
  readonly kind = "Embedding";
  readonly weight: Parameter;
  readonly scale: number;

  constructor(
    readonly vocabularySize: number,
    readonly width: number,
    options: { readonly scale?: number | undefined; readonly weight?: Parameter } = {},
  ) {
    super();
    this.scale = options.scale ?? 1;
    this.weight = options.weight ?? new Parameter([vocabularySize, width]);
  }

  forward(t: Trace, ids: Value): Value {
    const embedded = t.adapt(this, ids, (input) => {
      const stored = t.rowsOfTable(this, input);
      if (stored !== undefined) return stored;
      // The rows are taken before the cast, so that a half-precision table is never inflated.
      const rows = t.f.gather(t.ownStored(this, "weight"), input);
      return rows.type.dtype === "float32" ? rows : t.f.cast(rows, { to: "float32" });
    });
    // Adapters change the table, so what they add is scaled with it; virtual tokens are not.
    return t.withVirtual(this, this.scale === 1 ? embedded : t.f.scale(embedded, { by: this.scale }));
  }

  override site(): EmbeddingSite {
    const { vocabularySize, width, weight } = this;
    return { kind: "embedding", module: this, vocabularySize, width, weight };
  }
}
