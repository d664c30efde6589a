import { bert } from "./bert.js";
import { distilbert } from "./distilbert.js";
import { gemma } from "./gemma.js";
import { gemma2 } from "./gemma2.js";
import { gpt2 } from "./gpt2.js";
import { llama } from "./llama.js";
import { mistral } from "./mistral.js";
import { phi3 } from "./phi3.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";
import { roberta } from "./roberta.js";
import { t5 } from "./t5.js";

/** Every architecture, by `model_type`. */
export const models = {
  llama,
  mistral,
  qwen2,
  qwen3,
  gemma,
  gemma2,
  phi3,
  gpt2,
  bert,
  roberta,
  distilbert,
  t5,
};
