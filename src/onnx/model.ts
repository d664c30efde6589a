import { type HostTensor, tensorBytes } from "../base/host-tensor.js";
import { BYTES_PER_ELEMENT, type DType, ONNX_DTYPES, type TensorType } from "../base/tensor-type.js";
import type { AttributeValue } from "./emitter.js";
import { ProtobufWriter } from "./protobuf.js";

/** A node of an ONNX graph. */
export interface OnnxNode {
  readonly opType: string;
  readonly name: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

/** A small tensor inside the model. */
export interface OnnxConstant {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly values: readonly number[];
}

export interface OnnxModel {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly constants: readonly OnnxConstant[];
  /** Constants of any size, whose elements are copied as they are. */
  readonly tensors?: readonly (readonly [name: string, tensor: HostTensor])[];
  readonly inputs: readonly (readonly [name: string, type: TensorType])[];
  readonly outputs: readonly (readonly [name: string, type: TensorType])[];
}

const IR_VERSION = 10;
const OPSET = 21;

function rawData({ dtype, values }: OnnxConstant): Uint8Array {
  const bytes = new Uint8Array(values.length * BYTES_PER_ELEMENT[dtype]);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) {
    if (dtype === "float32") view.setFloat32(4 * i, value, true);
    else if (dtype === "float64") view.setFloat64(8 * i, value, true);
    else if (dtype === "int64") view.setBigInt64(8 * i, BigInt(value), true);
    else if (dtype === "int32") view.setInt32(4 * i, value, true);
    else view.setUint8(i, value);
  }
  return bytes;
}

// Field numbers below are those of onnx.proto3: AttributeProto, NodeProto, TensorProto, ValueInfoProto, GraphProto, ModelProto.
function writeAttribute(out: ProtobufWriter, name: string, value: AttributeValue): void {
  out.text(1, name);
  if (typeof value === "number") {
    out.integer(3, value);
    out.integer(20, 2);
  } else if (typeof value === "string") {
    out.text(4, value);
    out.integer(20, 3);
  } else if ("float" in value) {
    out.float(2, value.float);
    out.integer(20, 1);
  } else {
    for (const item of value) out.integer(8, item);
    out.integer(20, 7);
  }
}

function writeNode(out: ProtobufWriter, node: OnnxNode): void {
  for (const input of node.inputs) out.text(1, input);
  for (const output of node.outputs) out.text(2, output);
  out.text(3, node.name);
  out.text(4, node.opType);
  for (const [name, value] of Object.entries(node.attributes))
    out.message(5, (field) => writeAttribute(field, name, value));
  if (node.domain !== "") out.text(7, node.domain);
}

function writeTensor(
  out: ProtobufWriter,
  { name, dims, dtype }: Pick<OnnxConstant, "name" | "dims" | "dtype">,
  bytes: Uint8Array,
): void {
  for (const dim of dims) out.integer(1, dim);
  out.integer(2, ONNX_DTYPES[dtype]);
  out.text(8, name);
  out.bytes(9, bytes);
}

function writeValueInfo(out: ProtobufWriter, name: string, type: TensorType): void {
  out.text(1, name);
  out.message(2, (typeProto) =>
    typeProto.message(1, (tensor) => {
      tensor.integer(1, ONNX_DTYPES[type.dtype]);
      tensor.message(2, (shape) => {
        for (const dim of type.shape) {
          shape.message(1, (entry) => (typeof dim === "number" ? entry.integer(1, dim) : entry.text(2, dim)));
        }
      });
    }),
  );
}

/** A ModelProto as bytes, for ONNX Runtime. */
export function encodeModel(model: OnnxModel): Uint8Array {
  const out = new ProtobufWriter();
  out.integer(1, IR_VERSION);
  out.text(2, "peft.js");
  out.message(7, (graph) => {
    for (const node of model.nodes) graph.message(1, (field) => writeNode(field, node));
    graph.text(2, model.name);
    for (const constant of model.constants)
      graph.message(5, (field) => writeTensor(field, constant, rawData(constant)));
    for (const [name, tensor] of model.tensors ?? [])
      graph.message(5, (field) => writeTensor(field, { ...tensor, name }, tensorBytes(tensor)));
    for (const [name, type] of model.inputs) graph.message(11, (field) => writeValueInfo(field, name, type));
    for (const [name, type] of model.outputs) graph.message(12, (field) => writeValueInfo(field, name, type));
  });
  for (const [domain, version] of [
    ["", OPSET],
    ["com.microsoft", 1],
  ] as const) {
    out.message(8, (opset) => {
      if (domain !== "") opset.text(1, domain);
      opset.integer(2, version);
    });
  }
  return out.finish();
}
