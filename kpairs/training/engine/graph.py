"""Writing down what a function does as one graph of torch operations, and tidying that graph.

Stock Keras on torch spends most of a small network's step in Python around tiny operations, and
pools in a memory layout that torch is ten times slower on. Here Keras' own code runs once under
torch's tracer, which records the operations that reach torch, those of the backward pass included.
The graph is for the shapes it was traced with.
"""

from contextlib import contextmanager

import keras
import torch
import torch.nn.functional as F
from torch._guards import TracingContext, tracing
from torch._subclasses import FakeTensorMode
from torch.fx import map_arg
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.shape_prop import ShapeProp

_aten = torch.ops.aten
_RULES = {}


def trace(function, *tensors):
    """Trace a function of tensors, which returns a list of tensors, into a callable graph.

    The function runs, on copies of the tensors.

    Raises:
        Exception: whatever the tracer meets that it cannot write down, such as a choice that
            depends on a tensor's value.
    """
    tensors = [t.clone() for t in tensors]
    # Without a mode of its own the tracer makes one for each value, at half of its time.
    values = TracingContext(FakeTensorMode(allow_fallback_kernels=True))
    with torch.random.fork_rng():
        with tracing(values):
            module = make_fx(function)(*tensors)
        ShapeProp(module).propagate(*tensors)
    graph = module.graph
    writing = any(map(_writes, graph.nodes))
    _skip_what_changes_nothing(graph, writing)
    if not writing:
        _compute_constants(module, tensors[0].device)
    _avoid_roots_of_zero(graph)
    graph.eliminate_dead_code()
    for node in graph.nodes:
        node.target = _DIRECT.get(node.target, node.target)
    module.recompile()
    return module.forward


@contextmanager
def one_kernel_each(model):
    """Run a block in which layers call the one kernel that torch has for them (see `_rule`)."""
    changed = []
    for layer in model._flatten_layers(include_self=False):
        suits, function = _RULES.get(type(layer), (None, None))
        channels_last = getattr(layer, "data_format", "channels_last") == "channels_last"
        if function and channels_last and suits(layer):
            object.__setattr__(layer, "call", function.__get__(layer))
            changed.append(layer)
    try:
        yield
    finally:
        for layer in changed:
            object.__delattr__(layer, "call")


def _rule(kind, suits=lambda layer: True):
    """Register the decorated function in place of `call` of this class (no subclass of it).

    Args:
        kind: the layer's class.
        suits: whether a layer is so configured that the function computes what Keras does.
    """

    def register(function):
        _RULES[kind] = suits, function
        return function

    return register


def _channels_first(x):
    """(n, h, w, c) as torch wants it, (n, c, h, w), in memory still with the channels together."""
    return x.contiguous().permute(0, 3, 1, 2)


@_rule(
    keras.layers.Conv2D,
    lambda layer: layer.strides == layer.dilation_rate == (1, 1) and layer.groups == 1,
)
def _convolution(layer, x, training=None):
    """Adds the bias inside the convolution, and so sums its gradient there."""
    bias = layer.bias.value if layer.use_bias else None
    # Such channels oneDNN fills up to blocks of 16, at a third of its speed.
    plain = bias is not None and layer.padding == "valid"
    if plain and layer.kernel_size == (2, 2) and x.shape[-1] % 16:
        y = _convolution_as_product(layer, x)
    else:
        # torch's convolution in float64 knows one layout only.
        layout = torch.channels_last if x.dtype == torch.float32 else torch.contiguous_format
        kernel = layer.kernel.value.permute(3, 2, 0, 1).contiguous(memory_format=layout)
        y = F.conv2d(_channels_first(x), kernel, bias, padding=layer.padding).permute(0, 2, 3, 1)
    return y if layer.activation is None else layer.activation(y)


def _convolution_as_product(layer, x):
    """One matrix product of the kernel with the pixels below each of its four places."""
    *_, height, width, channels = x.shape
    places = [
        x[:, i : height - 1 + i, j : width - 1 + j].reshape(-1, channels)
        for i in range(2)
        for j in range(2)
    ]
    kernel = layer.kernel.value.reshape(4 * channels, layer.filters)
    y = torch.addmm(layer.bias.value, torch.cat(places, 1), kernel)
    return y.reshape(-1, height - 1, width - 1, layer.filters)


