"""Saved models, opened wherever they were saved."""

import os
from pathlib import Path

import keras

import kpairs.layers
import kpairs.losses
import kpairs.metrics
import kpairs.optimizers  # noqa: F401 - their import registers what a file may name
from kpairs.errors import InputError, first_line


def load(path: str | os.PathLike[str]) -> keras.Model:
    """Load a `.keras` file as a Keras model, compiled if it was saved so.

    `keras.saving.load_model` in safe mode, with kpairs' objects registered first: no code of the
    file is run. Objects of your own are found where
    `keras.saving.register_keras_serializable` registered them.

    Args:
        path: the file.

    Returns:
        The model.

    Raises:
        InputError: no `.keras` file, or one that cannot be opened.

    Example:
    >>> import kpairs
    >>> kpairs.build("ws").save("ws.keras")
    >>> kpairs.load("ws.keras").count_params() == kpairs.build("ws").count_params()
    True
    """
    file = Path(path)
    if file.suffix != ".keras":  # Keras reads others too, of which .h5 knows no safe mode
        raise InputError(f"{file}: expected a .keras file")
    if not file.is_file():
        raise InputError(f"{file}: expected a .keras file, found none")
    try:
        return keras.saving.load_model(file, safe_mode=True)
    except Exception as error:  # h5py, zipfile, json and Keras each raise their own kinds
        raise InputError(f"{file}: cannot be opened as a Keras model: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the first sentence of an error; Keras appends whole configurations."""
    return first_line(error).partition(" Full object config")[0][:300]
