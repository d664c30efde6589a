import { CheckpointError } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import type { HubFile } from "./hub-download.js";

const SMALL =
  /^(config|generation_config|adapter_config|head_config|labels|tasks|cloze|tokenizer|tokenizer_config|special_tokens_map|chat_template)\.json$|^chat_template\.jinja$/;

const WEIGHTS = /^(model|adapter_model)(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?$/;

/** Adapters of AdapterHub, with the head beside them. */
const ADAPTERHUB = /^(adapter|model_head)\.safetensors$|^pytorch_(adapter|model_head)\.bin$/;

/** What is fetched of a repository. */
export interface ChosenFiles {
  readonly files: readonly HubFile[];
  /** The GGUF file that is the model; undefined for a folder of safetensors. */
  readonly gguf: string | undefined;
}

/**
 * Chooses the files that a model or an adapter needs: one GGUF file where it is named or the only weights, else safetensors
 * with their config and tokenizer.
 *
 * @throws {@link CheckpointError} `hub_not_found`, `hub_no_weights`, `weights_ambiguous`
 */
export function chooseFiles(id: string, files: readonly HubFile[], gguf: string | undefined): ChosenFiles {
  if (gguf !== undefined) {
    const named = files.filter(({ path }) => path === gguf);
    if (named.length > 0) return { files: named, gguf };
    const held = files.map(({ path }) => path).filter((path) => path.endsWith(".gguf"));
    throw new CheckpointError({
      code: "hub_not_found",
      summary: `${id} holds no file ${gguf}.`,
      facts: held.length > 0 ? [["holds", firstFew(held)]] : [],
      fixes: [held[0] === undefined ? `give the id alone: ${id}` : `name one of them: ${id}:${held[0]}`],
      fields: { id, file: gguf },
    });
  }
  const weights = files.filter(({ path }) => WEIGHTS.test(path));
  if (weights.length > 0) {
    const small = files.filter(({ path }) => SMALL.test(path));
    return { files: [...small, ...weights], gguf: undefined };
  }
  const adapter = files.filter(({ path }) => ADAPTERHUB.test(path));
  if (adapter.some(({ path }) => path.includes("adapter"))) {
    const small = files.filter(({ path }) => SMALL.test(path));
    return { files: [...small, ...adapter], gguf: undefined };
  }
  const ggufs = files.filter(({ path }) => path.endsWith(".gguf"));
  const [only] = ggufs;
  if (only !== undefined && ggufs.length === 1) return { files: [only], gguf: only.path };
  if (only !== undefined) {
    throw new CheckpointError({
      code: "weights_ambiguous",
      summary: `${id} holds ${ggufs.length} GGUF files.`,
      facts: [["files", firstFew(ggufs.map(({ path }) => path))]],
      fixes: [`name one of them: ${id}:${only.path}`],
      fields: { id, files: ggufs.map(({ path }) => path) },
    });
  }
  const other = files.filter(({ path }) => /\.(bin|pt|pth|h5|msgpack|onnx|ckpt)$/.test(path));
  throw new CheckpointError({
    code: "hub_no_weights",
    summary: `${id} holds no weights that can be read: neither safetensors nor GGUF.`,
    facts: other.length > 0 ? [["holds", firstFew(other.map(({ path }) => path))]] : [],
    fixes: [
      other.length > 0
        ? "convert it with Python's transformers: save_pretrained(folder), and give that folder"
        : "check the spelling, or give another model",
    ],
    fields: { id },
  });
}
