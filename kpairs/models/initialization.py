"""Initial weights drawn from one NumPy generator: the same on every backend."""

import keras
import numpy as np
from keras import layers

_KEPT = "kpairs_keeps_weights"


def keep_weights(layer: keras.Layer) -> keras.Layer:
    """Mark a layer or model whose weights were trained elsewhere: `initialize` leaves them alone.

    For architectures that load weights: of a model whose layers stand one by one in a tower, each
    layer is marked.

    Args:
        layer: a Keras layer; of a model, all its layers too.

    Returns:
        The layer.
    """
    setattr(layer, _KEPT, True)
    for part in getattr(layer, "layers", ()):
        keep_weights(part)
    return layer


def initialize(model: keras.Model, scheme: str, rng: np.random.Generator) -> None:
    """Redraw the initial weights of a model's convolutions and dense layers, in place.

    "torch" is the default of torch's `Conv2d` and `Linear`, with which all five reports began:
    kernel and bias uniform in +-1/sqrt(fan_in). "keras" is Keras' default: kernel uniform in
    +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010), bias zero. Batch normalisation begins
    alike in both (gamma 1, beta 0) and is left alone, as are layers of other kinds, which Keras
    draws, and what `keep_weights` marks. Models inside the model are redrawn like it.

    Args:
        model: a built `keras.Model`.
        scheme: "torch" or "keras".
        rng: a `numpy.random.Generator`.
    """
    for layer in model.layers:
        if getattr(layer, _KEPT, False):
            continue
        if isinstance(layer, keras.Model):
            initialize(layer, scheme, rng)
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
