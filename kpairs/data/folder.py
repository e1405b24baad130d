"""A user's own images: one folder per class, class folders in rank order."""

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpairs.data.images import SUFFIXES, read_image
from kpairs.errors import InputError

_TEST_EVERY = 5


def read_folder(
    folder: str | Path, split: str
) -> tuple[NDArray[np.float32], NDArray[np.int64], tuple[str, ...]]:
    """Read one split of a folder of class folders (the layout of torchvision's ImageFolder).

    With `train/` and `test/` inside, each holds class folders. Without, every fifth image of each
    class, by name, is for testing, so that no image is ever in both splits. Class folders whose
    names are all numbers rank by value, `-1` before `2` before `10`; others by name, numbers inside
    them by value, `age2` before `age10`.

    Args:
        folder: the folder.
        split: "train" or "test".

    Returns:
        `(images, labels, classes)`: `(n, 14, 14)` float32 in [0, 1], `(n,)` int64, and the class
        names in rank order.

    Raises:
        InputError: there are no class folders or fewer than two, classes differ between the
            splits, or an image cannot be read.
    """
    folder = Path(folder)
    divided = (folder / "train").is_dir()
    if divided and not (folder / "test").is_dir():
        raise InputError(f"{folder}: expected test/ beside train/, received none")
    root = folder / split if divided else folder
    classes = _class_names(root)
    if divided and classes != (others := _class_names(folder / "train")):
        raise InputError(f"{root}: expected the classes of train/, {others}; received {classes}")
    images, labels = [], []
    for label, name in enumerate(classes):
        files = sorted(
            (
                f
                for f in (root / name).iterdir()
                if f.suffix.lower() in SUFFIXES and f.is_file() and not f.name.startswith(".")
            ),
            key=lambda f: _natural(f.name),
        )
        if not divided:
            files = [f for i, f in enumerate(files) if (i % _TEST_EVERY == 4) == (split == "test")]
        if not files:
            raise InputError(
                f"{root / name}: expected images ({', '.join(SUFFIXES)}) for the {split} split, "
                "received none" + ("" if divided else f"; a class needs at least {_TEST_EVERY}")
            )
        images += [read_image(f)[0, :, :, 0] for f in files]
        labels += [label] * len(files)
    return np.stack(images), np.array(labels, np.int64), classes


def _class_names(root: Path) -> tuple[str, ...]:
    folders = [f for f in root.iterdir() if f.is_dir() and not f.name.startswith(".")]
    if len(folders) < 2:
        raise InputError(
            f"{root}: expected at least two class folders of images in rank order, or MNIST-like "
            f"IDX files such as train-images-idx3-ubyte; received {len(folders)} folders"
        )
    names = [f.name for f in folders]
    ranks = {name: rank for name in names if (rank := _number(name)) is not None}
    if len(ranks) < len(names):
        return tuple(sorted(names, key=_natural))
    if len(set(ranks.values())) < len(names):
        raise InputError(f"{root}: expected class folders of different rank, received {names}")
    return tuple(sorted(names, key=ranks.__getitem__))


def _number(name: str) -> float | None:
    try:
        value = float(name)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key under which "img2" comes before "img10"; names alike but for zeros stay apart."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(s), "") if s.isdecimal() else (0, s) for s in parts], name
