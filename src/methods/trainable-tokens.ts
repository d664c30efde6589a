import { gaussian } from "../base/fill.js";
import { ConfigError } from "../base/errors.js";
import { hostTensor } from "../base/host-tensor.js";
import { flag, integers } from "../base/option.js";
import { targetOptions } from "../base/target-options.js";
import { defineMethod } from "./method.js";

/**
 * Trained rows of an embedding, for tokens that the base does not know well.
 *
 * E'[i] = t[k] for the k-th of the chosen tokens i, E[i] for all others
 *
 * Shapes: t (n, D), for n tokens.
 * The rows start as they are in the base, so the model is unchanged before the first step. Adds n · D parameters. A head that shares
 * the table takes the same rows, as one parameter; the file holds them under both names.
 * The table itself is not copied: a look-up reads the row from t or from E.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "TRAINABLE_TOKENS", tokenIndices: [0, 1, 2] });
 * @see Hugging Face PEFT, "Trainable Tokens", package reference
 */
export const trainableTokens = defineMethod({
  name: "TRAINABLE_TOKENS",
  title: "Trainable tokens",
  paper: "https://huggingface.co/docs/peft/package_reference/trainable_tokens",
  formula: "E'[i] = t[k] for chosen tokens i",
  parameters: "n · D",
  advice: "New or rare special tokens; alone, or beside an adapter of its own for the layers.",
  sites: ["embedding", "linear"],
  followsTies: true,
  quantisedBase: true,
  modelDefaults: { targetModules: ["TRAINABLE_TOKENS"] },
  config: {
    tokenIndices: integers({ min: 0, doc: "Ids of the tokens whose rows are trained, each once." }),
    initWeights: flag({
      default: true,
      doc: "Starts with the rows of the base; otherwise at random, for tests.",
    }),
    ...targetOptions,
  },
  ownOptions: ["excludeModules", "modulesToSave"],
  inert: {},
  identityStart: ({ initWeights }) => initWeights,
  mergeable: () => true,
  check({ tokenIndices }) {
    const twice = tokenIndices.find((id, i) => tokenIndices.indexOf(id) !== i);
    const keys = ["tokenIndices"];
    if (tokenIndices.length === 0)
      return [
        { keys, text: "[] names no token; one id or more was expected", fix: { tokenIndices: [0, 1] } },
      ];
    const fix = { tokenIndices: [...new Set(tokenIndices)] };
    return twice === undefined
      ? []
      : [{ keys, text: `token ${twice} is named twice; each once was expected`, fix }];
  },
  parameterCount: ({ site }, { tokenIndices }) =>
    site.kind === "embedding" ? tokenIndices.length * site.width : 0,
  attach(site, { tokenIndices, initWeights }, scope) {
    const [size, width] = site.weight.shape as [number, number];
    const count = tokenIndices.length;
    const beyond = tokenIndices.find((id) => id >= size);
    if (beyond !== undefined) {
      throw new ConfigError({
        code: "token_unknown",
        summary: `${scope.written("tokenIndices")}: ${beyond} is no token of ${scope.place.path}, which has ${size.toLocaleString("en")}.`,
        fixes: [`ids from 0 to ${size - 1}`],
        fields: { token: beyond, limit: size - 1 },
      });
    }
    const start = (data: Float32Array): void => {
      const table = site.weight.data;
      for (const [k, id] of tokenIndices.entries())
        data.set(table.subarray(id * width, (id + 1) * width), k * width);
    };
    // Modules that share a table have one set of rows.
    const rows = scope.sharedParam("trainable_tokens_delta", site.weight, () =>
      scope.param("trainable_tokens_delta", [count, width], initWeights ? start : gaussian(1)),
    );
    const ids = scope.frozen(hostTensor("int64", [count], BigInt64Array.from(tokenIndices, BigInt)));
    if (site.kind === "linear") {
      return {
        replaces: {
          weight: ({ f, base, p }) =>
            f.add(base, f.scatterRows(f.sub(p(rows), f.gather(base, p(ids))), p(ids), base)),
        },
      };
    }
    // Row 0 of the table of chosen rows is for all tokens that are not chosen.
    const place = new BigInt64Array(size);
    for (const [k, id] of tokenIndices.entries()) place[id] = BigInt(k + 1);
    const at = scope.frozen(hostTensor("int64", [size, 1], place));
    const chosen = scope.frozen(
      hostTensor(
        "float32",
        [size, 1],
        Float32Array.from(place, (k) => (k === 0n ? 0 : 1)),
      ),
    );
    return {
      forward({ f, x, base, p }) {
        const N = x.type.shape[0]!;
        const index = f.reshape(f.gather(p(at), x), { shape: [N] });
        const own = f.gather(f.pad(p(rows), { axis: 0, before: 1, after: 0 }), index); // (N, D)
        const rest = f.offset(f.neg(f.gather(p(chosen), x)), { by: 1 }); // (N, 1)
        return f.add(f.mul(base(x), rest), own);
      },
      merged({ f, own, p }) {
        const table = own("weight");
        return {
          weight: f.add(table, f.scatterRows(f.sub(p(rows), f.gather(table, p(ids))), p(ids), table)),
        };
      },
    };
  },
});
