/**
 * Runs jobs in their order, several under way at once. When one fails no other is begun, and the error is thrown once those under way
 * have ended: what they write into may then be used for something else.
 */
export async function inLanes(jobs: readonly (() => Promise<void>)[], lanes: number): Promise<void> {
  let next = 0;
  let failed = false;
  const lane = async (): Promise<void> => {
    while (next < jobs.length && !failed) {
      const job = jobs[next]!;
      next += 1;
      try {
        await job();
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.max(1, lanes) }, lane));
  const failure = ends.find((end) => end.status === "rejected");
  if (failure !== undefined) throw failure.reason;
}
