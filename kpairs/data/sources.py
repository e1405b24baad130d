"""Named sources of digit images, where they are stored, and how they are loaded and checked."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kpairs.data.folder import read_folder
from kpairs.data.idx import find_idx, read_idx
from kpairs.errors import InputError, unknown


@dataclass(frozen=True)
class Source:
    """One data set in torchvision's folder layout.

    Attributes:
        torchvision: name of its class in `torchvision.datasets`, and of its folder.
        train, test: names of the image and label file of each split.
        md5: MD5 of the uncompressed files by name; every one that is known is checked.
    """

    torchvision: str
    train: tuple[str, str] = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    test: tuple[str, str] = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    md5: tuple[tuple[str, str], ...] = ()

    def folder(self, root):
        """Where the files lie under the cache folder `root`."""
        return Path(root) / self.torchvision / "raw"


SOURCES = {
    "mnist": Source(
        "MNIST",
        md5=(
            ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
            ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
            ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
            ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
        ),
    ),
    "fashionmnist": Source("FashionMNIST"),
    "kmnist": Source("KMNIST"),
    "qmnist": Source(
        "QMNIST",
        train=("qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int"),
        test=("qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"),
    ),
}


@dataclass(frozen=True)
class Digits:
    """The images of one split.

    Attributes:
        images: `(n, height, width)`, uint8 in 0..255 or float32 in [0, 1].
        labels: `(n,)` int64 class numbers in rank order.
        classes: the class names, lowest rank first.
        name: what to call the split in messages.
        folder: where the files lie.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str
    folder: Path

    def __len__(self):
        return len(self.labels)


def cache_root():
    """The folder for fetched data: `$KPAIRS_DATA`, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("KPAIRS_DATA") or platformdirs.user_cache_dir("kpairs"))


def load_digits(data="mnist", split="train", root=None, fetch=True):
    """Load one split of a named source or of a folder of one's own.

    Args:
        data: "mnist", "fashionmnist", "kmnist", "qmnist", or a folder that holds MNIST-like IDX
            files or class folders of images (see `read_folder`).
        split: "train" or "test".
        root: the cache folder; default `cache_root()`.
        fetch: download a named source that is missing.

    Returns:
        The split as `Digits`.

    Raises:
        UsageError: an unknown name.
        InputError: missing, corrupt or inconsistent files.
        KpairsError: the source is missing and cannot be fetched.
    """
    key = source_key(data)
    if key is None:
        return _load_folder(Path(data), split)
    folder = available(key, root, fetch)
    return _read_split(folder, SOURCES[key], split, f"{key} {split} split", classes=10)


def source_key(data):
    """The key of a named source ("FashionMNIST" and "fashion-mnist" too), None for a folder.

    Raises:
        UsageError: neither a known name nor an existing folder.
    """
    key = str(data).lower().replace("-", "").replace("_", "")
    if key in SOURCES:
        return key
    if str(data).strip() and Path(data).is_dir():
        return None
    raise unknown("data source or folder", data, SOURCES)


def canonical(data):
    """The name of a source as its key, a folder as its absolute path: valid from anywhere.

    Raises:
        UsageError: neither a known name nor an existing folder.
    """
    return source_key(data) or str(Path(data).absolute())


def available(key, root=None, fetch=True):
    """The folder of a named source's files, fetched first if any is missing.

    Raises:
        InputError: files are missing and `fetch` is False.
        KpairsError: they could not be fetched.
    """
    source, root = SOURCES[key], Path(root or cache_root())
    folder = source.folder(root)
    missing = [n for n in (*source.train, *source.test) if find_idx(folder / n) is None]
    if missing and fetch:
        from kpairs.data.fetch import fetch_source

        fetch_source(key, source, root)
    elif missing:
        raise InputError(f"{folder}: {key} is not here; missing {', '.join(missing)}")
    return folder


def _load_folder(folder, split):
    """IDX files in the folder, its raw/ or a torchvision layout inside it; else class folders."""
    places = [folder, folder / "raw", *(s.folder(folder) for s in SOURCES.values())]
    for place in places:
        for source in SOURCES.values():
            if find_idx(place / source.train[0]):
                return _read_split(place, source, split, f"{folder} {split} split")
    images, labels, classes = read_folder(folder, split)
    return Digits(images, labels, classes, f"{folder} {split} split", folder)


def _read_split(folder, source, split, name, classes=None):
    """One split of IDX files; `classes` and checksums are known of a named source alone."""
    md5 = dict(source.md5) if classes else {}  # files in a user's own folder need not be MNIST's
    images_name, labels_name = source.train if split == "train" else source.test
    labels, path = _read_labels(folder, labels_name, split, md5)
    if classes is None:  # the training split decides, so that the splits agree
        train_labels, train_path = _read_labels(folder, source.train[1], "train", md5)
        classes = len(np.unique(train_labels))
        _check_labels(train_labels, classes, train_path)
    _check_labels(labels, classes, path)
    images = _read(folder, images_name, split, md5)
    if images.ndim != 3:
        raise InputError(
            f"{folder / images_name}: expected (n, height, width) images, received shape "
            f"{images.shape}"
        )
    if labels.shape != images.shape[:1]:
        raise InputError(
            f"{path}: expected {len(images)} labels, one per image, received {len(labels)}"
        )
    names = tuple(str(i) for i in range(classes))
    return Digits(images, labels, names, name, folder)


def _read(folder, name, split, md5):
    path = find_idx(folder / name)
    if path is None:
        raise InputError(f"{folder / name}: expected the {split} split's file, received none")
    return read_idx(path, md5.get(name))


def _read_labels(folder, name, split, md5):
    labels = _read(folder, name, split, md5)
    if labels.ndim == 2 and labels.shape[1]:  # QMNIST: the first of eight columns is the class
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(f"{folder / name}: expected one label per image, received {labels.shape}")
    return labels.astype(np.int64), folder / name


def _check_labels(labels, classes, path):
    present = np.unique(labels)
    if len(present) < 2 or present[0] < 0 or present[-1] >= classes:
        odd = [int(label) for label in present if not 0 <= label < classes]
        raise InputError(
            f"{path}: expected at least two classes numbered 0 to {max(classes, 2) - 1}, "
            f"received {odd or present.tolist()}"
        )
