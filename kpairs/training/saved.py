"""Saved models: only arrays are read from a .keras file, and none before its size is known.

The layers' settings in the file are compared with the network that takes the weights: recipe.json
and metrics.json say again what the file alone is sure of.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import keras

from kpairs.errors import InputError, first_line
from kpairs.models.pair import is_tower
from kpairs.models.weights import check_weights, member
from kpairs.training.unfolded import unfolded

_MOST_CONFIG_BYTES = 2**26
# Settings of layers that change what a network computes, and that no weight shows.
_SETTINGS = {
    *("activation", "scale", "offset", "epsilon", "axis", "negative_slope", "max_value"),
    *("pool_size", "strides", "padding", "dilation_rate", "groups", "data_format"),
}


def load_saved(model: keras.Model, file: Path) -> None:
    """Read the weights of a .keras file into the network that it holds.

    In files of earlier versions the layers of towers stand one by one; see `unfolded`.

    Raises:
        InputError: no .keras file, weights of other shapes, or layers of other settings.
    """
    try:
        check_weights(file, model)
        with (
            zipfile.ZipFile(file) as archive,
            member(archive, "config.json", _MOST_CONFIG_BYTES) as opened,
        ):
            config = json.loads(opened.read())
        saved = {layer["name"] for layer in config["config"]["layers"]}
        if saved.isdisjoint(layer.name for layer in model.layers if is_tower(layer)):
            model = unfolded(model)
        _compare(config, json.loads(model.to_json()), file)
        model.load_weights(file)
    except InputError:
        raise
    except Exception as error:  # h5py, zipfile and Keras each raise their own kinds
        raise InputError(
            f"{file}: expected the weights of {model.name}, cannot read them: {first_line(error)}"
        ) from error


def _compare(saved: Any, built: Any, file: Path) -> None:
    """Refuse a file whose layers, or their settings, are not the network's."""
    for then, now in zip_longest(_settings(saved), _settings(built)):
        if then is None or now is None or then[0] != now[0]:
            raise InputError(
                f"{file}: expected the layers that recipe.json and metrics.json describe, here "
                f"{now[0] if now else 'no more'}; the saved model has {then[0] if then else 'none'}"
            )
        (kind, before), settings = then, now[1]
        for name in sorted(before.keys() & settings.keys()):
            if before[name] != settings[name]:
                raise InputError(
                    f"{file}: expected {name} {settings[name]} of {kind}, as recipe.json and "
                    f"metrics.json say; the saved model has {before[name]}"
                )


def _settings(config: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """List the kind and the settings of each layer that has some, in order."""
    for layer in config["config"].get("layers", ()):
        if "layers" in layer["config"]:
            yield from _settings(layer)
        elif found := {k: v for k, v in layer["config"].items() if k in _SETTINGS}:
            yield layer["class_name"], found
