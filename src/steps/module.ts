import { KERNEL_CODE } from "./code.js";
import { webAssembly } from "./web-assembly.js";

let compiled: object | undefined;

/** The kernels, compiled once a process. */
export const kernelModule = (): object =>
  (compiled ??= new webAssembly.Module(
    Uint8Array.from(atob(KERNEL_CODE), (character) => character.charCodeAt(0)),
  ));
