"""Saved models: only arrays are read from a .keras file, and none before its size is known.

What else the file says, its layers' settings, is compared with the network that the weights are
read into: metrics.json and recipe.json say again what the saved model alone knows for sure.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

import h5py
import keras

from kpairs.errors import InputError, first_line

_MOST_CONFIG_BYTES = 2**26
_HDF5_BYTES = 2**20  # of a file without arrays, amply
_HDF5_BYTES_EACH = 2**14  # what it adds for each
# Settings of layers that change what a network computes, and that no weight shows.
_SETTINGS = {
    *("activation", "scale", "offset", "epsilon", "axis", "negative_slope", "max_value"),
    *("pool_size", "strides", "padding", "dilation_rate", "groups", "data_format"),
}


def load_saved(model: keras.Model, file: Path) -> None:
    """Read the weights of a .keras file into the network that it holds.

    Raises:
        InputError: no .keras file, weights of other shapes, or layers of other settings.
    """
    try:
        if not file.is_file():
            raise ValueError("no regular file")
        with zipfile.ZipFile(file) as archive:
            with _member(archive, "config.json", _MOST_CONFIG_BYTES) as member:
                config = json.loads(member.read())
            weights = _HDF5_BYTES + sum(_HDF5_BYTES_EACH + _bytes(v) for v in model.weights)
            with _member(archive, "model.weights.h5", weights) as member:
                check_arrays(member, model)
        _compare(config, json.loads(model.to_json()), file)
        model.load_weights(file)
    except InputError:
        raise
    except Exception as error:  # h5py, zipfile and Keras each raise their own kinds
        raise InputError(
            f"{file}: expected the weights of {model.name}, cannot read them: {first_line(error)}"
        ) from error


def check_arrays(file: IO[bytes], model: keras.Layer) -> None:
    """Refuse an HDF5 file whose arrays, unpacked, are larger than a model's, or lie elsewhere.

    Args:
        file: open for reading.
        model: whose weights it should hold.

    Raises:
        ValueError: it is such a file.
        OSError: it is no HDF5 file.
    """
    limit = sum(map(_bytes, model.weights))

    def check(name: str, item: h5py.Dataset | h5py.Group) -> None:
        nonlocal limit
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"{name} is in another file")
            limit -= item.nbytes
            if limit < 0:
                raise ValueError("it holds larger arrays")

    with h5py.File(file, "r") as opened:
        opened.visititems(check)


def _bytes(variable: keras.Variable) -> int:
    return 8 * math.prod(variable.shape)  # of the widest type


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> IO[bytes]:
    if (size := archive.getinfo(name).file_size) > limit:
        raise ValueError(f"{name} has {size:,} bytes, more than {limit:,}")
    return archive.open(name)


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
    """The kind and the settings of each layer that has some, in order."""
    for layer in config["config"].get("layers", ()):
        if "layers" in layer["config"]:
            yield from _settings(layer)
        elif found := {k: v for k, v in layer["config"].items() if k in _SETTINGS}:
            yield layer["class_name"], found
