import { ConfigError } from "../base/errors.js";
import { openTensors } from "../files/adapter-files.js";
import type { StartTensors } from "../methods/method.js";
import type { AdapterPlan } from "./adapter-plan.js";

/** The file that the start of an adapter is made of, if it is made of one. */
export const startFileOf = ({ method, config }: Pick<AdapterPlan, "method" | "config">): string | undefined =>
  method.startFile?.(config);

/**
 * Reads what the start of an adapter is made of.
 *
 * @throws {@link CheckpointError} for a file that is not there or damaged
 */
export async function readStartTensors(plan: AdapterPlan): Promise<StartTensors | undefined> {
  const path = startFileOf(plan);
  if (path === undefined) return undefined;
  const file = await openTensors(path);
  try {
    // Mapped memory goes with the file.
    const tensors = new Map(
      [...file.tensors.keys()].map((name) => {
        const tensor = file.read(name);
        return [name, { ...tensor, data: tensor.data.slice() }] as const;
      }),
    );
    return { path, tensors };
  } finally {
    file.close();
  }
}

/** The error for a start that is made of a file where none is read. */
export const startFileUnread = (path: string): ConfigError =>
  new ConfigError({
    code: "start_file_unread",
    summary: `The start of the adapter is made of ${path}, and addAdapter reads no files.`,
    fixes: ["await model.calibrateAdapter(config, options)", "await getPeftModel(base, config)"],
    fields: { path },
  });
