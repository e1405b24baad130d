"""The look of a folder's pictures, and the settings that follow for a network of them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kpairs.data.annotations import ImageFiles
from kpairs.data.decode import Picture, opened
from kpairs.data.listing import stamp
from kpairs.data.pixels import looks_dark, strips
from kpairs.data.settings import INKS, LONGEST_SIDE, PixelSettings
from kpairs.errors import InputError

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
    """

    pictures: int
    widths: tuple[int, int]
    heights: tuple[int, int]
    median: tuple[float, float]
    channels: int
    ink: str

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
        )

    def _size(self, longest: int) -> tuple[int, int]:
        width, height = self.median
        scale = min(1.0, longest / max(width, height))
        return max(1, round(scale * width)), max(1, round(scale * height))


def survey(pictures: ImageFiles) -> Survey:
    """Look at up to 500 pictures, evenly spread.

    JPEGs of more than a million pixels are looked at in a reduced size. Smaller pictures are kept
    for `taken`, 64 MiB of them at most, so that they are decoded once.

    Args:
        pictures: the training split; its sides and its ink decide, those of no other picture.

    Raises:
        InputError: a picture that cannot be read, named with its place.
    """
    chosen = np.unique(np.linspace(0, len(pictures) - 1, _SURVEYED).round().astype(int))
    looks = list(decoded_in_parallel(pictures, chosen.tolist(), _look))
    widths, heights, coloured, dark = map(np.array, zip(*looks, strict=True))
    return Survey(
        pictures=len(chosen),
        widths=(int(widths.min()), int(widths.max())),
        heights=(int(heights.min()), int(heights.max())),
        median=_median(widths, heights),
        channels=3 if coloured.any() else 1,
        ink=_one_ink(dark),
    )


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

    Raises:
        InputError: that of the function, with the place where the picture is listed.
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


def _look(path: str) -> tuple[int, int, bool, bool]:
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
        return *picture.of, coloured, bool(looks_dark(picture)[0])


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


def taken(path: str) -> NDArray[Any] | None:
    """Return the `(height, width, channels)` pixels that `survey` decoded, once, or None.

    Raises:
        InputError: no such file.
    """
    return _kept.take(path)


def _median(widths: NDArray[np.int64], heights: NDArray[np.int64]) -> tuple[float, float]:
    if (widths > heights).any() and (widths < heights).any():  # landscapes and portraits
        side = float(int(np.median(np.maximum(widths, heights))))
        return side, side
    return float(np.median(widths)), float(np.median(heights))
