"""From an ONNX graph to what `network.js` runs: its nodes in order, and its weights as base64."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from kpairs.errors import UsageError

# Operators that network.js has, with the attribute values that it takes for granted: exactly those
# that kpairs' exports contain.
_SQUARE = {"auto_pad": b"NOTSET", "dilations": [1, 1]}
_LAST = {"axis": -1}
_PLAIN = (
    *("Add", "Clip", "Concat", "Div", "Elu", "Exp", "Gather", "MatMul", "Mul", "Relu"),
    *("Reshape", "Selu", "Sigmoid", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where"),
)
OPERATORS: dict[str, dict[str, Any]] = {
    "Conv": {**_SQUARE, "group": 1},
    "MaxPool": {**_SQUARE, "ceil_mode": 0, "storage_order": 0},
    "BatchNormalization": {"training_mode": 0},
    "LogSoftmax": _LAST,
    "Softmax": _LAST,
    "Pad": {"mode": b"constant"},
    "ReduceLogSumExp": {"noop_with_empty_axes": 0},
    "ReduceMean": {"noop_with_empty_axes": 0},
    **{name: {} for name in _PLAIN},
}


def graph_of(proto: onnx.ModelProto) -> dict[str, Any]:
    """Write a network of `to_proto` down as JSON for `networkOf` in network.js.

    Raises UsageError for an operator, or an attribute of one, that network.js does not have.
    """
    constants: dict[str, dict[str, Any]] = {}
    floats, offset = [], 0
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        constants[tensor.name] = {"dims": list(array.shape)}
        if array.dtype == np.float32:
            constants[tensor.name]["offset"] = offset
            floats.append(array.ravel())
            offset += array.size
        else:  # sizes, axes, conditions
            constants[tensor.name]["values"] = array.ravel().astype(int).tolist()
    weights = np.concatenate(floats or [np.zeros(0)]).astype("<f4")
    return {
        "shape": [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim[1:]],
        "outputs": [value.name for value in proto.graph.output],
        "nodes": [_node(node, constants) for node in proto.graph.node],
        "constants": constants,
        "weights": base64.b64encode(weights.tobytes()).decode(),
    }


def _node(node: onnx.NodeProto, constants: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    if node.op_type not in OPERATORS:
        raise _cannot_run(node.op_type)
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    for name, value in OPERATORS[node.op_type].items():
        if (received := attributes.pop(name, value)) != value:
            raise _cannot_run(f"{node.op_type} with {name}={received} instead of {value}")
    if node.op_type == "MatMul" and len(constants.get(node.input[1], {}).get("dims", ())) != 2:
        raise _cannot_run("MatMul of two results")
    return {
        "op": node.op_type,
        "inputs": list(node.input),
        "outputs": list(node.output),
        "attributes": attributes,
    }


def _cannot_run(operator: str) -> UsageError:
    return UsageError(
        f"html: a page cannot run the operator {operator} of this network; export it with --onnx, "
        "or train a network such as ranker or auxws"
    )
