import { demo } from "./demo.js";
import { generate } from "./generate.js";
import { inspect } from "./inspect.js";
import { match } from "./match.js";
import { merge } from "./merge.js";
import { methods } from "./methods.js";
import { predict } from "./predict.js";
import { train } from "./train.js";

/** Every command, by name, in the order the help shows them. */
export const commands = { train, generate, predict, merge, inspect, match, methods, demo };
