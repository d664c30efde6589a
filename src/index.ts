// Models and tokenizers
export {
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
  AutoTokenizer,
  type ClassifierOptions,
} from "./auto/auto-model.js";
export type { LabelOptions } from "./auto/label-options.js";
export {
  type ClassificationBatch,
  type ClassifierOutput,
  type ProblemType,
  SequenceClassifier,
} from "./auto/sequence-classifier.js";
export type { Answer, Answers } from "./auto/answers.js";
export { AutoModelForCloze, readClozeFile } from "./auto/auto-cloze.js";
export { type ClozeBatch, ClozeClassifier, type ClozePrediction } from "./auto/cloze-classifier.js";
export { TokenClassifier, type TokenClassifierOutput } from "./auto/token-classifier.js";
export { QuestionAnswerer, type QuestionBatch, type QuestionOutput } from "./auto/question-answerer.js";
export {
  type EmbedOptions,
  type FeatureBatch,
  FeatureExtractor,
  type FeatureLoss,
  type FeatureOutput,
  type Pooling,
} from "./auto/feature-extractor.js";
export type { FromConfigOptions, FromPretrainedOptions } from "./auto/open-pretrained.js";
export { type GenerationStart, LanguageModel } from "./auto/language-model.js";
export { MaskedLanguageModel } from "./auto/masked-language-model.js";
export { type LanguageOutput, VocabularyModel } from "./auto/vocabulary-model.js";
export { Seq2SeqLanguageModel } from "./auto/seq2seq-language-model.js";
export { CausalLanguageModel, type CausalOutput } from "./auto/causal-language-model.js";
export {
  type BackwardOptions,
  type BackwardOutput,
  type Evaluation,
  type ForwardOptions,
  type ModelOutput,
  type PlainTensor,
  PretrainedModel,
} from "./auto/pretrained-model.js";
export type { Arithmetic } from "./nn/runner.js";
export type { QuantisationOptions } from "./auto/quantisation-options.js";
export type { WeightDType } from "./auto/load-weights.js";
export {
  type ChatTemplateOptions,
  type Message,
  type Tokenizer,
  tokenizerFromFiles,
} from "./text/tokenizer.js";

// Adapters
export type { PeftConfig, PeftType, RegisteredMethods } from "./methods/index.js";
export { registerMethod } from "./peft/method-registry.js";
export type { NamedParameter } from "./peft/named-parameter.js";
export type { ModuleEntry, ModuleKind, ModulePattern } from "./base/module-pattern.js";
export type { ModuleFacts } from "./match/module-list.js";
export type { EntryCount, MatchFault, MatchReport, ModuleMatch, ModuleStatus } from "./match/report.js";
export { inspectMatches } from "./peft/inspect-matches.js";
export type { PeftWarning } from "./peft/adapter-plan.js";
export type { AttachOptions, CalibratedAttachOptions } from "./peft/attach-fresh.js";
export type { CalibrationBatch, CalibrationBatches } from "./peft/calibrate.js";
export type { MergeOptions } from "./peft/merge.js";
export type { RequantisedReport } from "./peft/requantise.js";
export { replaceLoraWeightsLoftq, type ReplaceLoftqOptions } from "./peft/replace-loftq.js";
export { getPeftModel } from "./peft/get-peft-model.js";
export { PeftModel } from "./peft/peft-model.js";

// Data
export { readRows } from "./files/data-file.js";
export { type Batch, collate, packBatch, type PackedBatch } from "./text/collate.js";
export { packSeq2Seq, type Seq2SeqBatch, type Seq2SeqPackOptions } from "./text/collate-seq2seq.js";
export { BatchOrder, type BatchOrderOptions } from "./text/batch-order.js";
export { Dataset, type DatasetSummary, encodeDataset } from "./text/dataset.js";
export type { EncodedExample, EncodingOptions } from "./text/encode-example.js";
export type { Columns, Example, Row } from "./text/rows.js";

export { findLabels, type LabelSet } from "./text/label-set.js";
export { findTasks, type TaskSet } from "./text/task-ids.js";
export { encodeSeq2SeqDataset, encodeWithEnd, type Seq2SeqEncodingOptions } from "./text/seq2seq-dataset.js";
export type { Cloze, ClozeForm } from "./text/cloze.js";
export { type ClozeEncodingOptions, encodeClozeDataset } from "./text/cloze-dataset.js";
export type { ClozeOptions, Verbalizer } from "./text/cloze-options.js";
export { encodeTaskDataset, type TaskEncodingOptions } from "./text/task-dataset.js";
export { type LabelledTask, readTaskExamples, type TaskExample } from "./text/task-rows.js";

// Training
export { AdamW } from "./train/adamw.js";
export { AdamW8bit } from "./train/adamw-8bit.js";
export type { MomentArray } from "./train/moments.js";
export { type AdamSettings, DecoupledAdam, type OptimizerState } from "./train/optimizer.js";
export { loadOptimizerState, saveOptimizerState } from "./train/optimizer-file.js";
export type { OptimizerName } from "./train/optimizers.js";
export { clipGradNorm, gradientNorm } from "./train/clip.js";
export type { TrainEvent } from "./train/event.js";
export {
  accuracy,
  macroF1,
  matthews,
  type Metrics,
  metricsOf,
  pearson,
  spansOf,
  spearman,
  weightedF1,
} from "./train/metrics.js";
export { getScheduler, type ScheduleName, type Scheduler } from "./train/schedule.js";
export { evaluate, train, type TrainRunOptions } from "./train/train.js";
export type { TrainOptions } from "./train/train-options.js";
export {
  type Snapshot,
  takeSnapshot,
  type VerificationReport,
  verifyOnlyAdapterMoved,
} from "./train/verify.js";

// Generation
export {
  type Generated,
  type GeneratedPiece,
  generate,
  generateTokens,
  type GenerationOptions,
} from "./auto/generate.js";

// Engines
export { createEngine, type CreateEngineOptions, type EngineName } from "./runtime/engines.js";
export type { Engine, EngineCapabilities, Session } from "./runtime/engine.js";

// Files
export { openCheckpoint, type Checkpoint } from "./files/checkpoint.js";
export { openSafetensors, type SafetensorsFile } from "./files/safetensors.js";
export { writeSafetensors, type TensorToWrite } from "./files/safetensors-write.js";

// Extension
export {
  type Adapter,
  type Calibration,
  type CalibrationResult,
  defineMethod,
  type InputRows,
  type MethodDefinition,
  type Place,
  type Scope,
  type Target,
} from "./methods/method.js";
export type { AdaptContext, MergeContext, Site, SiteKind } from "./nn/site.js";
export { always, gaussian, type Initialiser, kaiming, nothing } from "./base/fill.js";
export {
  choice,
  flag,
  flagOr,
  integer,
  names,
  number,
  numbersByName,
  type Option,
  optionalInteger,
  optionalText,
  type Options,
  type OptionValues,
  text,
} from "./base/option.js";
export { patternOptions, targetOptions } from "./base/target-options.js";
export { defineModel, type ModelDefinition, type TaskType } from "./models/model.js";
export { defineOp, type Op } from "./ops/op.js";

// Errors
export {
  CheckpointError,
  ConfigError,
  InternalError,
  NonFiniteError,
  OutOfMemoryError,
  PeftError,
  ShapeError,
  TargetError,
  UnsupportedError,
} from "./base/errors.js";
export { VERSION } from "./base/version.js";
