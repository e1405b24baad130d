"""One kernel of torch for each kind of layer, at the arithmetic of Keras' own layer."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
import torch.nn.functional as F
from keras import ops

from kpairs.models.pair import is_tower
from kpairs.training.engine.lower import NotLowerable
from kpairs.training.engine.private import Functional, get_keras_mask, run_through_graph
from kpairs.training.unfolded import unfolded

Kernel = Callable[[keras.Layer, torch.Tensor, bool | None], torch.Tensor]
Suits = Callable[[keras.Layer], bool]
_KERNELS: dict[tuple[type[keras.Layer], str], tuple[Suits, Kernel]] = {}


class Kernels(keras.layers.Layer):
    """The layers of a functional model, each run by its kernel where there is one.

    It is a layer itself, so that the layers below it are told by Keras whether they train.

    Args:
        model: a functional `keras.Model`; its variables stay its own.

    Attributes:
        numbers: scale and offset of each layer that rescales, as variables: standardising by
            the pairs of a round must not make the round's graph one of its own.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(autocast=False)
        self.model = model = unfolded(model) if any(map(is_tower, model.layers)) else model
        self.rescaling = {
            layer.name: [
                keras.Variable(number, trainable=False, dtype=layer.compute_dtype)
                for number in (layer.scale, layer.offset)
            ]
            for layer in model.layers
            if type(layer) is keras.layers.Rescaling and np.ndim(layer.scale) == 0
        }
        self.built = True

    @property
    def numbers(self) -> list[keras.Variable]:
        return [number for pair in self.rescaling.values() for number in pair]

    def call(
        self, inputs: dict[str, torch.Tensor], training: bool | None = None
    ) -> dict[str, torch.Tensor]:
        run = run_through_graph(self.model)
        inputs = {name: ops.cast(inputs[name], x.dtype) for name, x in self.model.input.items()}
        return run(inputs, operation_fn=partial(self._function, training=training))

    def _function(self, operation: keras.Operation, training: bool | None) -> Callable[..., Any]:
        if operation.name in self.rescaling:
            scale, offset = self.rescaling[operation.name]
            return lambda x: ops.cast(x, scale.dtype) * scale + offset
        return _kernel(operation, training)


def _kernel(operation: keras.Operation, training: bool | None) -> Callable[..., Any]:
    """Return a function that computes the same as an operation of a model.

    Raises:
        NotLowerable: half precision, whose rounding the kernels do not follow.
    """
    if not isinstance(operation, keras.layers.Layer):
        return operation
    if operation.compute_dtype in ("float16", "bfloat16"):
        raise NotLowerable("half precision")
    order = getattr(operation, "data_format", "channels_last")
    suits, kernel = _KERNELS.get((type(operation), order), (None, None))
    function = kernel if suits and suits(operation) else None

    def compute(*args: Any, **named: Any) -> Any:
        if "training" in named:  # as Keras has it: a model's own mode is that of all its layers
            named["training"] = training
        further = {name for name, value in named.items() if value is not None} - {"training"}
        if function is None or further or get_keras_mask(args[0]) is not None:
            return operation(*args, **named)
        x, whole = args[0], isinstance(operation, keras.Model)
        return function(operation, x if whole else ops.cast(x, operation.compute_dtype), training)

    return compute


def _computes(
    kind: type[keras.Layer], suits: Suits = lambda layer: True, order: str = "channels_last"
) -> Callable[[Kernel], Kernel]:
    """Register the decorated function in place of the layers of this class (no subclass of it).

    Args:
        kind: the layer's class.
        suits: true of a layer so configured that the function computes what Keras does.
        order: the layer's `data_format`, where it has one.
    """

    def register(function: Kernel) -> Kernel:
        _KERNELS[kind, order] = suits, function
        return function

    return register


@_computes(keras.Sequential)
def _one_after_the_other(
    model: keras.Sequential, x: torch.Tensor, training: bool | None
) -> torch.Tensor:
    for layer in model.layers:
        x = _kernel(layer, training)(x)
    return x


@_computes(Functional)
def _through_its_graph(model: keras.Model, x: torch.Tensor, training: bool | None) -> torch.Tensor:
    """Run a functional model that is a layer, such as a backbone, by the kernels of its layers."""
    return run_through_graph(model)(x, operation_fn=partial(_kernel, training=training))


def _channels_first(x: torch.Tensor) -> torch.Tensor:
    """Permute (n, h, w, c) to torch's (n, c, h, w); channels stay together in memory."""
    return x.contiguous().permute(0, 3, 1, 2)


def _activated(layer: keras.Layer, y: torch.Tensor) -> torch.Tensor:
    return y if layer.activation is None else layer.activation(y)


