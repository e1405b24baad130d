"""The same numbers from a graph that onnxruntime runs faster.

The exporter writes down what Keras on torch did: images with channels last and a transposition
around every convolution, batch normalisation as three operations, SELU as one slow one. What a
pattern of operations can say is a rewrite rule of onnxscript; what follows values through the graph
is a function. onnxruntime's own optimisation at load does the rest.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import (
    LiftConstantsToInitializersPass,
    RemoveUnusedNodesPass,
    ShapeInferencePass,
)
from onnxscript.optimizer import optimize
from onnxscript.rewriter.pattern import RewriteRuleClassBase, RewriteRuleSet

_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_ELEMENTWISE = ("Add", "Div", "Elu", "Mul", "Relu", "Selu", "Sigmoid", "Sub", "Tanh")
# Klambauer et al., Self-Normalizing Neural Networks (2017); ONNX's defaults too.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def simplify(model: ir.Model) -> None:
    """Rewrite a model in place; names of inputs and outputs stay."""
    _at_each_node(model, _channels_first)
    _by_rules(model, _Stack.rule(), _Transpose.rule(), _BatchNormalization.rule(), _Bias.rule())
    _at_each_node(model, _crop)
    _by_rules(model, _Selu.rule(pooled=False), _Selu.rule(pooled=True))
    optimize(model)  # onnxscript's own rules: reshapes and batch normalisations that come together


def _at_each_node(model, rewrite):
    for node in model.graph:
        if not any(value.is_graph_output() for value in node.outputs):
            rewrite(model.graph, node)
    RemoveUnusedNodesPass()(model)
    ShapeInferencePass()(model)


def _by_rules(model, *rules):
    while RewriteRuleSet(rules).apply_to_model(model):  # what one writes another may match
        ShapeInferencePass()(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)


class _Stack(RewriteRuleClassBase):
    """Before a reshape, to stack two tensors along an axis is to put them side by side there."""

    def pattern(self, op, left, right, axes, axis, sizes):
        stacked = op.Concat(op.Unsqueeze(left, axes), op.Unsqueeze(right, axes), axis=axis)
        return op.Reshape(stacked, sizes)

    def check(self, context, left, right, axes, axis, sizes):
        place, shape, places = axis.as_int(), _constant(sizes), _constant(axes)
        return (
            places is not None
            and places.tolist() == [place]
            and shape is not None
            and 0 not in shape  # which would be a size of before
            and all(t.shape is not None and 0 <= place < len(t.shape) for t in (left, right))
        )

    def rewrite(self, op, left, right, axes, axis, sizes):
        return op.Reshape(op.Concat(left, right, axis=axis), sizes)


class _Transpose(RewriteRuleClassBase):
    """Turn a transposition that only moves axes of length one into a reshape."""

    def pattern(self, op, x, permutation):
        return op.Transpose(x, perm=permutation)

    def check(self, context, x, permutation):
        if x.shape is None:
            return False
        first, *others = permutation.as_ints()
        moved = [axis for axis in others if x.shape[axis] != 1]
        known = all(isinstance(x.shape[axis], int) for axis in others)
        return first == 0 and moved == sorted(moved) and known

    def rewrite(self, op, x, permutation):
        sizes = [x.shape[axis] for axis in permutation.as_ints()[1:]]
        return op.Reshape(x, op.Constant(value_ints=[-1, *sizes]))


class _Bias(RewriteRuleClassBase):
    """Turn a constant that is added to each channel into the convolution's own bias."""

    def pattern(self, op, x, kernel, bias):
        return op.Add(op.Conv(x, kernel, _outputs=["convolved"]), bias)

    def check(self, context, x, kernel, bias, convolved):
        return _has_shape(bias, (1, kernel.shape[0], 1, 1))

    def rewrite(self, op, x, kernel, bias, convolved):
        return op.Conv(x, kernel, _new(op, _constant(bias).ravel()), **_attributes(convolved))


