// A step of a program, as src/steps/program.ts lays it out: words of 32 bits.

/** Bytes of a step. */
export const STEP_BYTES: usize = 128;

/** Bytes before the first phase of a program, and before the steps of a phase. */
export const HEADER_BYTES: usize = 64;

export function kernelOf(step: usize): i32 {
  return load<i32>(step);
}

/** Parts that a step has. */
export function unitsOf(step: usize): i32 {
  return load<i32>(step, 4);
}

/** Parts that a thread takes at once. */
export function grainOf(step: usize): i32 {
  return load<i32>(step, 8);
}

/** How often parts were taken since the program was made. */
export function takenOf(step: usize): usize {
  return step + 12;
}

const FIRST_ARGUMENT: usize = 16;

export function pointer(step: usize, index: i32): usize {
  return <usize>load<u32>(step + FIRST_ARGUMENT + ((<usize>index) << 2));
}

export function whole(step: usize, index: i32): i32 {
  return load<i32>(step + FIRST_ARGUMENT + ((<usize>index) << 2));
}

export function real(step: usize, index: i32): f32 {
  return load<f32>(step + FIRST_ARGUMENT + ((<usize>index) << 2));
}
