import protobuf from "protobufjs";
import { expect, test } from "vitest";
import { inputValue } from "../graph/value.js";
import { ops as f } from "../ops/index.js";
import { lowerGraph } from "./lower.js";
import { encodeModel } from "./model.js";

// The part of onnx.proto3 that is written, for a second implementation of the wire format to read it with.
const schema = protobuf
  .parse(
    `
  syntax = "proto3";
  message AttributeProto { string name = 1; float f = 2; int64 i = 3; bytes s = 4; repeated int64 ints = 8 [packed = false]; int32 type = 20; }
  message NodeProto { repeated string input = 1; repeated string output = 2; string name = 3; string op_type = 4; repeated AttributeProto attribute = 5; string domain = 7; }
  message TensorProto { repeated int64 dims = 1 [packed = false]; int32 data_type = 2; string name = 8; bytes raw_data = 9; }
  message Dimension { int64 dim_value = 1; string dim_param = 2; }
  message Shape { repeated Dimension dim = 1; }
  message Tensor { int32 elem_type = 1; Shape shape = 2; }
  message TypeProto { Tensor tensor_type = 1; }
  message ValueInfoProto { string name = 1; TypeProto type = 2; }
  message GraphProto { repeated NodeProto node = 1; string name = 2; repeated TensorProto initializer = 5; repeated ValueInfoProto input = 11; repeated ValueInfoProto output = 12; }
  message OperatorSetIdProto { string domain = 1; int64 version = 2; }
  message ModelProto { int64 ir_version = 1; string producer_name = 2; GraphProto graph = 7; repeated OperatorSetIdProto opset_import = 8; }
`,
    { keepCase: true },
  )
  .root.lookupType("ModelProto");

const decode = (bytes: Uint8Array): Record<string, never> => {
  const message = schema.decode(bytes);
  // Encoding what was read has to give the same bytes: nothing was misread or left over.
  expect(Buffer.from(schema.encode(message).finish()).equals(Buffer.from(bytes))).toBe(true);
  return schema.toObject(message, { longs: Number, bytes: Array }) as Record<string, never>;
};

test("every kind of field is read by a second implementation", () => {
  const model = decode(
    encodeModel({
      name: "g",
      nodes: [
        {
          opType: "Op",
          name: "n",
          domain: "com.microsoft",
          inputs: ["x", "c"],
          outputs: ["y", "z"],
          attributes: { i: -3, f: { float: 1.5 }, s: "text ✓", l: [1, -2, 300] },
        },
      ],
      constants: [{ name: "c", dtype: "int64", dims: [2], values: [1, -1] }],
      inputs: [["x", { dtype: "bfloat16", shape: ["N", 4] }]],
      outputs: [["y", { dtype: "float32", shape: [] }]],
    }),
  );
  expect(model).toMatchObject({
    ir_version: 10,
    graph: {
      name: "g",
      node: [
        {
          op_type: "Op",
          domain: "com.microsoft",
          attribute: [
            { name: "i", i: -3, type: 2 },
            { name: "f", f: 1.5, type: 1 },
            { name: "s", s: [...Buffer.from("text ✓")], type: 3 },
            { name: "l", ints: [1, -2, 300], type: 7 },
          ],
        },
      ],
      initializer: [
        {
          name: "c",
          data_type: 7,
          raw_data: [1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
        },
      ],
      input: [
        {
          name: "x",
          type: { tensor_type: { elem_type: 16, shape: { dim: [{ dim_param: "N" }, { dim_value: 4 }] } } },
        },
      ],
    },
    opset_import: [{ version: 21 }, { domain: "com.microsoft", version: 1 }],
  });
});

test("a lowered graph names its results, shares constants, and copies what is asked for twice", () => {
  const x = inputValue("x", { dtype: "float32", shape: ["N", 3] });
  const y = f.scale(f.scale(x, { by: 2 }), { by: 2 });
  const model = decode(
    lowerGraph(
      { name: "g", inputs: [x], outputs: [y, y, x] },
      { fusedMatMul: true, bfloat16Inputs: true, asynchronous: true, sharedMemory: true },
    ),
  ) as unknown as { graph: { node: { op_type: string; output: string[] }[]; initializer: unknown[] } };
  expect(model.graph.node.map(({ op_type, output }) => [op_type, output[0]!.replace(/.*\//, "")])).toEqual([
    ["Mul", "Mul_0"],
    ["Mul", "o0"],
    ["Identity", "o1"],
    ["Identity", "o2"],
  ]);
  expect(model.graph.initializer).toHaveLength(1);
});
