"""MNIST-like IDX files in a folder, read as one split and checked."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.idx import find_idx, read_idx
from kpairs.data.named import SOURCES, Source, SourceFile
from kpairs.data.splits import Digits
from kpairs.errors import InputError


def find_idx_source(folder: Path) -> tuple[Path, Source] | None:
    """Find IDX files in a folder, its raw/ or a torchvision layout inside it; None for none."""
    places = [folder, folder / "raw", *(s.folder(folder) for s in SOURCES.values())]
    for place in places:
        for source in SOURCES.values():
            if find_idx(place / source.train[0].name):
                return place, source
    return None


def read_split(folder: Path, source: Source, split: str, name: str, named: bool) -> Digits:
    """Read one split of IDX files.

    Args:
        folder: where the files lie.
        source: their names, and checksums where `named`.
        split: "train" or "test".
        name: the words for the split in messages.
        named: whether it is a data set of known checksums and ten classes.

    Raises:
        InputError: files that are missing, corrupt or inconsistent.
    """
    images_file, labels_file = source.train if split == "train" else source.test
    labels, path = _read_labels(folder, labels_file, split, named)
    if named:
        classes = 10
    else:  # the training split decides, so that the splits agree
        train_labels, train_path = _read_labels(folder, source.train[1], "train", named)
        classes = len(np.unique(train_labels))
        _check_labels(train_labels, classes, train_path)
    _check_labels(labels, classes, path)
    images = _read(folder, images_file, split, named)
    if images.ndim != 3 or 0 in images.shape[1:]:
        raise InputError(
            f"{folder / images_file.name}: expected (n, height, width) images, received shape "
            f"{images.shape}"
        )
    if labels.shape != images.shape[:1]:
        raise InputError(
            f"{path}: expected {len(images)} labels, one per image, received {len(labels)}"
        )
    names = tuple(str(i) for i in range(classes))
    return Digits(images, labels, names, name, folder)


def _read(folder: Path, file: SourceFile, split: str, named: bool) -> NDArray[Any]:
    path = find_idx(folder / file.name)
    if path is None:
        raise InputError(f"{folder / file.name}: expected the {split} split's file, received none")
    if not named:  # a user's own files need not be MNIST's
        return read_idx(path)
    return read_idx(path, file.md5, file.archive_md5)


def _read_labels(
    folder: Path, file: SourceFile, split: str, named: bool
) -> tuple[NDArray[np.int64], Path]:
    labels = _read(folder, file, split, named)
    if labels.ndim == 2 and labels.shape[1]:  # QMNIST: the first of eight columns is the class
        labels = labels[:, 0]
    path = folder / file.name
    if labels.ndim != 1:
        raise InputError(f"{path}: expected one label per image, received {labels.shape}")
    return labels.astype(np.int64), path


def _check_labels(labels: NDArray[np.int64], classes: int, path: Path) -> None:
    present = np.unique(labels)
    if len(present) < 2 or present[0] < 0 or present[-1] >= classes:
        odd = [int(label) for label in present if not 0 <= label < classes]
        raise InputError(
            f"{path}: expected at least two classes numbered 0 to {max(classes, 2) - 1}, "
            f"received {odd or present.tolist()}"
        )
