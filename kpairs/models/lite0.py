"""EfficientNet-Lite0, for Keras.

The network is the Lite variant of EfficientNet-B0 (Tan and Le, EfficientNet, 2019): ReLU6, and no
squeeze-and-excitation.
"""

import keras
from keras import KerasTensor, layers

from kpairs.models.lite0_weights import HEAD, STAGES, STEM, imagenet

# Keras on torch copies maps whose channels are last before and after every convolution: three times
# the work. On a CPU tensorflow's convolutions take no other maps.
FORMAT = "channels_first" if keras.backend.backend() == "torch" else "channels_last"
_SAME = {"padding": "same", "data_format": FORMAT}
_RELU6 = {**_SAME, "activation": "relu6"}
_CHANNELS = 1 if FORMAT == "channels_first" else -1  # their axis


def lite0(
    height: int, width: int, *, weights: str | None = "imagenet", head: bool = False
) -> keras.Model:
    """Build EfficientNet-Lite0 without its classifier, its weights "imagenet" or freshly drawn.

    The published network normalises batches after every convolution. That is folded into the
    convolutions here: what a trained network computes stays, and a step takes less time.

    From `(batch, height, width, 3)` RGB pixels in [0, 1] to a list of eight maps, of the stem and
    the seven stages: 816 channels in all; `head` adds the last convolution's 1,280. Channels are
    first on torch, last elsewhere. Raises as `imagenet` does.
    """
    image = keras.Input((height, width, 3), name="image")
    x = layers.Rescaling(2.0, -1.0, name="rescaling")(image)
    if FORMAT == "channels_first":
        x = layers.Permute((3, 1, 2), name="channels_first")(x)
    x = layers.Conv2D(STEM, 3, 2, **_RELU6, name="conv_stem")(x)
    maps, block = [x], 0
    for repeats, kernel, stride, expansion, channels in STAGES:
        for repeat in range(repeats):
            first = stride if repeat == 0 else 1
            x = _block(x, f"blocks_{block}", kernel, first, expansion, channels)
            block += 1
        maps.append(x)
    if head:
        maps.append(layers.Conv2D(HEAD, 1, **_RELU6, name="conv_head")(x))
    model = keras.Model(image, maps, name="lite0")
    if weights == "imagenet":
        arrays = imagenet()
        for layer in model.layers:
            if layer.weights:
                layer.set_weights(arrays[layer.name])
    return model


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
