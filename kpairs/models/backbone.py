"""Networks that others trained: the features of an image, or the tower of a pair network."""

import inspect
import json
import math
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kpairs.data.settings import FEATURES, LARGEST_SIDE
from kpairs.errors import InputError, KpairsError, UsageError, first_line, raised_as, unknown
from kpairs.frozen import SIZE, digest, lite0_structure, seen_sides
from kpairs.image_statistics import STATISTICS_SIDE
from kpairs.layers import ImageStatistics, Mirrored, MirroredMean, Resize
from kpairs.loading import load
from kpairs.models.lite0 import FORMAT, lite0
from kpairs.models.onnx_network import read
from kpairs.models.pair import Layers, is_tower, layers_of
from kpairs.models.vision import OTHERWISE, PREFIX, VisionMaps
from kpairs.models.weights import check_weights

NAME = "backbone"  # of the layer, by which it is found in a model
IMAGENET, NO_WEIGHTS = "imagenet", "none"
LITE0, STATISTICS = "lite0", "statistics"
SCORE = "score"  # name of a linear head's layer
THRESHOLDS = "thresholds"  # name of the layer of an ordinal one
_LEAST = 8  # pixels a side


def feature_network(
    backbone: str | keras.Model,
    height: int,
    width: int,
    channels: int,
    *,
    size: int | None = None,
    weights: str | None = None,
    mirrored: bool = False,
) -> keras.Model:
    """Build a frozen network from an image to its features.

    - "lite0": means over the image of EfficientNet-Lite0's stem and seven stages, 816 numbers.
    - "statistics": `kpairs.layers.ImageStatistics` alone.
    - "features": features as they are, in the place of pixels.
    - A network of `keras.applications`, such as "MobileNetV2": means of its last layer at each
      resolution; of `torchvision.models`, such as "torchvision/resnet18", likewise, on torch alone.
    - A `keras.Model`, a `.keras` file or, on torch, an `.onnx` file, from pixels in [0, 1] to
      vectors, which stay as they are, or to maps, whose means are taken.

    Early stages see sharpness and noise, late ones content. Statistics see the image's own pixels;
    of images below 32 pixels a side, an enlarged image.

    Args:
        backbone: a name, a file or a model.
        height: of the images, in pixels.
        width: of the images, in pixels.
        channels: 1 or 3; networks for RGB see grey as RGB.
        size: the network sees about `size * size` pixels of unchanged proportions. Default 128 for
            named networks; a model's own size, or the images' where it takes any.
        weights: of a named network "imagenet" (default), "none" for weights freshly drawn, or a
            file: .weights.h5 or .keras of the network without its head, of torchvision's a .pth
            with its `state_dict`.
        mirrored: in inference give the mean of an image's and its mirror image's features, which
            ranks better and takes twice the time.

    Returns:
        A functional model called "backbone" from `(batch, height, width, channels)` pixels in
        [0, 1] to `(batch, features)` float32; see `set_trainable`.

    Raises:
        UsageError: an unknown network, or one that does not take such images.
        InputError: a file that does not hold the network or its weights.
        KpairsError: weights that are not installed, or could not be fetched.
    """
    if size is not None and not _LEAST <= size <= LARGEST_SIDE:
        raise UsageError(f"size: expected {_LEAST} to {LARGEST_SIDE} pixels, received {size}")
    image = keras.Input((height, width, channels), name="image")
    seen = Mirrored(name="mirrored")(image) if mirrored else image
    if backbone == FEATURES:
        features = layers.Flatten()(image)
    elif backbone == STATISTICS:
        if size is not None or weights is not None:
            raise UsageError("statistics: expected neither size nor weights; they see all pixels")
        sides = max(height, STATISTICS_SIDE), max(width, STATISTICS_SIDE)
        features = ImageStatistics(name="statistics")(_fitted(seen, (*sides, channels)))
    else:
        tower = _tower(backbone, height, width, size, weights)
        maps = keras.tree.flatten(tower(_fitted(seen, tower.input.shape[1:])))
        axes = (2, 3) if backbone == LITE0 and FORMAT == "channels_first" else (1, 2)
        vectors = [_vector(output, axes) for output in maps]
        features = vectors[0] if len(vectors) == 1 else layers.Concatenate(name="all")(vectors)
    if mirrored:
        features = MirroredMean(name="mirrored_mean")(features)
    network = keras.Model(image, features, name=NAME)
    set_trainable(network, False)
    if backbone == LITE0:  # known without Keras, too; see kpairs.exports.features
        network.structure = lite0_structure(height, width, channels, size or SIZE, mirrored)
    return network


def is_file(backbone: str) -> bool:
    """Tell whether a backbone's name is that of a file, which brings its weights."""
    return backbone.endswith((".keras", ".onnx"))