class _BatchNormalization(RewriteRuleClassBase):
    """`(x - mean) * scale + offset` as one operation, which onnxruntime joins to a convolution."""

    def pattern(self, op, x, mean, scale, offset):
        return op.Add(op.Mul(op.Sub(x, mean), scale), offset)

    def check(self, context, x, mean, scale, offset):
        return x.shape is not None and all(
            _has_shape(value, (1, x.shape[1], 1, 1)) for value in (mean, scale, offset)
        )

    def rewrite(self, op, x, mean, scale, offset):
        numbers = [_constant(value).ravel() for value in (scale, offset, mean)]
        parameters = [_new(op, array) for array in (*numbers, np.ones_like(numbers[0]))]
        return op.BatchNormalization(x, *parameters, epsilon=0.0)


class _Selu(RewriteRuleClassBase):
    """SELU between two convolutions by a vectorised exponential instead of onnxruntime's own.

    With a = alpha and l = log(a), selu(x) / scale = max(x + l, l) + exp(min(x + l, l)) - l - a.
    The l inside goes to the bias of the convolution before, what is left to the one after.
    """

    def __init__(self, pooled):
        super().__init__()
        self.pooled = pooled  # a maximum, which the l inside may pass

    def pattern(self, op, x, kernel, bias, kernel_after, bias_after):
        y = op.Conv(x, kernel, bias, _outputs=["before"])
        if self.pooled:
            y = op.MaxPool(y, _outputs=["pool"])
        return op.Conv(op.Selu(y, _outputs=["selu"]), kernel_after, bias_after, _outputs=["after"])

    def check(
        self, context, x, kernel, bias, kernel_after, bias_after, before, selu, after, pool=None
    ):
        attributes = after.producer().attributes
        return (
            not selu.producer().attributes
            and all(_constant(value) is not None for value in (bias, kernel_after, bias_after))
            # Around the image the shift would be missing.
            and attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
            and not any(attributes.get_ints("pads", ()))
        )

    def rewrite(
        self, op, x, kernel, bias, kernel_after, bias_after, before, selu, after, pool=None
    ):
        shift = math.log(_SELU_ALPHA)
        y = op.Conv(x, kernel, _new(op, _constant(bias) + shift), **_attributes(before))
        if self.pooled:
            y = op.MaxPool(y, **_attributes(pool))
        limit = _new(op, np.array(shift))
        y = op.Add(op.Clip(y, limit), op.Exp(op.Clip(y, None, limit)))
        scaled = _SELU_SCALE * _constant(kernel_after).astype(np.float64)
        rest = _constant(bias_after) - (shift + _SELU_ALPHA) * scaled.sum(axis=(1, 2, 3))
        return op.Conv(y, _new(op, scaled), _new(op, rest), **_attributes(after))


def _new(op, array):
    """Return a constant in the graph that a rule writes."""
    return op.Constant(value=ir.tensor(np.ascontiguousarray(array, np.float32)))


def _attributes(value):
    return dict(value.producer().attributes)


def _has_shape(value, shape):
    constant = _constant(value)
    return constant is not None and constant.shape == tuple(shape)


def _channels_first(graph, node):
    """Move transpositions behind what works on each number alone, until two of them cancel."""
    if _is(node, "Transpose", perm=_TO_FIRST):
        (x,) = node.inputs
        if _is(x.producer(), "Transpose", perm=_TO_LAST):
            node.outputs[0].replace_all_uses_with(x.producer().inputs[0])
    if node.op_type not in _ELEMENTWISE:
        return
    inputs = [_first(graph, value) for value in node.inputs]
    if None in inputs or all(_constant(value) is not None for value in node.inputs):
        return
    (old,) = node.outputs
    moved = _insert(graph, node, node.op_type, inputs, **node.attributes)
    back = _insert(graph, node, "Transpose", [moved], perm=_TO_LAST)
    old.replace_all_uses_with(back)


