"""Rewritten graphs give the same numbers, and what a rewrite would change is left alone."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from kpairs.exports.writing.graph import simplify

SHAPES = {"w": (4, 3, 3, 3), "v": (2, 4, 3, 3), "bw": (1, 4, 1, 1), "bv": (1, 2, 1, 1)}
SHAPES |= {"pixel": (1, 1, 6, 6), "row": (1, 1, 1, 4), "channel": (1, 1, 1, 3)}
SHAPES |= {"four": (4,), "two": (2,)}
SIZES = {
    "pair": [-1, 16, 8, 3],
    "copied": [0, 16, 8, 3],
    "one": [1],
    "last": [4],
    "flat": [-1, 192],
}

FIRST, LAST = "perm = [0, 3, 1, 2]", "perm = [0, 2, 3, 1]"
BEFORE = "a = Conv(x, w) c = Add(a, bw)"
AFTER = "f = Conv(e, v) y = Add(f, bv)"
# The inputs x (batch, 3, 8, 8) and z (batch, 8, 8, 3), the operations, and how many of some kinds
# are left; "computed" are the rows and columns of each convolution's result.
CASES = {
    "selu": (f"{BEFORE} e = Selu(c) {AFTER}", {"Selu": 0, "Exp": 1, "Conv": 2, "Add": 1}),
    "selu and pooling": (
        f"{BEFORE} d = MaxPool<kernel_shape = [2, 2], pads = [1, 1, 0, 0]>(c) e = Selu(d) {AFTER}",
        {"Selu": 0, "Exp": 1},
    ),
    "selu before padding": (
        f"{BEFORE} e = Selu(c) f = Conv<pads = [1, 1, 1, 1]>(e, v) y = Add(f, bv)",
        {"Selu": 1, "Exp": 0},
    ),
    "selu before padding by name": (
        f'{BEFORE} e = Selu(c) f = Conv<auto_pad = "SAME_UPPER">(e, v) y = Add(f, bv)',
        {"Selu": 1, "Exp": 0},
    ),
    "selu read twice": (
        f"{BEFORE} e = Selu(c) f = Conv(e, v) g = Add(f, bv) h = ReduceSum(e) y = Add(g, h)",
        {"Selu": 1, "Exp": 0},
    ),
    "before selu read twice": (
        f"{BEFORE} e = Selu(c) f = Conv(e, v) g = Add(f, bv) h = ReduceSum(c) y = Add(g, h)",
        {"Selu": 1, "Exp": 0},
    ),
    "selu of another alpha": (f"{BEFORE} e = Selu<alpha = 1.0>(c) {AFTER}", {"Selu": 1}),
    "no bias per pixel": ("a = Conv(x, w) y = Add(a, pixel)", {"Add": 1}),
    "transpositions": (
        f"a = Conv(x, w) b = Transpose<{LAST}>(a) c = Add(b, row) d = Relu(c) "
        f"g = Mul(d, d) e = Transpose<{FIRST}>(g) {AFTER}",
        {"Transpose": 0, "Add": 0, "Mul": 1},
    ),
    "batch normalisation": (
        f"a = Transpose<{LAST}>(x) b = Sub(a, channel) c = Mul(b, channel) d = Add(c, channel) "
        f"y = Transpose<{FIRST}>(d)",
        {"Transpose": 0, "BatchNormalization": 1, "Sub": 0, "Mul": 0, "Add": 0},
    ),
    "half a batch normalisation": (
        f"a = Transpose<{LAST}>(x) b = Sub(a, channel) c = Mul(b, channel) d = Add(c, b) "
        f"y = Transpose<{FIRST}>(d)",
        {"Transpose": 0, "BatchNormalization": 0, "Sub": 1, "Mul": 1, "Add": 1},
    ),
    "rows that pooling leaves out": (
        "a = Conv<pads = [0, 0, 1, 1]>(x, w) c = Add(a, bw) d = Relu(c) "
        "e = MaxPool<kernel_shape = [2, 2]>(d) f = Conv(e, v) g = Relu(f) "
        "y = MaxPool<kernel_shape = [3, 3], strides = [4, 4]>(g)",
        {"Slice": 0, "Conv": 2, "computed": [(6, 6), (3, 3)]},
    ),
    "rows left out behind batch normalisation": (
        f"a = Conv<pads = [0, 0, 1, 1]>(x, w) b = Transpose<{LAST}>(a) c = Sub(b, row) "
        f"d = Mul(c, row) e = Add(d, row) f = Transpose<{FIRST}>(e) "
        "y = MaxPool<kernel_shape = [2, 2], strides = [4, 4]>(f)",
        {"Slice": 0, "computed": [(6, 6)]},
    ),
    "rows left out where the image would have to be cut": (
        f"{BEFORE} d = Relu(c) e = MaxPool<kernel_shape = [2, 2]>(d) f = Conv(e, v) "
        "g = Relu(f) y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(g)",
        {"Slice": 0, "Conv": 2, "computed": [(6, 6), (3, 3)]},
    ),
    "padding that pooling leaves out": (
        "a = Conv<pads = [1, 1, 2, 1]>(x, w) b = Mul(a, bw) "
        "y = MaxPool<kernel_shape = [2, 2], strides = [2, 3]>(b)",
        {"Slice": 0, "computed": [(8, 8)]},
    ),
    "padding in between": (
        "a = Conv<pads = [1, 0, 1, 2]>(x, w) b = Conv<pads = [1, 2, 1, 1]>(a, v) "
        "y = MaxPool<kernel_shape = [2, 2], strides = [3, 4]>(b)",
        {"Slice": 0, "computed": [(8, 6), (8, 6)]},
    ),
    "pooling that reads all": (
        f"{BEFORE} y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)",
        {"Slice": 0, "computed": [(6, 6)]},
    ),
    "rows left out but read elsewhere": (
        "a = Conv<pads = [0, 0, 1, 1]>(x, w) "
        "b = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) c = ReduceSum(a) y = Add(b, c)",
        {"Slice": 0, "computed": [(7, 7)]},
    ),
    "a number per pixel": (
        "a = Conv(x, w) c = Add(a, pixel) y = MaxPool<kernel_shape = [1, 1], strides = [3, 2]>(c)",
        {"Slice": 0, "computed": [(6, 6)]},
    ),
    "pooling that rounds up": (
        "a = Conv<pads = [0, 0, 1, 1]>(x, w) "
        "y = MaxPool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(a)",
        {"Slice": 0, "computed": [(7, 7)]},
    ),
    "a convolution with gaps": (
        "a = Conv<dilations = [2, 2]>(x, w) "
        "y = MaxPool<kernel_shape = [1, 1], strides = [2, 2]>(a)",
        {"Slice": 0, "computed": [(4, 4)]},
    ),
    "padding by name": (
        'a = Conv<auto_pad = "SAME_UPPER">(x, w) '
        "y = MaxPool<kernel_shape = [1, 1], strides = [3, 3]>(a)",
        {"Slice": 0, "computed": [(8, 8)]},
    ),
    "selu after a bias of its own, read twice": (
        "c = Conv(x, w, four) e = Selu(c) f = Conv(e, v, two) h = ReduceSum(e) y = Add(f, h)",
        {"Selu": 1, "Exp": 0},
    ),
    "stack": (
        "a = Unsqueeze(z, one) b = Concat<axis = 1>(a, a) y = Reshape<allowzero = 1>(b, pair)",
        {"Unsqueeze": 0, "Concat": 1},
    ),
    "stack along a new last axis": (
        "a = Unsqueeze(z, last) b = Concat<axis = 4>(a, a) y = Reshape(b, pair)",
        {"Unsqueeze": 1},
    ),
    "stack and sizes of before": (
        "a = Unsqueeze(z, one) b = Concat<axis = 1>(a, a) c = Reshape(b, flat) y = Relu(c)",
        {"Unsqueeze": 0},
    ),
    "reshapes": ("a = Reshape(z, flat) b = Relu(a) c = Reshape(a, flat) y = Add(b, c)", {}),
    "a size of before": (
        "a = Concat<axis = 1>(z, z) b = Reshape(a, pair) y = Reshape(b, copied)",
        {},
    ),
}


def model(operations):
    """The model of some operations on x and z; constants are initializers."""
    rng = np.random.default_rng(5)
    steps = operations.replace(") ", ")\n")
    text = f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[batch, 3, 8, 8] x, float[batch, 8, 8, 3] z) => (float out) {{
    {steps} out = Neg(y) }}"""
    proto = onnx.parser.parse_model(text)
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None))
    arrays = {n: rng.normal(0, 1, s).astype(np.float32) for n, s in SHAPES.items()}
    arrays |= {name: np.array(sizes) for name, sizes in SIZES.items()}
    proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
    return proto


def run(proto, batch):
    rng = np.random.default_rng(batch)
    inputs = {"x": (batch, 3, 8, 8), "z": (batch, 8, 8, 3)}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    values = {n: 3 * rng.normal(size=s).astype(np.float32) for n, s in inputs.items()}
    return session.run(None, values)[0]


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_stay(case):
    operations, counts = CASES[case]
    before = model(operations)
    rewritten = ir.from_proto(before)
    simplify(rewritten)
    after = ir.to_proto(rewritten)
    onnx.checker.check_model(after, full_check=True)
    kinds = [node.op_type for node in after.graph.node]
    found = {kind: kinds.count(kind) for kind in counts}
    if "computed" in counts:
        inferred = onnx.shape_inference.infer_shapes(after).graph
        shapes = {v.name: v.type.tensor_type.shape.dim for v in inferred.value_info}
        results = [node.output[0] for node in inferred.node if node.op_type == "Conv"]
        found["computed"] = [tuple(d.dim_value for d in shapes[name][2:]) for name in results]
    assert found == counts, kinds
    for batch in (1, 5):
        expected = run(before, batch)
        np.testing.assert_allclose(run(after, batch), expected, atol=1e-5 * np.abs(expected).max())
