import { CheckpointError } from "../base/errors.js";

/** The error of an answer that is not what was asked for; `what` is the thing, such as `model org/name`. */
export function hubError(what: string, id: string, status: number): CheckpointError {
  const denied = status === 401 || status === 403;
  return new CheckpointError({
    code: denied ? "hub_denied" : status === 404 ? "hub_not_found" : "hub_failed",
    summary: denied
      ? `The Hub does not let you read ${what}.`
      : status === 404
        ? `The Hub has no ${what}.`
        : `The Hub answered ${status} for ${what}.`,
    fixes: denied
      ? [
          "check the spelling: the Hub answers so for names that do not exist, too",
          `ask for access on the page of ${id}, and set HF_TOKEN to a token of yours`,
        ]
      : status === 404
        ? ["check the spelling: organisation/name; a folder on this machine is given by its path"]
        : ["try again later"],
    fields: { id, status },
  });
}

/** The innermost message of an error of fetch, whose own says no more than "fetch failed". */
function rootMessage(error: unknown): string {
  const { cause, message, code } = error as NodeJS.ErrnoException & { cause?: unknown };
  return cause === undefined ? message || code || "no answer" : rootMessage(cause);
}

/** The error of a network that does not answer. */
export function unreachable(what: string, id: string, error: unknown): CheckpointError {
  return new CheckpointError({
    code: "hub_unreachable",
    summary: `The Hub could not be reached for ${what}: ${rootMessage(error)}.`,
    fixes: ["check the network; what has arrived is kept", "give the path of a model on this machine"],
    fields: { id },
    cause: error,
  });
}