@_computes(
    keras.layers.Conv2D,
    lambda layer: layer.strides == layer.dilation_rate == (1, 1) and layer.groups == 1,
)
def _convolution(layer: keras.Layer, x: torch.Tensor, training: bool | None) -> torch.Tensor:
    """Add the bias inside the convolution, and so sum its gradient there."""
    bias = layer.bias.value if layer.use_bias else None
    # Such channels oneDNN fills up to blocks of 16, at a third of its speed.
    plain = bias is not None and layer.padding == "valid"
    if plain and layer.kernel_size == (2, 2) and x.shape[-1] % 16:
        return _activated(layer, _convolution_as_product(layer, x))
    # torch's convolution in float64 knows one layout only.
    layout = torch.channels_last if x.dtype == torch.float32 else torch.contiguous_format
    kernel = layer.kernel.value.permute(3, 2, 0, 1).contiguous(memory_format=layout)
    y = F.conv2d(_channels_first(x), kernel, bias, padding=layer.padding)
    return _activated(layer, y.permute(0, 2, 3, 1))


def _is_undilated(layer: keras.Layer) -> bool:
    one = layer.dilation_rate == (1, 1) and getattr(layer, "groups", 1) == 1
    return one and layer.padding in ("valid", "same")


@_computes(keras.layers.Conv2D, _is_undilated, "channels_first")
@_computes(keras.layers.DepthwiseConv2D, _is_undilated, "channels_first")
def _convolution_of_planes(
    layer: keras.Layer, x: torch.Tensor, training: bool | None
) -> torch.Tensor:
    """Add the bias inside the convolution, of maps whose channels stand first."""
    kernel, groups = layer.kernel.value, 1
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        groups = x.shape[1]
        kernel = kernel.permute(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
    else:
        kernel = kernel.permute(3, 2, 0, 1)
    padding = [0, 0]
    if layer.padding == "same":
        sides = zip(x.shape[2:], layer.kernel_size, layer.strides, strict=True)
        missing = [max(0, (-(-n // step) - 1) * step + k - n) for n, k, step in sides]
        if any(n % 2 for n in missing):  # one more on the right and below
            high, wide = missing
            x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        else:
            padding = [n // 2 for n in missing]
    bias = layer.bias.value if layer.use_bias else None
    y = _activated(layer, F.conv2d(x, kernel, bias, layer.strides, padding, groups=groups))
    return _Together.apply(y)


class _Together(torch.autograd.Function):
    """The values as they are; the gradient with the channels together in memory.

    A mean over the image hands back planes, with which all that follows takes longer.
    """

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.contiguous(memory_format=torch.channels_last)


def _convolution_as_product(layer: keras.layers.Conv2D, x: torch.Tensor) -> torch.Tensor:
    """One matrix product of the kernel with the pixels below each of its four places."""
    _, height, width, channels = x.shape
    kernel = layer.kernel.value.reshape(4 * channels, layer.filters)
    y = torch.addmm(layer.bias.value, _Below.apply(x.contiguous()), kernel)
    return y.reshape(-1, height - 1, width - 1, layer.filters)


class _Below(torch.autograd.Function):
    """The pixels below each place of a 2x2 kernel, (n, h, w, c) -> (n (h - 1) (w - 1), 4 c).

    Two copies of rows; as slices and their gradients it takes twice the time.
    """

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        n, h, w, c = context.shape = x.shape
        size, strides = (n, h - 1, w - 1, 2, 2 * c), (h * w * c, w * c, c, w * c, 1)
        return x.as_strided(size, strides).reshape(-1, 4 * c)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        n, h, w, c = context.shape
        below = gradient.view(n, h - 1, w - 1, 4, c).unbind(3)
        places = ((0, 0), (0, 1), (1, 0), (1, 1))
        parts = [
            F.pad(part, (0, 0, j, 1 - j, i, 1 - i))
            for part, (i, j) in zip(below, places, strict=True)
        ]
        return (parts[0] + parts[1]) + (parts[2] + parts[3])


@_computes(keras.layers.MaxPooling2D, lambda layer: layer.padding == "valid")
def _max_pooling(layer: keras.Layer, x: torch.Tensor, training: bool | None) -> torch.Tensor:
    """Pool with the channels together in memory: ten times faster."""
    return F.max_pool2d(_channels_first(x), layer.pool_size, layer.strides).permute(0, 2, 3, 1)


@_computes(keras.layers.Dense, lambda layer: layer.use_bias and not layer.quantization_mode)
def _dense(layer: keras.Layer, x: torch.Tensor, training: bool | None) -> torch.Tensor:
    """Add the bias inside the matrix product."""
    y = torch.addmm(layer.bias.value, x.reshape(-1, x.shape[-1]), layer.kernel.value)
    return _activated(layer, y.reshape(*x.shape[:-1], layer.units))


@_computes(keras.layers.Dropout, lambda layer: layer.noise_shape is None and layer.seed is None)
def _dropout(layer: keras.Layer, x: torch.Tensor, training: bool | None) -> torch.Tensor:
    """Take 15 random bits per element, four elements to a draw: five times faster.

    The rate becomes a multiple of 2^-15.
    """
    if not training or layer.rate == 0:
        return x
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64, device=x.device)
    bits = words.random_().view(torch.int16)[: x.numel()].view(x.shape) & (2**15 - 1)
    dropped = round(layer.rate * 2**15)
    # 0 or 1; torch compares whole numbers, and makes numbers of truth values, ten times slower.
    kept = bits.clamp(dropped - 1, dropped) - (dropped - 1)
    return x * (kept.to(x.dtype) * (2**15 / (2**15 - dropped)))


def _is_plain_batch_normalization(layer: keras.layers.BatchNormalization) -> bool:
    last = layer.axis in (-1, layer.input_spec.ndim - 1)
    return last and layer.center and layer.scale and not layer.renorm


@_computes(keras.layers.BatchNormalization, _is_plain_batch_normalization)
def _batch_normalization(
    layer: keras.Layer, x: torch.Tensor, training: bool | None
) -> torch.Tensor:
    """Normalise by a formula for the gradient instead of one derived from a dozen operations."""
    if not (training and layer.trainable):
        return layer(x, training=training)
    normalization = _LargeNormalization if _is_large(x) else _Normalization
    y, mean, variance = normalization.apply(
        x.contiguous(), layer.gamma.value, layer.beta.value, layer.epsilon
    )
    for moving, batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(torch.lerp(batch, moving.value, layer.momentum))
    return y


_LARGE = 20_000  # pixels of a batch: more than in any recipe for digits


def _is_large(x: torch.Tensor) -> bool:
    return x.numel() // x.shape[-1] >= _LARGE and x.device.type == "cpu"


class _Normalization(torch.autograd.Function):
    """Batch normalisation (Ioffe and Szegedy, 2015, section 3) over all axes but the last.

    Not torch's own kernel: with the channels together it adds up one number after the other, and
    loses two digits more than Keras does.
    """

    @staticmethod
    def forward(
        context: Any, x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, epsilon: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        axes = context.axes = tuple(range(x.ndim - 1))
        mean = x.mean(axes)
        centred = x - mean
        variance = centred.square().mean(axes)
        inverse = torch.rsqrt(variance + epsilon)
        context.save_for_backward(centred, inverse, gamma)
        context.mark_non_differentiable(mean, variance)
        return torch.addcmul(beta, centred, gamma * inverse), mean, variance

    @staticmethod
    def backward(
        context: Any, gradient: torch.Tensor, *_: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        centred, inverse, gamma = context.saved_tensors
        scale, share = gamma * inverse, gradient.shape[-1] / gradient.numel()
        beta_gradient = gradient.sum(context.axes)
        gamma_gradient = (gradient * centred).sum(context.axes) * inverse
        x_gradient = torch.addcmul(beta_gradient * scale * -share, gradient, scale)
        x_gradient = torch.addcmul(x_gradient, centred, gamma_gradient * inverse * scale * -share)
        return x_gradient, gamma_gradient, beta_gradient, None


class _LargeNormalization(torch.autograd.Function):
    """The same in fewer passes over memory, a third of the time.

    torch's kernel takes the statistics of 64 pixels apart, as if they were channels. So it adds up
    fewer numbers one after the other, and its rows are long. The mean and variance of all follow
    from those of the parts (Chan, Golub and LeVeque, 1983).
    """

    @staticmethod
    def forward(
        context: Any, x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor, epsilon: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        parts = torch.batch_norm_update_stats(_in_parts(x), None, None, 0.0)
        means, variances = (part.reshape(-1, x.shape[-1]) for part in parts)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        inverse = torch.rsqrt(variance + epsilon)
        scale = gamma * inverse
        context.save_for_backward(x, mean, inverse, gamma)
        context.mark_non_differentiable(mean, variance)
        return torch.addcmul(torch.addcmul(beta, mean, scale, value=-1), x, scale), mean, variance

    @staticmethod
    def backward(
        context: Any, gradient: torch.Tensor, *_: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        x, mean, inverse, gamma = context.saved_tensors
        gradient = gradient.contiguous()
        parts = _in_parts(x)
        statistics = (v.repeat(parts.shape[1] // len(v)) for v in (gamma, mean, inverse))
        gammas, means, inverses = statistics
        _, *sums = torch.ops.aten.native_batch_norm_backward(
            *(_in_parts(gradient), parts, gammas, None, None, means, inverses, True, 0.0),
            [False, True, True],
        )
        gamma_gradient, beta_gradient = (part.reshape(-1, x.shape[-1]).sum(0) for part in sums)
        scale, share = gamma * inverse, x.shape[-1] / x.numel()
        slope = gamma_gradient * inverse * scale * -share
        x_gradient = torch.addcmul(-slope * mean - beta_gradient * scale * share, gradient, scale)
        return torch.addcmul(x_gradient, x, slope), gamma_gradient, beta_gradient, None


def _in_parts(x: torch.Tensor) -> torch.Tensor:
    """View pixels (..., c) as (1, 64 c, n / 64, 1), of fewer parts where 64 do not divide them."""
    channels = x.shape[-1]
    parts = math.gcd(x.numel() // channels, 64)
    return x.reshape(1, -1, 1, parts * channels).permute(0, 3, 1, 2)
