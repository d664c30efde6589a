import {
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
} from "../auto/auto-model.js";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import type { SequenceClassifier } from "../auto/sequence-classifier.js";
import type { Engine } from "../runtime/engine.js";
import { models } from "../models/index.js";
import { buildModel, type ModelDefinition, type TaskModule } from "../models/model.js";
import { namedModules } from "../nn/module.js";
import { RawConfig } from "../nn/raw-config.js";
import { InternalError } from "../base/errors.js";
import type { Batch } from "../text/collate.js";

const [WIDTH, INNER, LAYERS, HEADS, VOCABULARY, LENGTH] = [16, 24, 2, 2, 31, 64];

/**
 * The config of a model of a few thousand parameters. It says every size under all names that architectures have for it, so that one
 * that is new needs no entry of its own.
 */
export function tinyConfig(modelType: string): Record<string, unknown> {
  return {
    model_type: modelType,
    vocab_size: VOCABULARY,
    pad_token_id: 0,
    bos_token_id: 1,
    eos_token_id: 2,
    // Llama and what came after it, BERT and its relatives.
    hidden_size: WIDTH,
    intermediate_size: INNER,
    num_hidden_layers: LAYERS,
    num_attention_heads: HEADS,
    num_key_value_heads: 1,
    head_dim: WIDTH / HEADS,
    query_pre_attn_scalar: WIDTH / HEADS,
    max_position_embeddings: LENGTH,
    type_vocab_size: 2,
    // GPT-2
    n_embd: WIDTH,
    n_inner: INNER,
    n_layer: LAYERS,
    n_head: HEADS,
    n_positions: LENGTH,
    // DistilBERT
    dim: WIDTH,
    hidden_dim: INNER,
    n_layers: LAYERS,
    n_heads: HEADS,
    // T5
    d_model: WIDTH,
    d_ff: INNER,
    d_kv: WIDTH / HEADS,
    num_layers: LAYERS,
    num_heads: HEADS,
    relative_attention_num_buckets: 8,
    relative_attention_max_distance: 16,
    decoder_start_token_id: 0,
    // Large enough that a random model says something, with all dropout of the base off.
    initializer_range: 0.25,
    hidden_dropout_prob: 0,
    attention_probs_dropout_prob: 0,
    attention_dropout: 0,
    dropout: 0,
    seq_classif_dropout: 0,
    classifier_dropout: 0,
  };
}

/** Heads that a tiny model can get, the one it gets first. */
const TASKS = ["CAUSAL_LM", "SEQ_2_SEQ_LM", "SEQ_CLS"] as const;
type TinyTask = (typeof TASKS)[number];

const findTask = ({ heads }: ModelDefinition): TinyTask | undefined =>
  TASKS.find((task) => heads[task] !== undefined);

/** The head that a tiny model gets: language model where there is one, else classifier. */
const taskOf = (definition: ModelDefinition): TinyTask => findTask(definition) ?? "SEQ_CLS";

/** Architectures that the suite has models of, in the order of the registry. */
export const tinyModelTypes = (): string[] =>
  Object.values<ModelDefinition>(models)
    .filter((definition) => findTask(definition) !== undefined)
    .map(({ modelType }) => modelType);

/** The modules of a tiny model, without weights. */
function tinyModule(modelType: string): TaskModule {
  const definition = (models as Readonly<Record<string, ModelDefinition>>)[modelType]!;
  return buildModel(definition, taskOf(definition), new RawConfig(tinyConfig(modelType), "tiny"));
}

/** What architectures have in common that are put together from the same classes of modules. */
export function tinyFamily(modelType: string): string {
  const classes = [...namedModules(tinyModule(modelType))].map(([, { constructor }]) => constructor.name);
  return [...new Set(classes)].sort().join();
}

/** Path of the table of words of a tiny model. */
export function tinyEmbedding(modelType: string): string {
  const found = [...namedModules(tinyModule(modelType))].find(([, one]) => one.site()?.kind === "embedding");
  if (found !== undefined) return found[0];
  throw new InternalError(`${modelType} has no table of words.`);
}

export interface TinyModelOptions {
  readonly seed?: number;
  readonly engine?: Engine;
  readonly activationBytes?: number;
}

/** A classifier takes other labels than a language model; the batches of the suite have those of their model. */
const asModel = (model: SequenceClassifier): PretrainedModel => model as PretrainedModel;

/** A tiny model with random weights; one seed always gives the same. */
export async function tinyModel(modelType: string, options: TinyModelOptions = {}): Promise<PretrainedModel> {
  const definition = (models as Readonly<Record<string, ModelDefinition>>)[modelType]!;
  const values = { activationBytes: Infinity, name: `tiny ${modelType}`, ...options };
  const config = tinyConfig(modelType);
  const task = taskOf(definition);
  if (task === "CAUSAL_LM") return AutoModelForCausalLM.fromConfig(config, values);
  if (task === "SEQ_2_SEQ_LM") return AutoModelForSeq2SeqLM.fromConfig(config, values);
  return asModel(await AutoModelForSequenceClassification.fromConfig(config, { ...values, numLabels: 3 }));
}

/** The same model from a folder it was saved to. */
export async function reopenTiny(model: PretrainedModel, folder: string): Promise<PretrainedModel> {
  const options = { engine: model.engine, activationBytes: Infinity };
  if (model.taskType === "CAUSAL_LM") return AutoModelForCausalLM.fromPretrained(folder, options);
  if (model.taskType === "SEQ_2_SEQ_LM") return AutoModelForSeq2SeqLM.fromPretrained(folder, options);
  return asModel(await AutoModelForSequenceClassification.fromPretrained(folder, options));
}

/** A batch to learn by heart, with a row that is padded. */
export function toyBatch({ taskType }: PretrainedModel): Batch {
  const inputIds = [
    [5, 6, 7, 8, 9, 10],
    [3, 4, 5, 0, 0, 0],
  ];
  const attentionMask = inputIds.map((row) => row.map((id) => (id === 0 ? 0 : 1)));
  const words = inputIds.map((row) => row.map((id) => (id === 0 ? -100 : id)));
  // A classifier takes a class a row.
  return {
    inputIds,
    attentionMask,
    taskIds: [0, 0],
    labels: (taskType === "SEQ_CLS" ? [2, 0] : words) as Batch["labels"],
  };
}