def set_trainable(network: keras.Model, trainable: bool) -> None:
    """Freeze a network, or let its weights be trained; batch normalisation is frozen always."""
    network.trainable = trainable
    for layer in layers_of(network):
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def feature_digest(network: keras.Model) -> str:
    """Return the SHA-256 of a network's layers and weights, and of kpairs' own layers.

    Names of layers do not count: Keras numbers them through a process.
    """
    structure = getattr(network, "structure", None)
    if structure is None:
        structure = json.dumps(_nameless(network.get_config(), {}), sort_keys=True, default=str)
    return digest(structure, map(keras.ops.convert_to_numpy, network.weights))


def _nameless(value: Any, numbers: dict[str, int], key: str = "") -> Any:
    """Return a configuration with numbers in order of appearance for names of layers."""
    if isinstance(value, dict):
        return {k: _nameless(v, numbers, k) for k, v in sorted(value.items()) if k != "trainable"}
    if isinstance(value, list | tuple):
        return [_nameless(item, numbers, key) for item in value]
    if isinstance(value, str) and key in ("name", "keras_history", "input_layers", "output_layers"):
        return numbers.setdefault(value, len(numbers))
    return value


def _tower(
    backbone: str | keras.Model, height: int, width: int, size: int | None, weights: str | None
) -> keras.Model:
    """Return a network from the pixels that it wants to see to vectors and maps."""
    if not isinstance(backbone, str) or is_file(backbone):
        if weights is not None:
            raise UsageError(f"weights: expected none, {_name(backbone)} has its own")
        return _own_tower(backbone, height, width, size)
    sides = seen_sides(height, width, size or SIZE)
    weights = weights or IMAGENET
    if backbone == LITE0:
        network = lite0(*sides, weights=IMAGENET if weights == IMAGENET else None)
        _load_file(network, backbone, weights)
        return network
    if backbone.startswith(PREFIX):
        image, maps = keras.Input((*sides, 3)), VisionMaps(backbone.removeprefix(PREFIX))
        tower = keras.Model(image, maps(image))
        maps.load(weights)
        return tower
    function, module = _found(backbone)
    scale, offset, reverse = _preparation(module)
    network = _network(function, backbone, *sides, weights)
    _load_file(network, backbone, weights)
    image = keras.Input((*sides, 3))
    pixels = ops.flip(image, axis=-1) if reverse else image
    maps = keras.Model(network.input, _last_maps(network), name=backbone.lower())
    return keras.Model(image, maps(layers.Rescaling(scale, offset)(pixels)))


def _own_tower(
    backbone: str | keras.Model, height: int, width: int, size: int | None
) -> keras.Model:
    sides = (height, width) if size is None else seen_sides(height, width, size)
    if isinstance(backbone, str) and not Path(backbone).is_file():
        raise InputError(
            f"{backbone}: no such file; a model with this backbone is built from it: put it back"
        )
    if isinstance(backbone, str):
        network = read(backbone, *sides) if backbone.endswith(".onnx") else load(backbone)
    else:  # whose layers stay as they are
        network = keras.models.clone_model(backbone)
        network.set_weights(backbone.get_weights())
    shape = getattr(network, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] not in (1, 3):
        raise UsageError(
            f"{_name(backbone)}: expected one input (batch, height, width, 1 or 3), received "
            f"{shape}"
        )
    fixed = tuple(own or side for own, side in zip(shape[1:3], sides, strict=True))
    if size is not None and fixed != sides:
        raise UsageError(
            f"size: expected none, {_name(backbone)} takes {fixed[1]}x{fixed[0]} pixels alone"
        )
    image = keras.Input((*fixed, shape[3]))
    return keras.Model(image, network(image))


def _name(backbone: str | keras.Model) -> str:
    return backbone if isinstance(backbone, str) else f"the model {backbone.name}"


def _fitted(image: keras.KerasTensor, shape: tuple[int, int, int]) -> keras.KerasTensor:
    """Return an image in a network's size and channels."""
    height, width, channels = shape
    if image.shape[3] != channels:
        if image.shape[3] != 1:
            raise UsageError("backbone: expected RGB images' network, received one of grey images")
        image = layers.Concatenate(name="rgb")([image] * channels)
    return image if image.shape[1:3] == (height, width) else Resize(height, width)(image)


def _vector(output: keras.KerasTensor, axes: tuple[int, int]) -> keras.KerasTensor:
    """Return a vector as it is, of a map its mean over the image."""
    if len(output.shape) not in (2, 4):
        raise UsageError(
            "backbone: expected vectors (batch, n) or maps (batch, height, width, n), received "
            f"{output.shape}"
        )
    output = ops.cast(output, "float32")
    return output if len(output.shape) == 2 else ops.mean(output, axis=axes)


def _last_maps(network: keras.Model) -> list[keras.KerasTensor]:
    """Return the output of the last layer at each resolution, each half of the one before."""
    height = network.input.shape[1]
    found: dict[int, keras.KerasTensor] = {}
    for layer in network.layers:
        shape: tuple[int, ...] = getattr(layer.output, "shape", ())
        skipped = layers.InputLayer, layers.ZeroPadding2D, layers.Cropping2D
        if len(shape) == 4 and not isinstance(layer, skipped):
            level = round(math.log2(height / shape[1]))
            found[level] = layer.output
    # Squeeze-and-excitation has maps of one pixel, which say less than the maps they weigh.
    return [found[key] for key in sorted(found) if key <= level]


