"""Trained models, saved, and opened wherever they were saved."""

import os
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import keras

import kpairs.layers
import kpairs.losses
import kpairs.metrics
import kpairs.optimizers  # noqa: F401 - their import registers what a file may name
from kpairs.errors import InputError, first_line
from kpairs.files import atomic_path


def load(path: str | os.PathLike[str]) -> Any:
    """Load a saved model: a `.keras` file, a run folder or an exported `.onnx` file.

    A `.keras` file is loaded by `keras.saving.load_model` in safe mode, with kpairs' objects
    registered first: no code of the file is run. Objects of your own are found where
    `keras.saving.register_keras_serializable` registered them.

    Args:
        path: the file, or the folder of a run, whose first round is loaded.

    Returns:
        A `keras.Model`, compiled if the file was saved so; of an `.onnx` file a
        `kpairs.PairModel`.

    Raises:
        InputError: no such file or run, or one that cannot be opened.

    Example:
    >>> import kpairs
    >>> kpairs.build("ws").save("ws.keras")
    >>> kpairs.load("ws.keras").count_params() == kpairs.build("ws").count_params()
    True
    """
    file = Path(path)
    if file.is_dir():
        return import_module("kpairs.training.run").Run.open(file).model(1)
    if file.suffix == ".onnx":  # by name alone: exports stand above this library
        return import_module("kpairs.exports.runtime").PairModel.load(file)
    if file.suffix != ".keras":  # Keras reads others too, of which .h5 knows no safe mode
        raise InputError(f"{file}: expected a .keras file")
    if not file.is_file():
        raise InputError(f"{file}: expected a .keras file, found none")
    if not zipfile.is_zipfile(file):  # of which Keras says that it was not found
        raise InputError(f"{file}: expected a .keras file, received no zip archive; is it whole?")
    for name in ("vision", "onnx_network"):  # register their layers; they stand above this too
        import_module(f"kpairs.models.{name}")
    try:
        return keras.saving.load_model(file, safe_mode=True)
    except Exception as error:  # h5py, zipfile, json and Keras each raise their own kinds
        raise InputError(f"{file}: cannot be opened as a Keras model: {_reason(error)}") from error


def save_model(model: keras.Model, path: Path) -> None:
    """Write a trained model as a .keras file, atomically.

    The file holds the network without its training configuration, so that
    `keras.saving.load_model` opens it anywhere, without kpairs; with the posterior head or with
    shifts, where `kpairs.layers` is imported. `kpairs.load` opens all.
    """
    bare = keras.Model(model.input, model.output, name=model.name)  # the same layers, not compiled
    with atomic_path(path) as temporary:
        bare.save(temporary)


def _reason(error: Exception) -> str:
    """Return the innermost reason in an error's text; Keras appends whole configurations."""
    inner = str(error).rpartition("Exception encountered: ")[2]
    return first_line(ValueError(inner)).partition(" Full object config")[0][:300]
