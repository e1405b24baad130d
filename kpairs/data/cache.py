"""Prepared images of one's own: decoded once, in parallel, and kept in a file that is mapped.

A training takes from the file what a batch needs, so that memory does not grow with the number of
images.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kpairs.data.annotations import ImageFiles
from kpairs.data.pixels import prepare
from kpairs.data.settings import PixelSettings
from kpairs.data.survey import decoded_in_parallel
from kpairs.errors import InputError, KpairsError
from kpairs.files import atomic_path, write_json

_FOLDER = "images"
_VERSION = 1  # of what `prepare` computes and of the files' format


def prepared_images(
    pictures: ImageFiles,
    settings: PixelSettings,
    root: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, list[int]]:
    """Prepare every picture of a split as its network sees it, unless the cache has them.

    The file's name is a hash of the pictures' paths, sizes, times of change and of the settings:
    changed pictures make another file. `clean` removes them all.

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
    facts = file.with_suffix(".json")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if not (file.is_file() and facts.is_file()):
                doubtful = _write(file, pictures, settings, progress)
                about = {"source": str(pictures.source), "settings": settings.to_dict()}
                write_json(facts, {**about, "doubtful": doubtful})
        return file, json.loads(facts.read_text())["doubtful"]
    except OSError as error:
        raise KpairsError(f"{file.parent}: cannot keep prepared images here: {error}") from error


def _key(pictures: ImageFiles, settings: PixelSettings) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, settings.to_dict()]).encode())
    for file, place in zip(pictures.files, pictures.places, strict=True):
        try:
            status = os.stat(file)
        except OSError as error:
            where = "" if place == file else f"{place}: "
            raise InputError(f"{where}{file}: no such image file ({error.strerror})") from error
        digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _write(
    path: Path,
    pictures: ImageFiles,
    settings: PixelSettings,
    progress: Callable[[int, int], None] | None,
) -> list[int]:
    def levels(file: str) -> tuple[bytes, bool]:
        pixels, _, doubtful, *_ = prepare(file, settings)
        return np.rint(255 * pixels).astype(np.uint8).tobytes(), bool(doubtful[0])

    count, doubtful = len(pictures), []
    header: dict[str, Any] = {"descr": "|u1", "fortran_order": False}
    header["shape"] = (count, *settings.shape)
    # Plain writes: pages of a mapped file count as this process's memory until they are flushed.
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for number, (data, doubts) in enumerate(
            decoded_in_parallel(pictures, range(count), levels)
        ):
            file.write(data)
            if doubts:
                doubtful.append(number)
            if progress is not None:
                progress(number + 1, count)
    return doubtful


def clean(root: Path) -> tuple[int, int]:
    """Remove all prepared images below the cache folder.

    Returns:
        How many files and bytes that freed.
    """
    folder = root / _FOLDER
    sizes = [f.stat().st_size for f in folder.iterdir()] if folder.is_dir() else []
    shutil.rmtree(folder, ignore_errors=True)
    return len(sizes), sum(sizes)
