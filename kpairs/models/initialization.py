"""Initial weights drawn from one NumPy generator: the same on every backend."""

import keras
import numpy as np
from keras import layers

from kpairs.models.pair import layers_of


def initialize(model: keras.Model, scheme: str, rng: np.random.Generator) -> None:
    """Redraw the initial weights of a model's convolutions and dense layers, in place.

    "torch" is the default of torch's `Conv2d` and `Linear`, with which all five reports began:
    kernel and bias uniform in +-1/sqrt(fan_in). "keras" is Keras' default: kernel uniform in
    +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010), bias zero. Weights that are no longer
    as Keras drew them stay, as do kernels of an initializer that draws nothing, and layers of other
    kinds.
    """
    for layer in layers_of(model):
        if not isinstance(layer, (layers.Conv2D, layers.Dense)) or not _is_fresh(layer):
            continue
        *receptive, inputs, outputs = layer.kernel.shape
        fan_in, fan_out = np.prod(receptive) * inputs, np.prod(receptive) * outputs
        if scheme == "torch":
            kernel_limit = bias_limit = 1 / np.sqrt(fan_in)
        else:
            kernel_limit, bias_limit = np.sqrt(6 / (fan_in + fan_out)), 0.0
        layer.kernel.assign(rng.uniform(-kernel_limit, kernel_limit, layer.kernel.shape))
        if layer.use_bias:
            layer.bias.assign(rng.uniform(-bias_limit, bias_limit, layer.bias.shape))


def _is_fresh(layer: layers.Conv2D | layers.Dense) -> bool:
    """Draw a layer's weights once more and compare: initializers of Keras repeat their numbers."""
    pairs = [(layer.kernel, layer.kernel_initializer)]
    pairs += [(layer.bias, layer.bias_initializer)] if layer.use_bias else []
    return isinstance(getattr(layer.kernel_initializer, "seed", None), int) and all(
        np.array_equal(
            keras.ops.convert_to_numpy(weight),
            keras.ops.convert_to_numpy(initializer(weight.shape, weight.dtype)),
        )
        for weight, initializer in pairs
    )
