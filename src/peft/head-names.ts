import type { TaskType } from "../models/model.js";

/**
 * Heads that are new for a task and therefore trained and saved with every adapter, where the model has them.
 *
 * `pre_classifier` stands in the list because Hugging Face compares names by their last characters, so that its `classifier` takes
 * that layer of DistilBERT too; it starts at random like the head itself.
 */
export const HEAD_NAMES: Readonly<Record<TaskType, readonly string[]>> = {
  CAUSAL_LM: [],
  SEQ_2_SEQ_LM: [],
  MASKED_LM: [],
  SEQ_CLS: ["classifier", "score", "pre_classifier"],
  TOKEN_CLS: ["classifier", "score"],
  QUESTION_ANS: ["qa_outputs"],
  FEATURE_EXTRACTION: [],
};
