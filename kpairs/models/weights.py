"""Files of weights that anybody may have made: their sizes, before an array of them is read."""

import math
import zipfile
from pathlib import Path
from typing import IO

import h5py
import keras

WEIGHTS = "model.weights.h5"  # in a .keras file
_BYTES = 2**20  # of an HDF5 file without arrays, amply
_BYTES_EACH = 2**14  # what it adds for each


def check_weights(file: Path, model: keras.Layer) -> None:
    """Refuse a .keras or HDF5 file whose arrays, unpacked, are larger than a model's, or elsewhere.

    Raises ValueError for such a file, or no regular one; OSError or `zipfile.BadZipFile` where it
    cannot be read.
    """
    if not file.is_file():  # a pipe would be waited for
        raise ValueError("no regular file")
    if file.suffix == ".keras":
        limit = _BYTES + sum(_BYTES_EACH + _size(v) for v in model.weights)
        with zipfile.ZipFile(file) as archive, member(archive, WEIGHTS, limit) as opened:
            _check_arrays(opened, model)
    else:
        with open(file, "rb") as opened:
            _check_arrays(opened, model)


def member(archive: zipfile.ZipFile, name: str, limit: int) -> IO[bytes]:
    """Open a file in an archive; ValueError tells that it has more bytes, unpacked."""
    if (size := archive.getinfo(name).file_size) > limit:
        raise ValueError(f"{name} has {size:,} bytes, more than {limit:,}")
    return archive.open(name)


def _check_arrays(file: IO[bytes], model: keras.Layer) -> None:
    limit = sum(map(_size, model.weights))

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


def _size(variable: keras.Variable) -> int:
    return 8 * math.prod(variable.shape)  # of the widest type
