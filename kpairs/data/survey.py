"""What a folder's pictures are like, and the settings that follow for a network of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kpairs.data.decode import decode
from kpairs.data.annotations import ImageFiles
from kpairs.data.pixels import looks_dark
from kpairs.data.settings import INKS, PixelSettings
from kpairs.errors import InputError

_T = TypeVar("_T")
_AHEAD = 64  # pictures that are decoded ahead of what is taken
_SURVEYED = 500  # pictures that are looked at, evenly over the grades
_LONGEST_SIDE = 64  # of a network's input, where the user says nothing
_ONE_INK = 0.98  # share of pictures that decides what the pictures are
# A picture is in colour where more than this share of its pixels has channels that differ by more
# than this share of white: JPEG gives greys a tint of a few levels.
_COLOURED, _TINT = 1e-3, 32 / 255


@dataclass(frozen=True)
class Survey:
    """What the surveyed pictures are like.

    Attributes:
        pictures: how many were looked at.
        widths, heights: smallest and largest.
        size: `(width, height)` that suits a network: all pictures' own size where they have one of
            at most 64x64, else the medians' shape with a longer side of at most 64.
        channels: 3 where a picture has colour, else 1.
        ink: "dark" or "bright" where at least 98 % look so, else "mixed".
    """

    pictures: int
    widths: tuple[int, int]
    heights: tuple[int, int]
    size: tuple[int, int]
    channels: int
    ink: str

    @property
    def are_photographs(self) -> bool:
        """Whether the pictures are in colour or of no one ink, as drawings are not."""
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
    ) -> PixelSettings:
        """The settings of a network for these pictures; what is given counts, the rest follows."""
        width, height = size or self.size
        return PixelSettings(
            height=height,
            width=width,
            channels=channels or self.channels,
            fit=fit or "pad",
            ink=ink or self.ink,
            rounded=True,
        )


def survey(pictures: ImageFiles) -> Survey:
    """Look at up to 500 pictures, evenly spread.

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
        size=_size(widths, heights),
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
    with ThreadPoolExecutor() as pool:  # decoding and summing leave Python's lock
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
    """A picture's width and height, whether it is in colour, and whether it is dark on bright."""
    picture = decode(path)
    coloured = False
    if picture.shape[-1] > 2:
        spread = np.ptp(picture[..., :3].astype(np.int32), axis=-1)
        coloured = bool(np.mean(spread > _TINT * np.iinfo(picture.dtype).max) > _COLOURED)
    return picture.shape[1], picture.shape[0], coloured, bool(looks_dark(picture[None])[0])


def _size(widths: NDArray[np.int64], heights: NDArray[np.int64]) -> tuple[int, int]:
    if (widths > heights).any() and (widths < heights).any():  # landscapes and portraits
        side = min(_LONGEST_SIDE, int(np.median(np.maximum(widths, heights))))
        return side, side
    width, height = float(np.median(widths)), float(np.median(heights))
    scale = min(1.0, _LONGEST_SIDE / max(width, height))
    return max(1, round(scale * width)), max(1, round(scale * height))
