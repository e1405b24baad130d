"""A few prepared pairs that a run keeps, by which it can be exported wherever its images are."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data import PairSet
from kpairs.errors import InputError, first_line
from kpairs.files import atomic_path

_FILE = "sample.npz"
_PAIRS = {"train": 100, "test": 200}
_MOST_BYTES = 2**24  # of images in each part
_MOST_UNPACKED = 2**30


def save_sample(folder: Path, train: PairSet, test: PairSet) -> None:
    """Keep the first training pairs, as drawn, and test pairs of a round in a run's folder."""
    arrays: dict[str, Any] = {}
    for part, pairs in (("train", train), ("test", test)):
        bytes_each = 2 * 4 * int(np.prod(pairs.left.shape[1:]))
        few = pairs.take(slice(max(2, min(_PAIRS[part], _MOST_BYTES // bytes_each))))
        arrays |= {f"{part}_{name}": _levels(images) for name, images in few.inputs().items()}
        for name in ("left_digit", "right_digit", "probability"):
            if (values := getattr(few, name)) is not None:
                arrays[f"{part}_{name}"] = values
    with atomic_path(folder / _FILE) as temporary:
        np.savez_compressed(temporary, **arrays)


def _levels(images: NDArray[np.float32]) -> NDArray[Any]:
    """Return images as bytes where all their pixels are levels of 255, as those of files are."""
    levels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    return levels if np.array_equal(_pixels(levels), images) else images


def _pixels(images: NDArray[Any]) -> NDArray[np.float32]:
    return images if images.dtype == np.float32 else (images / 255).astype(np.float32)


def load_sample(folder: Path) -> tuple[PairSet, PairSet]:
    """Read the training and the test pairs that a run keeps; InputError tells of none."""
    file = folder / _FILE
    if not file.is_file():
        raise InputError(f"{folder}: the run keeps no pairs to check an export on")
    try:
        with zipfile.ZipFile(file) as archive:  # a small file can unpack to any size
            if sum(member.file_size for member in archive.infolist()) > _MOST_UNPACKED:
                raise ValueError(f"expected at most {_MOST_UNPACKED:,} bytes of pairs")
        with np.load(file, allow_pickle=False) as arrays:
            return _part(arrays, "train"), _part(arrays, "test")
    except Exception as error:  # zipfile, zlib and NumPy each raise their own kinds
        raise InputError(f"{file}: cannot be read: {first_line(error)}") from error


def _part(arrays: Any, part: str) -> PairSet:
    names = "left", "right", "left_digit", "right_digit"
    left, right, left_digit, right_digit = (arrays[f"{part}_{name}"] for name in names)
    probability = arrays.get(f"{part}_probability")
    return PairSet(_pixels(left), _pixels(right), left_digit, right_digit, probability)
