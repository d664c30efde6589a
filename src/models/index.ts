import { llama } from "./llama.js";
import { mistral } from "./mistral.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";

/** Every architecture, by `model_type`. */
export const models = { llama, mistral, qwen2, qwen3 };