def _first(graph, value):
    """Return the channels-first form of a transposed value or a constant per channel, or None."""
    if _is(value.producer(), "Transpose", perm=_TO_LAST):
        return value.producer().inputs[0]
    constant = _constant(value)
    if constant is not None and constant.ndim == 4:
        return _initializer(graph, constant.transpose(_TO_FIRST))
    return value if constant is not None and constant.size == 1 else None


def _crop(graph, node):
    """Compute no rows and columns that a pooling leaves out.

    A pooling by 2 leaves out the last of 5 rows. So the convolution before it may compute 4, and
    what comes before that convolution fewer too, until less padding will do. (Where none does, to
    cut an image costs more than it saves.)
    """
    window = _window(node)
    if window is None or node.inputs[0].shape is None or node.outputs[0].shape is None:
        return
    size, read = _size(node.inputs[0]), window.reads(_size(node.outputs[0]))
    if min(read) > 0 and any(r < s for r, s in zip(read, size, strict=True)):
        smaller = _cropped(graph, node.inputs[0], tuple(map(min, read, size)))
        if smaller is not None:
            node.replace_input_with(0, smaller)


def _cropped(graph, value, size):
    """Return the upper left of a value, by convolutions that compute no more; None if none can."""
    node = value.producer()
    if node is None or not node.inputs or not _read_once(value):
        return None
    (x, *others), attributes = node.inputs, dict(node.attributes)
    window = _window(node)
    if window is not None and x.shape is not None:
        read, whole = window.reads(size), _size(x)
        if min(read) < 1:
            return None
        padding = (max(r - w, 0) for r, w in zip(read, whole, strict=True))
        attributes["pads"] = (*window.begin, *padding)
        size = tuple(map(min, read, whole))
        smaller = x if size == whole else _cropped(graph, x, size)
    elif node.op_type == "BatchNormalization" or (
        node.op_type in _ELEMENTWISE and all(_is_same_per_pixel(other) for other in others)
    ):
        smaller = _cropped(graph, x, size)
    else:
        return None
    if smaller is None:
        return None
    return _insert(graph, node, node.op_type, [smaller, *others], **attributes)


@dataclass(frozen=True)
class _Window:
    """Window that a convolution or pooling slides over an image: sizes of two axes."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    begin: tuple[int, int]

    def reads(self, size):
        """Return how many rows and columns an output of that size needs."""
        axes = zip(size, self.strides, self.kernel, self.begin, strict=True)
        return tuple((n - 1) * stride + kernel - begin for n, stride, kernel, begin in axes)


def _window(node):
    """Return the `_Window` of a convolution or pooling that states its padding in numbers."""
    if node.op_type not in ("Conv", "MaxPool") or len(node.outputs) != 1:
        return None
    get = node.attributes.get_ints
    kernel = node.inputs[1].shape[2:] if node.op_type == "Conv" else get("kernel_shape", ())
    plain = (
        len(kernel) == 2
        and node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
        and not node.attributes.get_int("ceil_mode", 0)
        and set(get("dilations", ())) <= {1}
    )
    if not plain:
        return None
    return _Window(tuple(kernel), tuple(get("strides", (1, 1))), tuple(get("pads", (0,) * 4)[:2]))


def _size(value):
    return tuple(value.shape[2:])


def _is_same_per_pixel(value):
    constant = _constant(value)
    return constant is not None and (constant.size == 1 or constant.shape[2:] == (1, 1))


def _is(node, kind, **attributes):
    """Return whether a node is of this kind, with these attributes; None is not."""
    return (
        node is not None
        and node.op_type == kind
        and all(tuple(node.attributes[name].value) == v for name, v in attributes.items())
    )


def _read_once(value):
    return len(value.uses()) == 1 and not value.is_graph_output()


def _constant(value):
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _initializer(graph, array):
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    names = (f"constant_{number}" for number in itertools.count())
    name = next(name for name in names if name not in graph.initializers)
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    graph.register_initializer(value)
    return value


def _insert(graph, before, kind, inputs, **attributes):
    """Insert a new node before another one; return its output."""
    node = ir.node(kind, inputs, attributes=attributes)
    graph.insert_before(before, node)
    (output,) = node.outputs
    return output
