"""A user's own images: one folder per class, class folders in rank order."""

import re
from pathlib import Path

import numpy as np

from kpairs.data.images import SUFFIXES, read_image
from kpairs.errors import InputError

_TEST_EVERY = 5


def read_folder(folder, split):
    """Read one split of a folder of class folders (the layout of torchvision's ImageFolder).

    With `train/` and `test/` inside, each holds class folders. Without, every fifth image of each
    class, by name, is for testing, so that no image is ever in both splits. Class folders rank in
    the order of their names, numbers by value: `2` comes before `10`.

    Args:
        folder: the folder.
        split: "train" or "test".

    Returns:
        `(images, labels, classes)`: `(n, 14, 14)` float32 in [0, 1], `(n,)` int64, and the class
        names in rank order.

    Raises:
        InputError: no class folders, fewer than two, classes that differ between the splits, or
            an image that cannot be read.
    """
    folder = Path(folder)
    divided = (folder / "train").is_dir() and (folder / "test").is_dir()
    root = folder / split if divided else folder
    classes = _class_names(root)
    if divided and classes != (others := _class_names(folder / "train")):
        raise InputError(f"{root}: expected the classes of train/, {others}; received {classes}")
    images, labels = [], []
    for label, name in enumerate(classes):
        files = sorted(
            (f for f in (root / name).iterdir() if f.suffix.lower() in SUFFIXES), key=_natural
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


def _class_names(root):
    folders = [f for f in root.iterdir() if f.is_dir() and not f.name.startswith(".")]
    if len(folders) < 2:
        raise InputError(
            f"{root}: expected at least two class folders of images in rank order, or MNIST-like "
            f"IDX files such as train-images-idx3-ubyte; received {len(folders)} folders"
        )
    return tuple(f.name for f in sorted(folders, key=_natural))


def _natural(path):
    """Sort key under which "img2" comes before "img10"."""
    return [(int(s), "") if s.isdigit() else (0, s) for s in re.split(r"(\d+)", path.name)]
