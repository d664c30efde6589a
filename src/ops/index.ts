import { add } from "./add.js";
import { bnb4Matmul } from "./bnb4-matmul.js";
import { bnb4Unpack } from "./bnb4-unpack.js";
import { byteMatmul } from "./byte-matmul.js";
import { cachedAttention } from "./cached-attention.js";
import { cachedRotaryAttention } from "./cached-rotary-attention.js";
import { cast } from "./cast.js";
import { concat } from "./concat.js";
import { constant } from "./constant.js";
import { crossEntropyGradient } from "./cross-entropy-gradient.js";
import { crossEntropy } from "./cross-entropy.js";
import { detach } from "./detach.js";
import { div } from "./div.js";
import { dropout } from "./dropout.js";
import { erf } from "./erf.js";
import { exp } from "./exp.js";
import { expandLike } from "./expand-like.js";
import { floor } from "./floor.js";
import { gather } from "./gather.js";
import { gelu } from "./gelu.js";
import { int8ForwardMatmul } from "./int8-forward-matmul.js";
import { int8Matmul } from "./int8-matmul.js";
import { inverse } from "./inverse.js";
import { layerNorm } from "./layer-norm.js";
import { log } from "./log.js";
import { matmul } from "./matmul.js";
import { mul } from "./mul.js";
import { neg } from "./neg.js";
import { offset } from "./offset.js";
import { packedInt8Matmul } from "./packed-int8-matmul.js";
import { packedMatmul } from "./packed-matmul.js";
import { packedOffsetMatmul } from "./packed-offset-matmul.js";
import { pad } from "./pad.js";
import { reciprocal } from "./reciprocal.js";
import { relu } from "./relu.js";
import { reshape } from "./reshape.js";
import { rmsNorm } from "./rms-norm.js";
import { rotary } from "./rotary.js";
import { scale } from "./scale.js";
import { scatterRows } from "./scatter-rows.js";
import { sigmoid } from "./sigmoid.js";
import { silu } from "./silu.js";
import { slice } from "./slice.js";
import { softmax } from "./softmax.js";
import { sqrt } from "./sqrt.js";
import { step } from "./step.js";
import { sub } from "./sub.js";
import { sumSquare } from "./sum-square.js";
import { sum } from "./sum.js";
import { tanh } from "./tanh.js";
import { transpose } from "./transpose.js";
import { unpack } from "./unpack.js";
import { unsqueeze } from "./unsqueeze.js";

/** Every op, by name. */
export const ops = {
  add,
  bnb4Matmul,
  bnb4Unpack,
  byteMatmul,
  cachedAttention,
  cachedRotaryAttention,
  cast,
  concat,
  constant,
  crossEntropyGradient,
  crossEntropy,
  detach,
  div,
  dropout,
  erf,
  exp,
  expandLike,
  floor,
  gather,
  gelu,
  int8ForwardMatmul,
  int8Matmul,
  inverse,
  layerNorm,
  log,
  matmul,
  mul,
  neg,
  offset,
  packedInt8Matmul,
  packedMatmul,
  packedOffsetMatmul,
  pad,
  reciprocal,
  relu,
  reshape,
  rmsNorm,
  rotary,
  scale,
  scatterRows,
  sigmoid,
  silu,
  slice,
  softmax,
  sqrt,
  step,
  sub,
  sumSquare,
  sum,
  tanh,
  transpose,
  unpack,
  unsqueeze,
};
