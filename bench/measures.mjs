// What measures and shows a workload; loaded when the first step is done, because whoever trains does not load it either.
export { startProfile } from "../dist/cli/profile.js";
export { processTerminal } from "../dist/cli/terminal.js";
export { openOutputFolder } from "../dist/files/folder.js";
export { addFlops, idealSeconds, NO_FLOPS } from "../dist/nn/flops.js";
export { matmulPeaks } from "../dist/nn/matmul-peak.js";
export { Profiler } from "../dist/nn/profiler.js";
export { readBandwidth } from "./bandwidth.mjs";
