"""Records what Qualcomm's HTP emulator computes for small graphs, operator by operator.

    python arithmetic.py FOLDER

One file a graph, FOLDER/NAME.json: the ONNX model, its inputs, and the integers that the emulator gave out (base64, little-endian).
The tests compare packages/exporter/src/htp with them. Inputs are drawn from a fixed seed; the emulator gives the same numbers
every time. It needs the packages of packages/device/python/requirements.txt (x86-64 Linux, Python 3.11).
"""
import argparse
import base64
import json
import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
import onnxruntime_qnn as qnn
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../packages/device/python"))
from sessions import npu_session, outputs_of  # noqa: E402

SM8650 = {"socModel": 57, "htpArch": 75}
TYPES = {"u8": TensorProto.UINT8, "u16": TensorProto.UINT16, "s8": TensorProto.INT8, "s32": TensorProto.INT32, "s4": TensorProto.INT4}
NUMPY = {"u8": np.uint8, "u16": np.uint16, "s8": np.int8, "s32": np.int32}


class Case:
    """A graph of operators between DequantizeLinear and QuantizeLinear, with its inputs."""

    def __init__(self, name):
        self.name, self.nodes, self.constants, self.inputs, self.outputs, self.feeds = name, [], [], [], [], {}
        self.count = 0

    def fresh(self, kind):
        self.count += 1
        return f"{kind}{self.count}"

    def constant(self, values, kind):
        name = self.fresh("constant")
        if kind == "s4":
            self.constants.append(helper.make_tensor(name, TensorProto.INT4, np.shape(values), np.ravel(values).tolist()))
        else:
            self.constants.append(numpy_helper.from_array(np.asarray(values, NUMPY.get(kind, np.float32 if kind == "f32" else np.int64)), name))
        return name

    def node(self, op, inputs, name=None, **attributes):
        result = name or self.fresh(op)
        self.nodes.append(helper.make_node(op, inputs, [result], **attributes))
        return result

    def grid(self, kind, scale, zero):
        return self.constant(np.float32(scale), "f32"), self.constant(np.full(np.shape(scale), zero), kind)

    def real(self, integers, kind, scale, zero=0, **attributes):
        return self.node("DequantizeLinear", [integers, *self.grid(kind, scale, zero)], **attributes)

    def input(self, values, kind, scale, zero):
        name = self.fresh("input")
        self.feeds[name] = np.asarray(values, NUMPY[kind])
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[kind], np.shape(values)))
        return self.real(name, kind, scale, zero)

    def round(self, value, kind, scale, zero):
        grid = self.grid(kind, scale, zero)
        integers = self.node("QuantizeLinear", [value, *grid])
        return self.node("DequantizeLinear", [integers, *grid])

    def output(self, value, kind, scale, zero, shape):
        name = self.node("QuantizeLinear", [value, *self.grid(kind, scale, zero)], self.fresh("output"))
        self.outputs.append(helper.make_tensor_value_info(name, TYPES[kind], shape))
        return self

    def model(self):
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


TOP = {"u8": 255, "u16": 65535}