@cache
def _applications() -> dict[str, tuple[Callable[..., keras.Model], ModuleType]]:
    """Each application by its name in lower case, with the module that holds its preprocessing."""
    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return {name.lower(): (f, sys.modules[f.__module__]) for name, f in functions}


def application(name: str, height: int, width: int, channels: int) -> Layers:
    """Return an application, such as "MobileNetV2", as layers from an image to its features.

    From `(batch, height, width, channels)` pixels in [0, 1], grey shown as RGB, to `(batch,
    features)`, the mean over the image; the application is one layer called "backbone", its weights
    freshly drawn. Raises UsageError for an unknown application, or images that it does not take.
    """
    function, module = _found(name)
    scale, offset, reverse = _preparation(module)
    tower: list[Any] = []
    if channels == 1:
        tower.append(lambda x: ops.repeat(x, 3, axis=-1))
    if reverse:
        tower.append(lambda x: ops.flip(x, axis=-1))
    tower.append(layers.Rescaling(scale, offset))
    return [*tower, _network(function, name, height, width)]


def load_backbone(model: keras.Model, name: str, weights: str) -> None:
    """Put weights that others trained into the application that is a model's layer "backbone".

    `weights` is "imagenet" for those that Keras publishes; else a file of them, .weights.h5 or
    .keras, of the application without its head. Raises InputError for another file, KpairsError
    where weights could not be fetched.
    """
    layer = backbone_of(model)
    if weights == IMAGENET:
        _, height, width, _ = layer.input.shape
        layer.set_weights(_network(_found(name)[0], name, height, width, IMAGENET).get_weights())
    else:
        _load_file(layer, name, weights)


def load_features(model: keras.Model, name: str, weights: str, **options: Any) -> None:
    """Put weights that others trained into a model's feature network; see `feature_network`."""
    layer = backbone_of(model)
    _, height, width, channels = layer.input.shape
    trained = feature_network(name, height, width, channels, weights=weights, **options)
    layer.set_weights(trained.get_weights())


def _load_file(network: keras.Model, name: str, weights: str) -> None:
    if weights in (IMAGENET, NO_WEIGHTS):
        return
    try:
        check_weights(Path(weights), network)
        with warnings.catch_warnings():  # of what else Keras looked for, before it says what fails
            warnings.filterwarnings("ignore", "Skipping nested container at '_operations_by_depth")
            network.load_weights(weights)
    except Exception as error:  # h5py, zipfile and Keras each raise their own kinds
        reason = first_line(error).partition(" Target variable:")[0]  # and all its numbers
        raise InputError(
            f"{weights}: expected weights of {name} without its head, cannot read them: {reason}"
        ) from error


def backbone_of(model: keras.Model) -> keras.Model:
    """Find a model's backbone, also inside a tower; KeyError tells that it has none."""
    for layer in model.layers:
        if layer.name == NAME:
            return layer
        if is_tower(layer):
            return backbone_of(layer)
    raise KeyError(NAME)


def _found(name: str) -> tuple[Callable[..., keras.Model], ModuleType]:
    known = _applications()
    if name.lower() not in known:
        names = [LITE0, STATISTICS, *(function.__name__ for function, _ in known.values())]
        raise unknown("backbone", name, names)
    return known[name.lower()]


def _network(
    function: Callable[..., keras.Model],
    name: str,
    height: int,
    width: int,
    weights: str = NO_WEIGHTS,
) -> keras.Model:
    """Build an application without its head, with ImageNet's weights or freshly drawn ones."""
    options = {"include_top": False, "input_shape": (height, width, 3), "pooling": "avg"}
    received = f"expected images that it takes, received {width}x{height} (width x height)"
    with raised_as(UsageError, f"backbone {name}: {received}", kinds=ValueError):
        network = function(**options, weights=None)
    if weights == IMAGENET:
        with raised_as(KpairsError, f"{name}: its ImageNet weights cannot be fetched", OTHERWISE):
            network = function(**options, weights=IMAGENET)
    network.name = NAME  # as an argument some would take it for a variant of theirs
    return network


def _preparation(module: ModuleType) -> tuple[list[float], list[float], bool]:
    """Measure what `preprocess_input` does to pixels in [0, 1]: scale and offset of each channel.

    The last value is True where RGB becomes BGR.
    """
    colours = np.zeros((1, 1, 3, 3), np.float32)  # it is linear in each channel: three tell all
    colours[0, 0, 1], colours[0, 0, 2] = 255, (255, 0, 0)
    black, white, red = module.preprocess_input(colours.copy(), data_format="channels_last")[0, 0]
    reverse = bool(red[0] != white[0])
    return (white - black).tolist(), black.tolist(), reverse
