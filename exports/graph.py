"""The same numbers from a graph that onnxruntime runs faster.

The exporter writes down what Keras on torch did: images with channels last and a transposition
around every convolution, batch normalisation as three operations, SELU as one slow one, numbers
that nothing reads. Each function here rewrites one such thing. onnxruntime's own optimisation at
load does the rest.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import (
    DeduplicateInitializersPass,
    RemoveUnusedNodesPass,
    ShapeInferencePass,
)
from onnxscript.optimizer import optimize

_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_ELEMENTWISE = ("Add", "Div", "Elu", "Mul", "Relu", "Selu", "Sigmoid", "Sub", "Tanh")
# Klambauer et al., Self-Normalizing Neural Networks (2017); ONNX's defaults too.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def simplify(model):
    """Rewrite an `onnxscript.ir.Model` in place; names of inputs and outputs stay."""
    graph = model.graph
    for rewrite in (
        _channels_first,
        _stack_without_new_axis,
        _transpose_by_reshape,
        _one_reshape,
        _bias_into_convolution,
        _batch_normalization,
        _crop,
        _selu_before_convolution,
    ):
        for node in graph:
            if not any(value.is_graph_output() for value in node.outputs):
                rewrite(graph, node)
        RemoveUnusedNodesPass()(model)
        ShapeInferencePass()(model)
    DeduplicateInitializersPass()(model)
    optimize(model)


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
    """The channels-first form of a transposed value or of a constant per channel, else None."""
    if _is(value.producer(), "Transpose", perm=_TO_LAST):
        return value.producer().inputs[0]
    constant = _constant(value)
    if constant is not None and constant.ndim == 4:
        return _initializer(graph, constant.transpose(_TO_FIRST))
    return value if constant is not None and constant.size == 1 else None


def _stack_without_new_axis(graph, node):
    """Before a reshape, to stack two tensors along an axis is to put them side by side there."""
    if not _is_absolute_reshape(node) or not _is(node.inputs[0].producer(), "Concat"):
        return
    concat = node.inputs[0].producer()
    axis = concat.attributes["axis"].value
    parts = [value.producer() for value in concat.inputs]
    if not all(_is(p, "Unsqueeze") and _equals(p.inputs[1], [axis]) for p in parts):
        return
    tensors = [part.inputs[0] for part in parts]
    if all(t.shape is not None and 0 <= axis < len(t.shape) for t in tensors):
        node.replace_input_with(0, _insert(graph, node, "Concat", tensors, axis=axis))


def _transpose_by_reshape(graph, node):
    """A transposition that only moves axes of length one leaves the memory as it is."""
    if node.op_type != "Transpose" or node.inputs[0].shape is None:
        return
    shape, (first, *others) = node.inputs[0].shape, node.attributes["perm"].value
    moved = [axis for axis in others if shape[axis] != 1]
    sizes = [shape[axis] for axis in others]
    if first == 0 and moved == sorted(moved) and all(isinstance(size, int) for size in sizes):
        sizes = _initializer(graph, np.array([-1, *sizes]))
        reshaped = _insert(graph, node, "Reshape", [node.inputs[0], sizes])
        node.outputs[0].replace_all_uses_with(reshaped)


def _one_reshape(graph, node):
    """Of two reshapes only the last matters."""
    if _is_absolute_reshape(node) and _is(node.inputs[0].producer(), "Reshape"):
        node.replace_input_with(0, node.inputs[0].producer().inputs[0])


def _is_absolute_reshape(node):
    """Whether it is a reshape to sizes that do not depend on those before, as a 0 would."""
    sizes = _constant(node.inputs[1]) if node.op_type == "Reshape" else None
    return sizes is not None and 0 not in sizes


def _bias_into_convolution(graph, node):
    """The added constant of each channel as the convolution's own bias."""
    if node.op_type != "Add" or not _is(node.inputs[0].producer(), "Conv"):
        return
    convolution, bias = node.inputs[0].producer(), _constant(node.inputs[1])
    if bias is None or len(convolution.inputs) > 2 or not _read_once(node.inputs[0]):
        return
    channels = convolution.inputs[1].shape[0]
    if bias.shape == (1, channels, 1, 1):
        inputs = [*convolution.inputs, _initializer(graph, bias.ravel())]
        biased = _insert(graph, node, "Conv", inputs, **convolution.attributes)
        node.outputs[0].replace_all_uses_with(biased)


