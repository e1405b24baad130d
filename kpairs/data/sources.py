"""Where images come from, where they are stored, and how they are loaded and checked."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.cache import prepared_images
from kpairs.data.divided import divided_pairs
from kpairs.data.grades import GradedFiles, read_grades
from kpairs.data.idx import find_idx, read_idx
from kpairs.data.listed import ListedPairs, are_pairs
from kpairs.data.named import SOURCES, Source, SourceFile
from kpairs.data.pixels import contradiction
from kpairs.data.settings import DIGITS, PixelSettings
from kpairs.data.splits import Compared, Digits, Graded, Split
from kpairs.data.stored import Stored
from kpairs.data.survey import ink_of, survey
from kpairs.errors import InputError, unknown

log = logging.getLogger(__name__)


def cache_root() -> Path:
    """The folder for fetched data: `$KPAIRS_DATA`, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("KPAIRS_DATA") or platformdirs.user_cache_dir("kpairs"))


def load_digits(
    data: str | Path = "mnist",
    split: str = "train",
    root: str | Path | None = None,
    fetch: bool = True,
    *,
    settings: PixelSettings | None = None,
    classes: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Split:
    """Load one split of a named source, or of images of one's own.

    Args:
        data: "mnist", "fashionmnist", "kmnist", "qmnist"; a folder that holds MNIST-like IDX
            files; a folder of class folders or a CSV file of graded images (see `read_grades`); a
            CSV file of compared pairs (see `kpairs.data.listed`).
        split: "train" or "test".
        root: the cache folder; default `cache_root()`.
        fetch: download a named source that is missing.
        settings: how an image becomes a network's input; default `settings_for(data)`.
        classes: the grades' names, lowest first, where they are no numbers.
        columns: headers of a CSV file of pairs, by their usual names, where they differ.
        progress: called with how many graded images of how many are prepared.

    Returns:
        The split as `Digits`; as `Graded` where images are graded, as `Compared` where pairs are.

    Raises:
        UsageError: `data` is neither a known name nor an existing folder or CSV file, or the order
            of the grades is not known.
        InputError: files are missing, corrupt or inconsistent.
        KpairsError: the source is missing and cannot be fetched.
    """
    if is_compared(data, columns):
        division = divided_pairs(data, columns, classes)
        pairs = {"train": division.train, "test": division.test}[split]
        settings = settings or survey(division.train.pictures).settings()
        return compared_split(pairs, settings, root, progress)
    if is_graded(data):
        settings = settings or settings_for(data, classes=classes)
        listed = read_grades(data, split, classes)
        images = _stored(listed, settings, root, progress)
        return Graded(images, listed.grades, listed.classes, listed.name, Path(data), settings)
    key = source_key(data)
    if key is None:
        digits = _load_folder(Path(data), split)
    else:
        folder = available(key, root, fetch)
        digits = _read_split(folder, SOURCES[key], split, f"{key} {split} split", named=True)
    return replace(digits, settings=settings or settings_for(data))


def compared_split(
    pairs: ListedPairs,
    settings: PixelSettings,
    root: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Compared:
    """Prepare the images of compared pairs.

    Args:
        pairs: which.
        settings: how an image becomes a network's input.
        root: the cache folder; default `cache_root()`.
        progress: called with how many images of how many are prepared.

    Raises:
        InputError: an image that cannot be read.
        KpairsError: the cache folder cannot be written.
    """
    return Compared(_stored(pairs.pictures, settings, root, progress), pairs, settings)


def _stored(
    pictures: GradedFiles,
    settings: PixelSettings,
    root: str | Path | None,
    progress: Callable[[int, int], None] | None,
) -> Stored:
    """Pictures as a network sees them; says how many contradict the settings' ink."""
    file, odd = prepared_images(pictures, settings, Path(root or cache_root()), progress)
    if odd:
        said = contradiction(len(odd), len(pictures), pictures.places[odd[0]], settings)
        log.warning("%s: %s", pictures.name, said)
    return Stored(file)


def settings_for(
    data: str | Path,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    fit: str | None = None,
    ink: str | None = None,
    classes: Sequence[str] | None = None,
) -> PixelSettings:
    """Choose how the images of a source become a network's input.

    Digits become 14x14 and grey; for graded images the training images decide (see `survey`). What
    is given counts.

    Args:
        data: as `load_digits` takes it.
        size: `(width, height)`.
        channels: 1 or 3.
        fit: a key of `kpairs.data.settings.FITS`.
        ink: a key of `kpairs.data.settings.INKS`.
        classes: the grades' names, lowest first, where they are no numbers.

    Raises:
        UsageError: a value that is no setting; as `load_digits`.
        InputError: an image cannot be read.
    """
    if is_graded(data):
        return survey(read_grades(data, "train", classes)).settings(size, channels, fit, ink)
    width, height = size or (DIGITS.width, DIGITS.height)
    if ink is None:
        key = source_key(data)
        ink = SOURCES[key].ink if key else ink_of(_load_folder(Path(data), "train").images)
    return PixelSettings(height, width, channels or DIGITS.channels, fit or DIGITS.fit, ink)


def source_key(data: str | Path) -> str | None:
    """The key of a named source ("FashionMNIST" and "fashion-mnist" too), None for one's own.

    Raises:
        UsageError: `data` is neither a known name nor an existing folder or CSV file.
    """
    key = str(data).lower().replace("-", "").replace("_", "")
    if key in SOURCES:
        return key
    if str(data).strip() and (Path(data).is_dir() or _is_table(data)):
        return None
    raise unknown("data source, folder or CSV file", data, SOURCES)


def is_graded(data: str | Path) -> bool:
    """Whether a source is a CSV file or a folder without IDX files: images of one's own.

    Raises:
        UsageError: `data` is neither a known name nor an existing folder or CSV file.
    """
    return source_key(data) is None and (_is_table(data) or _find_source(Path(data)) is None)


def is_compared(data: str | Path, columns: Mapping[str, str] | None = None) -> bool:
    """Whether a source is a CSV file of pairs that people compared.

    Args:
        data: as `load_digits` takes it.
        columns: its own headers; where there are some, it is.

    Raises:
        UsageError: `data` is neither a known name nor an existing folder or CSV file.
        InputError: a CSV file that cannot be read.
    """
    return source_key(data) is None and _is_table(data) and are_pairs(data, columns)


def _is_table(data: str | Path) -> bool:
    return str(data).lower().endswith(".csv") and Path(data).is_file()


def canonical(data: str | Path) -> str:
    """The name of a source as its key, a path as an absolute one: valid from anywhere.

    Raises:
        UsageError: `data` is neither a known name nor an existing folder or CSV file.
    """
    return source_key(data) or str(Path(data).absolute())


def available(key: str, root: str | Path | None = None, fetch: bool = True) -> Path:
    """The folder of a named source's files, fetched first if any is missing.

    Raises:
        InputError: files are missing and `fetch` is False.
        KpairsError: files are missing and could not be fetched.
    """
    source, root = SOURCES[key], Path(root or cache_root())
    folder = source.folder(root)
    missing = source.missing(folder)
    if missing and fetch:
        from kpairs.data.fetch import fetch_source

        fetch_source(key, source, root)
    elif missing:
        names = ", ".join(file.name for file in missing)
        raise InputError(f"{folder}: {key} is not here; missing {names}")
    return folder


def _find_source(folder: Path) -> tuple[Path, Source] | None:
    """Where IDX files lie: in the folder, its raw/ or a torchvision layout inside it."""
    places = [folder, folder / "raw", *(s.folder(folder) for s in SOURCES.values())]
    for place in places:
        for source in SOURCES.values():
            if find_idx(place / source.train[0].name):
                return place, source
    return None


def _load_folder(folder: Path, split: str) -> Digits:
    found = _find_source(folder)
    if found is None:
        raise InputError(f"{folder}: expected MNIST-like IDX files, received none")
    return _read_split(*found, split, f"{folder} {split} split", named=False)


def _read_split(folder: Path, source: Source, split: str, name: str, named: bool) -> Digits:
    """One split of IDX files; that a named source has ten classes, and its checksums, are known."""
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
