"""Images of one's own: looked at, prepared in parallel, and kept in a file that is mapped.

A training takes from the file what a batch needs, so that memory does not grow with the number of
images.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kpairs.data.annotations import ImageFiles
from kpairs.data.decode import Picture, opened
from kpairs.data.listing import stamp
from kpairs.data.pixels import Prepared, faintness, looks_dark, prepare, strips
from kpairs.data.settings import INKS, LONGEST_SIDE, WHITE, PixelSettings
from kpairs.errors import InputError, KpairsError
from kpairs.files import atomic_path, write_json

log = logging.getLogger(__name__)

_FOLDER = "images"
FEATURES = "features"  # folder of features by frozen networks, beside that of images
_VERSION = 2  # of what `prepare` computes and of the files' format
_FACTS = ("doubtful", "faint")  # lists of pictures that are kept beside the pixels
_T = TypeVar("_T")
_AHEAD = 64  # pictures that are decoded ahead of what is taken
_SURVEYED = 500  # pictures that are looked at, evenly over the grades
_MOST_KEPT = 2**26  # bytes
_LEAST = 256  # pixels of a side that are enough to look at
_ONE_INK = 0.98  # share of pictures that decides what the pictures are
# A picture is in colour where more than this share of its pixels has channels that differ by more
# than this share of white: JPEG gives greys a tint of a few levels.
_COLOURED, _TINT = 1e-3, 32 / 255


@dataclass(frozen=True)
class Survey:
    """The look of the surveyed pictures.

    Attributes:
        pictures: number of pictures that were looked at.
        widths, heights: smallest and largest.
        median: `(width, height)` that stand for all; a square where only some are upright.
        channels: 3 where a picture has colour, else 1.
        ink: "dark" or "bright" where at least 98 % look so, else "mixed".
        white: level of 16-bit grey that is white.
    """

    pictures: int
    widths: tuple[int, int]
    heights: tuple[int, int]
    median: tuple[float, float]
    channels: int
    ink: str
    white: int = WHITE

    @property
    def are_photographs(self) -> bool:
        """Return whether the pictures are in colour or of no one ink, as drawings are not."""
        return self.channels == 3 or self.ink == "mixed"

    def __str__(self) -> str:
        sides = zip(self.widths, self.heights, strict=True)
        sizes = " to ".join(dict.fromkeys(f"{width}x{height}" for width, height in sides))
        colour = "in colour" if self.channels == 3 else "grey"
        return f"{sizes} (width x height), {colour}, {INKS[self.ink]}"

    def settings(
        self,
        size: tuple[int, int] | None = None,
        channels: int | None = None,
        fit: str | None = None,
        ink: str | None = None,
        longest: int = LONGEST_SIDE,
    ) -> PixelSettings:
        """Return the settings of a network for these pictures; what is given counts.

        Without a size it is the pictures' own, reduced to at most `longest` pixels a side.
        """
        width, height = size or self._size(longest)
        return PixelSettings(
            height=height,
            width=width,
            channels=channels or self.channels,
            fit=fit or "pad",
            ink=ink or self.ink,
            rounded=True,
            white=self.white,
        )

    def _size(self, longest: int) -> tuple[int, int]:
        width, height = self.median
        scale = min(1.0, longest / max(width, height))
        return max(1, round(scale * width)), max(1, round(scale * height))


def survey(pictures: ImageFiles, white: int = WHITE) -> Survey:
    """Look at up to 500 pictures of the training split, evenly spread; its sides and ink decide.

    JPEGs of more than a million pixels are looked at in a reduced size. Smaller pictures are kept
    for `prepared_images`, 64 MiB of them at most, so that they are decoded once. `white` is the
    level of 16-bit grey that is white. An InputError names the place of a picture that cannot be
    read.
    """
    chosen = np.unique(np.linspace(0, len(pictures) - 1, _SURVEYED).round().astype(int))
    looks = list(decoded_in_parallel(pictures, chosen.tolist(), partial(_look, white=white)))
    widths, heights, coloured, dark = map(np.array, zip(*looks, strict=True))
    return Survey(
        pictures=len(chosen),
        widths=(int(widths.min()), int(widths.max())),
        heights=(int(heights.min()), int(heights.max())),
        median=_median(widths, heights),
        channels=3 if coloured.any() else 1,
        ink=_one_ink(dark),
        white=white,
    )


def _median(widths: NDArray[np.int64], heights: NDArray[np.int64]) -> tuple[float, float]:
    if (widths > heights).any() and (widths < heights).any():  # landscapes and portraits
        side = float(int(np.median(np.maximum(widths, heights))))
        return side, side
    return float(np.median(widths)), float(np.median(heights))


def ink_of(pictures: NDArray[Any]) -> str:
    """Tell the ink of `(n, height, width)` grey pictures: "dark", "bright" or "mixed"."""
    return _one_ink(looks_dark(pictures[..., None]))


def _one_ink(dark: NDArray[np.bool_]) -> str:
    share = float(np.mean(dark))
    return "dark" if share >= _ONE_INK else "bright" if share <= 1 - _ONE_INK else "mixed"


def decoded_in_parallel(
    pictures: ImageFiles, chosen: Sequence[int], function: Callable[[str], _T]
) -> Iterator[_T]:
    """Apply a function to pictures' paths on all cores, in order, a few ahead of what is taken.

    An InputError of the function names the place where the picture is listed.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and summing leave Python's lock
        waiting = deque(pool.submit(function, pictures.files[i]) for i in chosen[:_AHEAD])
        for number, index in enumerate(chosen):
            try:
                result = waiting.popleft().result()
            except InputError as error:
                for future in waiting:
                    future.cancel()
                place = pictures.places[index]
                where = "" if place == pictures.files[index] else f"{place}: "
                raise InputError(f"{where}{error}") from error
            if number + _AHEAD < len(chosen):
                waiting.append(pool.submit(function, pictures.files[chosen[number + _AHEAD]]))
            yield result