@_rule(keras.layers.MaxPooling2D, lambda layer: layer.padding == "valid")
def _max_pooling(layer, x, training=None):
    """Ten times faster with the channels together in memory."""
    return F.max_pool2d(_channels_first(x), layer.pool_size, layer.strides).permute(0, 2, 3, 1)


@_rule(keras.layers.Dense, lambda layer: layer.use_bias)
def _dense(layer, x, training=None):
    """Adds the bias inside the matrix product."""
    y = torch.addmm(layer.bias.value, x.reshape(-1, x.shape[-1]), layer.kernel.value)
    y = y.reshape(*x.shape[:-1], layer.units)
    return y if layer.activation is None else layer.activation(y)


@_rule(keras.layers.Dropout, lambda layer: layer.noise_shape is None and layer.seed is None)
def _dropout(layer, x, training=None):
    """Takes 15 random bits per element, four elements to a draw: five times faster.

    The rate becomes a multiple of 2^-15.
    """
    if not training or layer.rate == 0:
        return x
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64, device=x.device)
    bits = words.random_().view(torch.int16)[: x.numel()].view(x.shape) & (2**15 - 1)
    dropped = round(layer.rate * 2**15)
    return x * ((bits >= dropped).to(x.dtype) * (2**15 / (2**15 - dropped)))


def _is_plain_batch_normalization(layer):
    last = layer.axis in (-1, layer.input_spec.ndim - 1)
    return last and layer.center and layer.scale and not layer.renorm


@_rule(keras.layers.BatchNormalization, _is_plain_batch_normalization)
def _batch_normalization(layer, x, training=None, mask=None):
    """By formulas for the gradient instead of one derived from a dozen operations."""
    if not (training and layer.trainable):
        return type(layer).call(layer, x, training=training)
    y, mean, variance = _Normalization.apply(
        x, layer.gamma.value, layer.beta.value, layer.epsilon, tuple(range(x.ndim - 1))
    )
    for moving, batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(torch.lerp(batch, moving.value, layer.momentum))
    return y


class _Normalization(torch.autograd.Function):
    """Batch normalisation (Ioffe and Szegedy, 2015, section 3) over all axes but the last.

    Not torch's own kernel: with the channels together it adds up one number after the other, and
    loses two digits more than Keras does.
    """

    @staticmethod
    def forward(context, x, gamma, beta, epsilon, axes):
        mean = x.mean(axes)
        centred = x - mean
        variance = (centred * centred).mean(axes)
        inverse = torch.rsqrt(variance + epsilon)
        normal = centred * inverse
        context.save_for_backward(normal, gamma * inverse)
        context.axes = axes
        context.mark_non_differentiable(mean, variance)
        return torch.addcmul(beta, normal, gamma), mean, variance

    @staticmethod
    def backward(context, gradient, *_):
        normal, scale = context.saved_tensors
        beta_gradient = gradient.sum(context.axes)
        gamma_gradient = (gradient * normal).sum(context.axes)
        share = gradient.shape[-1] / gradient.numel()
        centred = gradient - beta_gradient * share
        x_gradient = torch.addcmul(centred, normal, gamma_gradient, value=-share) * scale
        return x_gradient, gamma_gradient, beta_gradient, None, None