def fully_connected(rng, name, kind, weight, rows=24, size=64, out=40, bias=True, per_channel=True):
    """The result's grid clips a little; r, output scale over input scale and weight scale, differs by channel."""
    case, top = Case(name), TOP[kind]
    limit = 7 if weight == "s4" else 127
    x = rng.integers(0, top + 1, (rows, size))
    w = rng.integers(-limit, limit + 1, (out, size))
    zero = int(rng.integers(top // 4, 3 * top // 4))
    input_scale = np.float32(3.3 / top)
    scales = rng.uniform(0.2, 1, out if per_channel else ()).astype(np.float32) / np.float32(limit)
    b = rng.integers(-200 * top, 200 * top, out) if bias else np.zeros(out, np.int64)
    sums = ((x - zero) @ w.T + b) * (float(input_scale) * scales)
    low, high = 0.9 * sums.min(), 0.9 * sums.max()
    scale = np.float32((high - low) / top)
    axis = {"axis": 0} if per_channel else {}
    operands = [case.input(x, kind, input_scale, zero), case.real(case.constant(w, weight), weight, scales, **axis)]
    if bias:
        operands.append(case.real(case.constant(b, "s32"), "s32", scales * input_scale, **axis))
    return case.output(case.node("Gemm", operands, transB=1), kind, scale, round(-low / float(scale)), (rows, out))


def attention(rng, name, kind, zero, shape=(2, 16, 32, 24), top=None, spread=1.0):
    heads, rows, size, columns = shape
    case = Case(name)
    x = rng.integers(0, (top or TOP[kind]) + 1, (heads, rows, size))
    w = rng.integers(1, 256, (heads, size, columns))
    input_scale, second = np.float32(0.0017), np.float32(0.0213)
    sums = (x - zero) @ (w - 128) * (float(input_scale) * float(second)) * spread
    scale = np.float32((sums.max() - sums.min()) / TOP[kind])
    product = case.node("MatMul", [case.input(x, kind, input_scale, zero), case.input(w, "u8", second, 128)])
    return case.output(product, kind, scale, round(-sums.min() / float(scale)), (heads, rows, columns))


def pair(rng, name, op, kind, scales, zeros, result, shape=(20, 50), constant=False):
    case = Case(name)
    a = rng.integers(0, TOP[kind] + 1, shape)
    b = rng.integers(0, TOP[kind] + 1, shape[-1:] if constant else shape)
    first = case.input(a, kind, scales[0], zeros[0])
    second = case.real(case.constant(b, kind), kind, scales[1], zeros[1]) if constant else case.input(b, kind, scales[1], zeros[1])
    return case.output(case.node(op, [first, second]), kind, *result, shape)


def single(rng, name, op, kinds, grid, result, shape=(16, 128), spread=None, **attributes):
    """Without an operator, a conversion. Values are uniform over the grid, or normal around its zero point."""
    case, (kind, to) = Case(name), kinds
    values = rng.integers(0, TOP[kind] + 1, shape)
    if spread:
        values = np.clip(np.rint(rng.normal(grid[1], spread, shape)), 0, TOP[kind])
    x = case.input(values, kind, *grid)
    return case.output(case.node(op, [x], **attributes) if op else x, to, *result, shape)


def rotary(rng, name, shape=(12, 32)):
    """x · cos + swapped x · sin, halves of a head swapped by slices."""
    case, half = Case(name), shape[-1] // 2
    grid, table, product = (0.0007, 31000), (1 / 32767, 32768), (0.0007, 31000)
    angles = rng.uniform(0, 6, shape)
    x = case.input(rng.integers(0, 65536, shape), "u16", *grid)
    cos, sin = (case.input(np.clip(np.rint(f(angles) * 32767) + 32768, 0, 65535), "u16", *table) for f in (np.cos, np.sin))
    ends = [[case.constant([at], "s64") for at in part] for part in ((half, shape[-1]), (0, half))]
    axis = case.constant([1], "s64")
    parts = [case.round(case.node("Slice", [x, start, stop, axis]), "u16", *grid) for start, stop in ends]
    swapped = case.round(case.node("Concat", parts, axis=1), "u16", *grid)
    a, b = (case.round(case.node("Mul", pair), "u16", *product) for pair in ((x, cos), (swapped, sin)))
    return case.output(case.node("Add", [a, b]), "u16", 0.0011, 32000, shape)


def cases(rng):
    yield fully_connected(rng, "gemm-u8-s8", "u8", "s8")
    yield fully_connected(rng, "gemm-u8-s8-tensor", "u8", "s8", per_channel=False, bias=False)
    yield fully_connected(rng, "gemm-u8-s4", "u8", "s4")
    yield fully_connected(rng, "gemm-u16-s8", "u16", "s8")
    yield fully_connected(rng, "gemm-u16-s8-tensor", "u16", "s8", per_channel=False, bias=False)
    yield fully_connected(rng, "gemm-u16-s4", "u16", "s4")
    yield fully_connected(rng, "gemm-u16-s8-deep", "u16", "s8", rows=6, size=1536, out=12)
    yield attention(rng, "matmul-u8", "u8", 101)
    yield attention(rng, "matmul-u16-scores", "u16", 30123)
    yield attention(rng, "matmul-u16-values", "u16", 0, top=6000, spread=0.7)
    yield pair(rng, "add-u16", "Add", "u16", (0.0113, 0.0021), (32000, 40000), (0.0121, 33000))
    yield pair(rng, "add-u16-mask", "Add", "u16", (0.00031, 0.61), (52000, 65535), (0.00041, 60000))
    yield pair(rng, "mul-u16", "Mul", "u16", (0.0013, 0.0007), (30000, 20000), (0.033, 32000))
    yield pair(rng, "mul-u16-constant", "Mul", "u16", (0.0013, 0.0007), (32768, 12000), (0.027, 35000), constant=True)
    yield single(rng, "convert-u8-u16", None, ("u8", "u16"), (0.0257, 100), (0.0001, 25700), (8, 128))
    yield single(rng, "convert-u16-u8", None, ("u16", "u8"), (0.000313, 20000), (0.0791, 77))
    yield single(rng, "convert-u16-u16", None, ("u16", "u16"), (0.000313, 20000), (0.000407, 21000))
    yield single(rng, "lpnormalization-u16", "LpNormalization", ("u16", "u16"), (0.01, 33000), (2 / 65535, 32768), (12, 192), spread=2500, axis=-1, p=2)
    yield single(rng, "softmax-u16", "Softmax", ("u16", "u16"), (0.0004, 50000), (1 / 65535, 0), (16, 96), spread=4000, axis=1)
    yield single(rng, "sigmoid-u8", "Sigmoid", ("u8", "u8"), (0.05, 120), (1 / 256, 0), (2, 128))
    yield single(rng, "sigmoid-u16", "Sigmoid", ("u16", "u16"), (16 / 65535, 30000), (1 / 65536, 0))
    yield single(rng, "gelu-u8", "Gelu", ("u8", "u8"), (0.05, 120), (0.0275, 6), (2, 128))
    yield single(rng, "gelu-u16", "Gelu", ("u16", "u16"), (0.0002, 30000), (0.00012, 1500))
    yield rotary(rng, "rotary-u16")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    arguments = parser.parse_args()
    os.makedirs(arguments.folder, exist_ok=True)
    made_by = f"onnxruntime {ort.__version__}, onnxruntime-qnn {qnn.__version__}, sm8650"
    for case in cases(np.random.default_rng(20)):
        model = case.model()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            onnx.save(model, path)
            outputs = outputs_of(npu_session(path, SM8650), case.feeds)
        text = lambda data: base64.b64encode(data).decode()
        tensors = lambda values: {name: text(np.ascontiguousarray(value).tobytes()) for name, value in values.items()}
        record = {"madeBy": made_by, "model": text(model.SerializeToString()), "inputs": tensors(case.feeds), "outputs": tensors(outputs)}
        with open(os.path.join(arguments.folder, f"{case.name}.json"), "w") as file:
            json.dump(record, file, indent=2)
            file.write("\n")
        print(case.name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
