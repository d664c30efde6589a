// Where models and data are kept that scripts and benchmarks fetch: PEFT_CACHE, else ~/.cache/peft.js.
import { homedir } from "node:os";
import { join } from "node:path";

export const cacheFolder = process.env.PEFT_CACHE ?? join(homedir(), ".cache", "peft.js");