# torch's own functions read their arguments in half the time of the recorded operations.
_DIRECT = {
    _aten._unsafe_view.default: torch.Tensor.view,
    _aten.add.Scalar: torch.add,
    _aten.add.Tensor: torch.add,
    _aten.addmm.default: torch.addmm,
    _aten.argmax.default: torch.argmax,
    _aten.cat.default: torch.cat,
    _aten.clone.default: torch.clone,
    _aten.convolution.default: torch.convolution,
    _aten.div.Tensor: torch.div,
    _aten.eq.Tensor: torch.eq,
    _aten.mm.default: torch.mm,
    _aten.mul.Tensor: torch.mul,
    _aten.permute.default: torch.permute,
    _aten.relu.default: torch.relu,
    _aten.select.int: torch.select,
    _aten.stack.default: torch.stack,
    _aten.sub.Tensor: torch.sub,
    _aten.sum.default: torch.sum,
    _aten.sum.dim_IntList: torch.sum,
    _aten.t.default: torch.t,
    _aten.view.default: torch.Tensor.view,
}
_SAME = {_aten.alias.default, _aten.detach.default}
_FRESH = {_aten.empty.memory_format}
_FILLED = {_aten.ones_like.default: 1, _aten.zeros_like.default: 0, _aten.new_zeros.default: 0}


def _skip_what_changes_nothing(graph, writing):
    """Args:
    writing: whether the graph writes to a tensor; then constants need their fresh copies.
    """
    same = _SAME if writing else {*_SAME, _aten.lift_fresh_copy.default}
    for node in graph.nodes:
        if node.target in same:
            node.replace_all_uses_with(node.args[0])
        elif node.target is _aten.permute.default:
            inner, order = node.args
            order = [axis % len(order) for axis in order]
            if inner.target is _aten.permute.default:
                before = [axis % len(order) for axis in inner.args[1]]
                inner, order = inner.args[0], [before[axis] for axis in order]
                node.args = (inner, order)
            if order == sorted(order):
                node.replace_all_uses_with(inner)


def _writes(node):
    """Whether an operation changes a tensor that is neither an input nor made empty for it."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return False
    written = node.args[0] if isinstance(node.args[0], (list, tuple)) else [node.args[0]]
    return any(n.op != "placeholder" and n.target not in _FRESH for n in written)


def _compute_constants(module, device):
    """Compute now whatever depends on shapes and constants alone, such as the loss' own gradient.

    Only for a graph that writes to no tensor: a constant would keep what was written. A variable
    that the function reads from elsewhere is a Parameter, and no constant.
    """
    values = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            value = getattr(module, node.target)
            if not isinstance(value, torch.nn.Parameter):
                values[node] = value
        elif node.target in _FILLED:
            like = node.meta["tensor_meta"]
            filled = torch.full(like.shape, _FILLED[node.target], dtype=like.dtype, device=device)
            values[node] = filled
        elif node.target is _aten.where.self and _never(values.get(node.args[0])):
            other = node.args[2].meta["tensor_meta"]
            mine = node.meta["tensor_meta"]
            if (mine.shape, mine.dtype) == (other.shape, other.dtype):
                node.replace_all_uses_with(node.args[2])
        elif _is_constant(node, values):
            arguments, named = map_arg((node.args, node.kwargs), values.get)
            values[node] = node.target(*arguments, **named)
    for number, (node, value) in enumerate(values.items()):
        if node.op == "call_function" and isinstance(value, torch.Tensor):
            name = f"_constant_{number}"
            module.register_buffer(name, value)
            with module.graph.inserting_before(node):
                node.replace_all_uses_with(module.graph.get_attr(name))


def _is_constant(node, values):
    return (
        node.op == "call_function"
        and node.target not in _FRESH
        and torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ())
        and all(n in values for n in node.all_input_nodes)
    )


def _never(condition):
    return condition is not None and not condition.any()


def _shape(node):
    return node.meta["tensor_meta"].shape


def _avoid_roots_of_zero(graph):
    """Add the smallest float to what a large root is drawn from.

    torch's square root of zeros and of subnormal numbers takes twenty times as long, and Adam draws
    it from the squared gradients, which are zero for every dead unit. Above 1e-30 nothing changes.
    """
    for node in list(graph.nodes):
        if node.target is _aten.sqrt.default and _shape(node).numel() > 1:
            meta = node.meta["tensor_meta"]
            if meta.dtype == torch.float32:
                with graph.inserting_before(node):
                    smallest = torch.finfo(torch.float32).tiny
                    node.args = (graph.call_function(_aten.add.Scalar, (node.args[0], smallest)),)