def _batch_normalization(graph, node):
    """`(x - mean) * scale + offset` as one operation, which onnxruntime joins to a convolution."""
    x, numbers = node.outputs[0], []
    for kind in ("Add", "Mul", "Sub"):
        step = x.producer()
        if not _is(step, kind) or _constant(step.inputs[1]) is None:
            return
        if step is not node and not _read_once(x):
            return
        x = step.inputs[0]
        numbers.append(_constant(step.inputs[1]))
    if x.shape is None or any(n.shape != (1, x.shape[1], 1, 1) for n in numbers):
        return
    offset, scale, mean = numbers
    parameters = (scale, offset, mean, np.ones_like(mean))
    inputs = [x, *(_initializer(graph, p.ravel()) for p in parameters)]
    normalized = _insert(graph, node, "BatchNormalization", inputs, epsilon=0.0)
    node.outputs[0].replace_all_uses_with(normalized)


def _crop(graph, node):
    """Compute no rows and columns that a pooling leaves out.

    A pooling by 2 leaves out the last of 5 rows. So the convolution before it may compute 4, and
    what comes before that convolution fewer too.
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
    """The upper left of a value, from a convolution that computes no more; None if none does."""
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
        if smaller is None and node.op_type == "Conv":
            zeros, ends, axes = (_initializer(graph, np.array(n)) for n in ((0, 0), size, (2, 3)))
            smaller = _insert(graph, node, "Slice", [x, zeros, ends, axes])
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
    """What a convolution or pooling slides over an image: sizes of two axes."""

    kernel: tuple
    strides: tuple
    begin: tuple

    def reads(self, size):
        """How many rows and columns an output of that size needs."""
        axes = zip(size, self.strides, self.kernel, self.begin, strict=True)
        return tuple((n - 1) * stride + kernel - begin for n, stride, kernel, begin in axes)


def _window(node):
    """The `_Window` of a convolution or pooling over images, if it says its padding in numbers."""
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


def _selu_before_convolution(graph, node):
    """SELU between two convolutions by a vectorised exponential instead of onnxruntime's own.

    With a = alpha and l = log(a), selu(x) / scale = max(x + l, l) + exp(min(x + l, l)) - l - a.
    The l inside goes to the bias of the convolution before, what is left to the one after.
    """
    if node.op_type != "Selu" or node.attributes:
        return
    x, (y,) = node.inputs[0], node.outputs
    before = x.producer()
    if _is(before, "MaxPool"):
        x = before.inputs[0] if _read_once(x) else None
        before = x and x.producer()
    after = next((use.node for use in y.uses()), None)
    if not (_is_biased(before) and _is_biased(after) and _read_once(x) and _read_once(y)):
        return
    padding = after.attributes.get_string("auto_pad", "NOTSET")
    if padding != "NOTSET" or any(after.attributes.get_ints("pads", ())):
        return  # around the image the shift would be missing
    log_alpha = math.log(_SELU_ALPHA)
    before.replace_input_with(2, _initializer(graph, _constant(before.inputs[2]) + log_alpha))
    kernel, bias = (_constant(value).astype(np.float64) for value in after.inputs[1:])
    kernel *= _SELU_SCALE
    bias -= (log_alpha + _SELU_ALPHA) * kernel.sum(axis=(1, 2, 3))
    for position, value in enumerate((kernel, bias), start=1):
        after.replace_input_with(position, _initializer(graph, value))
    limit = _initializer(graph, np.array(log_alpha))
    low = _insert(graph, node, "Clip", [node.inputs[0], None, limit])
    high = _insert(graph, node, "Clip", [node.inputs[0], limit])
    y.replace_all_uses_with(_insert(graph, node, "Add", [high, _insert(graph, node, "Exp", [low])]))


def _is_biased(node):
    return _is(node, "Conv") and len(node.inputs) == 3


def _is(node, kind, **attributes):
    """Whether a node is of this kind, with these attributes; None is not."""
    return (
        node is not None
        and node.op_type == kind
        and all(tuple(node.attributes[name].value) == v for name, v in attributes.items())
    )


def _equals(value, numbers):
    constant = _constant(value)
    return constant is not None and constant.tolist() == numbers


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
    """A new node before another one; its output."""
    node = ir.node(kind, inputs, attributes=attributes)
    graph.insert_before(before, node)
    (output,) = node.outputs
    return output
