"""Bounds on the computation of a model, found by its shapes before onnxruntime runs it.

A file of a kilobyte can ask for terabytes: by one tensor that is repeated, by a constant of any
size, by products of matrices that it never stores. So only operators are let through whose output
has a size that shape inference finds, and that size and the work are bounded.
"""

from math import prod
from typing import NamedTuple

import onnx

MAX_NODES = 20_000
MAX_VALUES = 2**27  # numbers in one tensor, for one pair: half a GiB
MAX_TOTAL = 2**31  # numbers in all tensors, for one pair: none may be given back before the end
MAX_WORK = 2**39  # multiplications and numbers written, for one pair: about ten seconds of a core

_Shape = tuple[int, ...]

# What exports of networks of Keras layers consist of. Left out are control flow, random numbers,
# texts, sequences, recurrent layers and whatever has an output whose size depends on values.
_NAMES = """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Constant
    ConstantOfShape Conv ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Dropout Einsum
    Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish
    Hardmax Identity InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less
    LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool Mean
    MeanVarianceNormalization Min Mish Mod Mul Neg Not Or PRelu Pad Pow QuantizeLinear
    RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round
    ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign
    SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu
    Unsqueeze Where Xor
"""
_OPERATORS = frozenset(_NAMES.split())


class Size(NamedTuple):
    """Counts of the numbers that a model computes for one pair."""

    largest: int  # in its largest value
    total: int  # in all of its values


def size_of(model: onnx.ModelProto) -> Size:
    """Count the numbers that a model computes for one pair.

    Raises ValueError for an operator that no pair model needs, or more than the bounds above.
    """
    if len(model.graph.node) > MAX_NODES:
        raise ValueError(f"{len(model.graph.node):,} nodes, more than {MAX_NODES:,}")
    if odd := sorted({node.op_type for node in model.graph.node} - _OPERATORS):
        raise ValueError(f"operators that no pair model needs, {', '.join(odd)}")
    shapes = shapes_of(model)
    work = total = largest = 0
    for node in model.graph.node:
        for name in node.output:
            if name and name not in shapes:
                raise ValueError(f"a value whose size is not known, {name} of {node.op_type}")
        sizes = [prod(shapes[name]) for name in node.output if name]
        largest = max(largest, *sizes, 0)
        if largest > MAX_VALUES:
            raise ValueError(
                f"{largest:,} numbers from one {node.op_type}, more than {MAX_VALUES:,}"
            )
        total += sum(sizes)
        work += sum(sizes) * _per_number(node, shapes)
    if total > MAX_TOTAL:
        raise ValueError(f"{total:,} numbers for one pair, more than {MAX_TOTAL:,}")
    if work > MAX_WORK:
        raise ValueError(f"{work:.1e} operations for one pair, more than {MAX_WORK:.1e}")
    return Size(largest, total)


def shapes_of(model: onnx.ModelProto) -> dict[str, _Shape]:
    """Return the shape of every value, for one pair, that shape inference finds."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]  # what a file says of itself counts for nothing
    for value in (*bare.graph.input, *bare.graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].Clear()
    for value in bare.graph.input:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    found = onnx.shape_inference.infer_shapes(bare, strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in found.initializer}
    for value in (*found.input, *found.value_info, *found.output):
        if (shape := _known(value)) is not None:
            shapes[value.name] = shape
    return shapes


def _known(value: onnx.ValueInfoProto) -> _Shape | None:
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    known = tensor.HasField("shape") and all(d.HasField("dim_value") for d in dims)
    return tuple(d.dim_value for d in dims) if known else None


def _per_number(node: onnx.NodeProto, shapes: dict[str, _Shape]) -> int:
    """Return an upper bound of the operations for each number of a node's output."""
    inputs = [shapes.get(name, ()) for name in node.input if name]
    if node.op_type in ("Conv", "ConvTranspose"):
        return prod(inputs[1][1:] if node.op_type == "Conv" else inputs[1])
    if node.op_type in ("MatMul", "Gemm"):
        return max(inputs[0], default=1)
    if node.op_type in ("AveragePool", "LpPool", "MaxPool", "LRN"):
        return prod(next((a.ints for a in node.attribute if a.name == "kernel_shape"), ())) or 1
    if node.op_type == "Einsum":
        return _summed(node, inputs)
    if node.op_type.startswith(("Reduce", "Global", "Arg", "TopK")):
        return max((prod(shape) for shape in inputs), default=1)
    return 1


def _summed(node: onnx.NodeProto, inputs: list[_Shape]) -> int:
    """Return the number of products in each sum of an Einsum without `...`."""
    (equation,) = (a.s.decode() for a in node.attribute if a.name == "equation")
    read, arrow, written = equation.replace(" ", "").partition("->")
    if not arrow or "." in equation:
        raise ValueError(f"an Einsum that is not written out, {equation!r:.40}")
    sizes: dict[str, int] = {}
    for letters, shape in zip(read.split(","), inputs, strict=True):
        sizes |= dict(zip(letters, shape, strict=True))
    return prod(size for letter, size in sizes.items() if letter not in written)