def _look(path: str, white: int) -> tuple[int, int, bool, bool]:
    """Return width, height, whether a picture is in colour, and whether it is dark on bright."""
    with opened(path, least=_LEAST) as picture:
        if (picture.width, picture.height) == picture.of:
            _kept.put(path, picture)
        tinted = 0
        if picture.channels > 2:
            for top, bottom in strips(picture):
                colours = picture.part(top, bottom)[..., :3].astype(np.int16)
                spread = colours.max(axis=-1) - colours.min(axis=-1)
                tinted += int(np.count_nonzero(spread > _TINT * 255))
        coloured = tinted > _COLOURED * picture.width * picture.height
        return *picture.of, coloured, bool(looks_dark(picture, white)[0])


class _Kept:
    """Decoded pictures that wait to be prepared; the oldest leave where there are too many."""

    def __init__(self) -> None:
        self.pictures: dict[tuple[str, tuple[int, ...]], NDArray[Any]] = {}
        self.bytes, self.lock = 0, threading.Lock()

    def put(self, path: str, picture: Picture) -> None:
        """Keep a picture, unless it alone is a quarter of what may be kept."""
        size = picture.width * picture.height * picture.channels * picture.dtype.itemsize
        if size > _MOST_KEPT // 4:
            return
        pixels = np.ascontiguousarray(picture.part(0, picture.height))
        self.take(path)
        with self.lock:
            self.pictures[path, stamp(path)] = pixels
            self.bytes += pixels.nbytes
            while self.bytes > _MOST_KEPT:
                self.bytes -= self.pictures.pop(next(iter(self.pictures))).nbytes

    def take(self, path: str) -> NDArray[Any] | None:
        """Return the pixels of a file that is as it was, if they are kept, and forget them."""
        with self.lock:
            pixels = self.pictures.pop((path, stamp(path)), None)
            self.bytes -= 0 if pixels is None else pixels.nbytes
        return pixels


_kept = _Kept()


def prepared_images(
    pictures: ImageFiles,
    settings: PixelSettings,
    root: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, list[int]]:
    """Prepare every picture of a split as its network sees it, unless the cache has them.

    The file's name is a hash of the pictures' paths, inodes, sizes, times of change and of the
    settings, which are `rounded`: changed pictures make another file. A damaged file is made anew.
    `clean` removes all.

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
        pixels = _kept.take(file)
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
    """Remove all prepared images and features below the cache folder; count files and bytes."""
    freed = usage(root)
    for name in (_FOLDER, FEATURES):
        shutil.rmtree(root / name, ignore_errors=True)
    return freed
