"""Networks of `keras.applications` as the tower of a pair network; weights that others trained."""

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kpairs.errors import InputError, KpairsError, UsageError, first_line, unknown
from kpairs.models.pair import Layers, is_tower
from kpairs.models.weights import check_weights

NAME = "backbone"  # of the layer, by which it is found in a model
IMAGENET, NO_WEIGHTS = "imagenet", "none"


@cache
def _applications() -> dict[str, tuple[Callable[..., keras.Model], ModuleType]]:
    """Each application by its name in lower case, with the module that holds its preprocessing."""
    modules = [
        module
        for _, module in inspect.getmembers(keras.applications, inspect.ismodule)
        if hasattr(module, "preprocess_input")
    ]
    found: dict[str, tuple[Callable[..., keras.Model], ModuleType]] = {}
    for name, function in inspect.getmembers(keras.applications, inspect.isfunction):
        # The module that has it; MobileNetV3 stands in none, and belongs to the one of its name.
        homes = [m for m in modules if hasattr(m, name)]
        homes = homes or [m for m in modules if name.lower().startswith(_plain(m))]
        found[name.lower()] = function, max(homes, key=lambda m: len(_plain(m)))
    return found


def _plain(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2].replace("_", "")


def application(name: str, height: int, width: int, channels: int) -> Layers:
    """Return an application as layers from an image to its features, without its own head.

    Args:
        name: such as "MobileNetV2", in upper or lower case.
        height: of the images.
        width: of the images.
        channels: 1 or 3; grey is shown as RGB.

    Returns:
        Layers from `(batch, height, width, channels)` pixels in [0, 1] to `(batch, features)`, the
        mean over the image: with the application's own preparation of pixels, and the application
        as one layer called "backbone", its weights freshly drawn.

    Raises:
        UsageError: an unknown application, or images that it does not take.
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
    """Put weights that others trained into a model's backbone.

    Args:
        model: with a layer called "backbone".
        name: of the application.
        weights: "imagenet" for those that Keras publishes; else a file of them, .weights.h5 or
            .keras, as `save_weights` or `save` of the application without its head writes.

    Raises:
        InputError: a file that does not hold this application's weights.
        KpairsError: weights that could not be fetched.
    """
    layer = backbone_of(model)
    if weights == IMAGENET:
        _, height, width, _ = layer.input.shape
        try:
            trained = _network(_found(name)[0], name, height, width, IMAGENET)
        except Exception as error:  # urllib's, and Keras' own
            raise KpairsError(f"{name}: no imagenet weights: {first_line(error)}") from error
        layer.set_weights(trained.get_weights())
        return
    try:
        check_weights(Path(weights), layer)
        layer.load_weights(weights)
    except Exception as error:  # h5py, zipfile and Keras each raise their own kinds
        raise InputError(
            f"{weights}: expected weights of {name} without its head, cannot read them: "
            f"{first_line(error)}"
        ) from error


def backbone_of(model: keras.Model) -> keras.Model:
    """Find a model's backbone, also inside a tower.

    Raises:
        KeyError: the model has none.
    """
    for layer in model.layers:
        if layer.name == NAME:
            return layer
        if is_tower(layer):
            return backbone_of(layer)
    raise KeyError(NAME)


def _found(name: str) -> tuple[Callable[..., keras.Model], ModuleType]:
    known = _applications()
    if name.lower() not in known:
        raise unknown("backbone", name, [function.__name__ for function, _ in known.values()])
    return known[name.lower()]


def _network(
    function: Callable[..., keras.Model],
    name: str,
    height: int,
    width: int,
    weights: str | None = None,
) -> keras.Model:
    try:
        return function(
            include_top=False,
            weights=weights,
            input_shape=(height, width, 3),
            pooling="avg",
            name=NAME,
        )
    except ValueError as error:
        raise UsageError(
            f"backbone {name}: expected images that it takes, received {width}x{height} "
            f"(width x height): {first_line(error)}"
        ) from error


def _preparation(module: ModuleType) -> tuple[list[float], list[float], bool]:
    """Measure what `preprocess_input` does to pixels in [0, 1].

    It is linear in each channel, so that three colours tell all of it.

    Returns:
        Scale and offset of each channel, and True where RGB becomes BGR.
    """
    colours = np.zeros((1, 1, 3, 3), np.float32)
    colours[0, 0, 1], colours[0, 0, 2] = 255, (255, 0, 0)
    black, white, red = module.preprocess_input(colours.copy(), data_format="channels_last")[0, 0]
    reverse = bool(red[0] != white[0])
    return (white - black).tolist(), black.tolist(), reverse
