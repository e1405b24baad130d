"""Initial weights drawn from one NumPy generator: the same on every backend."""

import keras
import numpy as np
from keras import layers


def initialize(model: keras.Model, scheme: str, rng: np.random.Generator) -> None:
    """Redraw the initial weights of a model's convolutions and dense layers, in place.

    "torch" is the default of torch's `Conv2d` and `Linear`, with which all five reports began:
    kernel and bias uniform in +-1/sqrt(fan_in). "keras" is Keras' default: kernel uniform in
    +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010), bias zero. Batch normalisation begins
    alike in both (gamma 1, beta 0) and is left alone.

    Args:
        model: a built `keras.Model`.
        scheme: "torch" or "keras".
        rng: a `numpy.random.Generator`.
    """
    for layer in model.layers:
        if not isinstance(layer, (layers.Conv2D, layers.Dense)):
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
