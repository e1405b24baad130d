"""Prepared images of one's own: decoded in parallel, and kept in a file that is mapped.

A training takes from the file what a batch needs, so that memory does not grow with the number of
images.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kpairs.data.annotations import ImageFiles
from kpairs.data.listing import stamp
from kpairs.data.pixels import Prepared, faintness, prepare
from kpairs.data.settings import PixelSettings
from kpairs.data.survey import decoded_in_parallel, taken
from kpairs.errors import InputError, KpairsError
from kpairs.files import atomic_path, write_json

log = logging.getLogger(__name__)

_FOLDER = "images"
FEATURES = "features"  # folder of features by frozen networks, beside that of images
_VERSION = 2  # of what `prepare` computes and of the files' format
_FACTS = ("doubtful", "faint")  # lists of pictures that are kept beside the pixels


def prepared_images(
    pictures: ImageFiles,
    settings: PixelSettings,
    root: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, list[int]]:
    """Prepare every picture of a split as its network sees it, unless the cache has them.

    The file's name is a hash of the pictures' paths, inodes, sizes, times of change and of the
    settings: changed pictures make another file. A damaged file is made anew. `clean` removes all.

    Args:
        pictures: the split.
        settings: of the network; `rounded`, since levels are kept in 8 bits.
        root: the cache folder.
        progress: called with how many pictures of how many are done.

    Returns:
        A .npy file of `(n, height, width, channels)` uint8 for `Stored`, and the numbers of the
        pictures whose ink contradicts the settings.

    Raises:
        InputError: a picture that cannot be read, named with its place.
        KpairsError: the cache folder cannot be written.
    """
    from filelock import FileLock

    if not settings.rounded:
        raise ValueError("expected settings that round pixels to 1/255, received others")
    file = root / _FOLDER / f"{_key(pictures, settings)}.npy"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            facts = _facts(file, pictures, settings)
            if facts is None:
                facts = _write(file, pictures, settings, progress)
                about = {"source": str(pictures.source), "settings": settings.to_dict()}
                write_json(file.with_suffix(".json"), {**about, **facts})
    except OSError as error:
        raise KpairsError(f"{file.parent}: cannot keep prepared images here: {error}") from error
    if faint := facts["faint"]:
        said = faintness(len(faint), len(pictures), pictures.places[faint[0]], settings)
        log.warning("%s: %s", pictures.name, said)
    return file, facts["doubtful"]


def _key(pictures: ImageFiles, settings: PixelSettings) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, settings.to_dict()]).encode())
    for file, place in zip(pictures.files, pictures.places, strict=True):
        try:
            stamped = stamp(file)
        except InputError as error:
            raise InputError(f"{'' if place == file else f'{place}: '}{error}") from error
        digest.update(os.fsencode(f"{file}\0{stamped}\n"))
    return digest.hexdigest()[:32]


def _facts(
    file: Path, pictures: ImageFiles, settings: PixelSettings
) -> dict[str, list[int]] | None:
    """Read the facts beside a cache file; None where one of the two is missing or damaged."""
    try:
        levels = np.load(file, mmap_mode="r")
        known = json.loads(file.with_suffix(".json").read_text())
        facts = {name: [int(number) for number in known[name]] for name in _FACTS}
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    whole = levels.dtype == np.uint8 and levels.shape == (len(pictures), *settings.shape)
    inside = all(0 <= n < len(pictures) for numbers in facts.values() for n in numbers)
    return facts if whole and inside else None


def _write(
    path: Path,
    pictures: ImageFiles,
    settings: PixelSettings,
    progress: Callable[[int, int], None] | None,
) -> dict[str, list[int]]:
    def prepared(file: str) -> Prepared:
        pixels = taken(file)
        return prepare(file if pixels is None else pixels[None], settings, file)

    count, facts = len(pictures), {name: list[int]() for name in _FACTS}
    header: dict[str, Any] = {"descr": "|u1", "fortran_order": False}
    header["shape"] = (count, *settings.shape)
    # Plain writes: pages of a mapped file count as this process's memory until they are flushed.
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for number, found in enumerate(decoded_in_parallel(pictures, range(count), prepared)):
            file.write(np.rint(255 * found.pixels).astype(np.uint8).tobytes())
            for name, numbers in facts.items():
                if getattr(found, name)[0]:
                    numbers.append(number)
            if progress is not None:
                progress(number + 1, count)
    return facts


def usage(root: Path) -> tuple[int, int]:
    """Return the number of files of images and features in the cache folder, and their bytes."""
    folders = [root / _FOLDER, root / FEATURES]
    sizes = [f.stat().st_size for folder in folders for f in folder.rglob("*") if f.is_file()]
    return len(sizes), sum(sizes)


def clean(root: Path) -> tuple[int, int]:
    """Remove all prepared images and all features below the cache folder.

    Returns:
        How many files and bytes that freed.
    """
    freed = usage(root)
    for name in (_FOLDER, FEATURES):
        shutil.rmtree(root / name, ignore_errors=True)
    return freed
