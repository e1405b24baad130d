"""Pictures made a network's input: decided once, done the same everywhere.

Training, evaluation, exports' parity checks and prediction all call `prepare` with the settings
that the training stored. NumPy and Pillow only. Pixels are summed as whole numbers, so that the
result depends neither on the processor, nor on what else is in the batch, nor (but for large JPEG
files) on whether a picture came as a file or as an array. Large pictures are summed some rows at a
time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpairs.data.decode import Picture, check_range, opened
from kpairs.data.settings import DIGITS, INKS, WHITE, PixelSettings
from kpairs.errors import InputError, printable

# Grey levels of 0..255 where nothing is drawn: behind transparent pixels and in the padding.
_PAPER = {"bright": 0, "dark": 255, "mixed": 128}
_LUMINANCE = 1000  # what the weights of red, green and blue add up to
_MOST_PADDED = 2**27  # pixels, half as many again as Pillow decodes
_AT_ONCE = 2**20  # values that are looked at together: 8 MiB where they are summed
_COLUMNS = 16  # areas whose columns are summed together
_FAINT = 10  # a 16-bit picture is faint where it uses less than this part of its range


class InkWarning(UserWarning):
    """A picture that is not like those the network learned from: other ink, or almost black."""


class Prepared(NamedTuple):
    """Pictures as a network takes them.

    Attributes:
        pixels: `(n, height, width, channels)` float32 in [0, 1].
        inverted: `(n,)` bool: whether greys were inverted.
        doubtful: `(n,)` bool: pictures whose ink is not what the settings say.
        faint: `(n,)` bool: 16-bit pictures that use less than a tenth of their range.
    """

    pixels: NDArray[np.float32]
    inverted: NDArray[np.bool_]
    doubtful: NDArray[np.bool_]
    faint: NDArray[np.bool_]


def prepare(pictures: Any, settings: PixelSettings = DIGITS, name: str = "images") -> Prepared:
    """Turn pictures into a network's input.

    In order: transparent pixels are laid over the paper's colour; colours become luminance where
    the network is for grey, grey becomes RGB where it is for colour; grey that is dark on bright is
    inverted; then the picture is fitted, each pixel being the mean over its area. A JPEG file of
    more than a million pixels is decoded at 1/2, 1/4 or 1/8 of its size, if that is at least twice
    the network's: a third of the time for one of 12 megapixels.

    Args:
        pictures: a path, a file in memory (`io.BytesIO`), a Pillow image, an array, or a sequence
            of these. Arrays are uint8 or
            uint16 over their full range, bool, or float in [0, 1]; `(h, w)`, `(h, w, 1 | 3 | 4)`,
            `(n, h, w)` or `(n, h, w, 1 to 4)`, where 2 and 4 channels end in opacity.
        settings: of the network.
        name: what to call arrays in errors.

    Returns:
        The pixels, and which of the pictures were inverted, contradict the settings' ink, and use
        little of their range.

    Raises:
        InputError: a file that cannot be read, another dtype or shape, no pixels, NaN or infinite
            ones, floats outside [0, 1], 16-bit levels above the settings' white; for a network
            of colours `(3, h, w)`, which may be three grey pictures or one in colour.
    """
    if settings.features:
        return _prepared_features(pictures, settings, name)
    if isinstance(pictures, Sequence) and not isinstance(pictures, str):
        each = [prepare(picture, settings, name) for picture in pictures]
        return _joined(each or [prepare(np.zeros((0, 1, 1, 1), np.uint8), settings, name)])
    if isinstance(pictures, str | Path | BytesIO) or hasattr(pictures, "getbands"):
        name = str(pictures) if isinstance(pictures, str | Path) else name
        # Twice the network's side: the areas, and not JPEG's reduction, decide the last step.
        with opened(pictures, name, 2 * max(settings.height, settings.width)) as picture:
            return _prepare(_of_picture(picture, settings), settings, name)
    batch = _as_batch(np.asarray(pictures), settings, name)
    _check_levels(batch, name)
    step = max(1, _AT_ONCE // (prod(batch.shape[1:]) or 1))
    blocks = [batch[i : i + step] for i in range(0, len(batch), step)] or [batch]
    return _joined([_prepare(_of_array(b, settings, name), settings, name) for b in blocks])


def _prepared_features(rows: Any, settings: PixelSettings, name: str) -> Prepared:
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "fiu":
        received = f"{type(rows).__name__}, as of pictures"
    elif rows.shape[1:] not in (settings.shape, (settings.width,)):
        received = f"shape {rows.shape}"
    elif not np.isfinite(rows).all():
        received = "NaN or infinite ones"
    else:
        nowhere = np.zeros(len(rows), np.bool_)
        pixels = rows.astype(np.float32).reshape(len(rows), *settings.shape)
        return Prepared(pixels, nowhere, nowhere, nowhere)
    raise InputError(
        f"{name}: expected an array (n, {settings.width}) of features, which this network takes, "
        f"received {received}"
    )


def _joined(parts: list[Prepared]) -> Prepared:
    if len(parts) == 1:
        return parts[0]
    return Prepared(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def to_pixels(
    pictures: Any, settings: PixelSettings = DIGITS, name: str = "images"
) -> NDArray[np.float32]:
    """Return the pixels that `prepare` gives, and warn of ink that contradicts the settings.

    Warns:
        InkWarning: how many pictures do, or use little of their range, and which is the first.
    """
    pixels, _, doubtful, faint = prepare(pictures, settings, name)
    for odd, told in ((doubtful, contradiction), (faint, faintness)):
        if odd.any():
            first = f"{name} {np.argmax(odd)}"
            said = told(int(np.count_nonzero(odd)), len(odd), first, settings)
            warnings.warn(said, InkWarning, stacklevel=2)
    return pixels


def contradiction(count: int, of: int, first: str, settings: PixelSettings) -> str:
    """Say how many pictures contradict the settings' ink, and which is the first."""
    other = "dark" if settings.ink == "bright" else "bright"
    return (
        f"{count:,} of {of:,} pictures look {INKS[other]}, the first is {printable(first)}; the "
        f"network is for pictures that are {INKS[settings.ink]}, and its answers on others mean "
        "nothing"
    )


def faintness(count: int, of: int, first: str, settings: PixelSettings) -> str:
    """Say how many 16-bit pictures use little of their range, and which is the first."""
    return (
        f"{count:,} of {of:,} pictures have 16 bits and use less than a tenth of the levels up to "
        f"{settings.white:,}, the first is {printable(first)}; they look almost black. If white is "
        "a lower level, such as 4095 for 12 bits, label and train with --white 4095"
    )


def looks_dark(pictures: NDArray[Any] | Picture, white: int = WHITE) -> NDArray[np.bool_]:
    """Return which pictures are dark on bright, by what is drawn on nothing, else by their borders.

    A picture with transparent pixels is laid over white where its opaque ones are dark on average,
    else over black. Then a picture is dark on bright where more than half of its outermost pixels
    are brighter than mid-grey.

    Args:
        pictures: `(n, height, width, 1 to 4)` of a dtype that `prepare` takes, or one that is open.
        white: level of an open picture's 16-bit grey that is white.

    Returns:
        `(n,)` bool.
    """
    if isinstance(pictures, Picture):
        return _looks_dark(_of_picture(pictures, replace(DIGITS, white=white)))
    return _looks_dark(_Source(pictures.shape, lambda *box: _part(pictures, *box)))


def strips(picture: Picture) -> list[tuple[int, int]]:
    """Return first and last rows of the strips in which an open picture is read, 1 MiB each."""
    return _of_picture(picture, DIGITS).strips(0, picture.height, 0, picture.width)


@dataclass(frozen=True)
class _Source:
    """Pictures whose levels are taken some rows at a time.

    Attributes:
        shape: `(n, height, width, channels)`.
        part: gives the levels between two rows and two columns.
        deep: levels are 16-bit ones of the picture itself.
    """

    shape: tuple[int, ...]
    part: Callable[[int, int, int, int], NDArray[Any]]
    deep: bool = False

    def strips(self, top: int, bottom: int, left: int, right: int) -> list[tuple[int, int]]:
        """Return first and last rows of the strips that are taken together."""
        count, _, _, channels = self.shape
        step = max(1, _AT_ONCE // (count * (right - left) * channels or 1))
        return [(row, min(row + step, bottom)) for row in range(top, bottom, step)]


def _part(pictures: NDArray[Any], top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
    return pictures[:, top:bottom, left:right]


def _of_array(batch: NDArray[Any], settings: PixelSettings, name: str) -> _Source:
    deep = batch.dtype == np.uint16
    if batch.dtype == np.bool_:
        batch = batch.astype(np.uint8) * np.uint8(255)
    elif deep:
        batch = _scaled(batch, settings, name)
    elif batch.dtype != np.uint8 and not _stay_floats(batch.shape, settings):
        batch = _in_16_bits(batch)
    return _Source(batch.shape, lambda *box: _part(batch, *box), deep)


def _of_picture(picture: Picture, settings: PixelSettings) -> _Source:
    shape = (1, picture.height, picture.width, picture.channels)

    def part(*box: int) -> NDArray[Any]:
        levels = picture.part(*box)[None]
        if picture.dtype == np.uint16:
            return _scaled(levels, settings, picture.name)
        if picture.dtype == np.uint8 or _stay_floats(shape, settings):
            return levels
        return _in_16_bits(levels)

    return _Source(shape, part, picture.dtype == np.uint16)


def _stay_floats(shape: tuple[int, ...], settings: PixelSettings) -> bool:
    """Return whether nothing is done to floats of this shape but inversion."""
    return shape[1:] == settings.shape and not settings.rounded


def _as_batch(array: NDArray[Any], settings: PixelSettings, name: str) -> NDArray[Any]:
    """Return an array of any accepted shape as `(n, height, width, channels)`."""
    if array.ndim == 2:
        return array[None, ..., None]
    if array.ndim == 3 and array.shape[-1] in (1, 3, 4):  # one picture, which ends in channels
        return array[None]
    if array.ndim == 3 and (len(array) != 3 or settings.channels == 1):
        return array[..., None]
    if array.ndim == 4 and 1 <= array.shape[-1] <= 4:
        return array
    if array.ndim == 3:
        raise InputError(
            f"{name}: received shape {array.shape}, which may be one picture, its channels first, "
            "or three grey ones; expected (height, width, 3), as np.moveaxis(x, 0, -1) gives, or "
            "(3, height, width, 1), as x[..., None] gives"
        )
    first = " (channels first? np.moveaxis(x, 1, -1))" if array.ndim == 4 else ""
    raise InputError(
        f"{name}: expected shape (n, height, width) or (n, height, width, 1 or 3), or one picture "
        f"(height, width), received {array.shape}{first}"
    )


def _check_levels(batch: NDArray[Any], name: str) -> None:
    if np.issubdtype(batch.dtype, np.floating):
        check_range(batch, name)
    elif batch.dtype not in (np.uint8, np.uint16, np.bool_):
        raise InputError(
            f"{name}: expected uint8 in 0..255, uint16 in 0..65535 or float in [0, 1], received "
            f"{batch.dtype}"
        )


def _scaled(levels: NDArray[np.uint16], settings: PixelSettings, name: str) -> NDArray[np.uint16]:
    """Return 16-bit levels so that the settings' white becomes 65535."""
    white = np.uint32(settings.white)
    if white == WHITE:
        return levels
    if levels.size and levels.max() > white:
        raise InputError(
            f"{name}: expected levels up to {white}, which is white; received {levels.max()}"
        )
    return ((levels * np.uint32(WHITE) + white // np.uint32(2)) // white).astype(np.uint16)


def _in_16_bits(floats: NDArray[Any]) -> NDArray[np.uint16]:
    """Return floats in [0, 1] as levels; k / 255 gives 257 k, so that it goes on as k of 255."""
    return np.rint(floats * np.float64(65535)).astype(np.uint16)


def _prepare(source: _Source, settings: PixelSettings, name: str) -> Prepared:
    """Prepare pictures of one size."""
    count, height, width, _ = source.shape
    if 0 in (height, width):
        raise InputError(
            f"{name}: expected pictures of 1x1 pixels or more, received {source.shape}"
        )
    if settings.fit == "pad" and prod(_padded((height, width), settings)) > _MOST_PADDED:
        raise InputError(
            f"{name}: expected pictures that padding makes no larger than {_MOST_PADDED:,} pixels, "
            f"received {width}x{height} (width x height)"
        )
    known, expected = settings.ink in ("bright", "dark"), settings.ink == "dark"
    dark = _looks_dark(source) if settings.ink != "mixed" else np.zeros(count, np.bool_)
    doubtful = dark != expected if known else np.zeros(count, np.bool_)
    dark = np.full(count, expected) if known else dark
    paper = np.where(dark, _PAPER["dark"], _PAPER["bright"])
    if settings.ink == "mixed":
        paper = np.full(count, _PAPER["mixed"])
    inverted = dark & (settings.channels == 1)
    brightest = np.zeros(count)

    def seen(*box: int) -> tuple[NDArray[Any], int]:
        """Return levels of the network's channels, inverted where that is to be, and white."""
        images = source.part(*box)
        if source.deep:
            np.maximum(brightest, images.max(axis=(1, 2, 3), initial=0), out=brightest)
        images = _flattened(images, paper)
        top = _top(images.dtype)
        if settings.channels == 1 and images.shape[-1] == 3:
            images, top = _luminance(images), _LUMINANCE * top
        elif settings.channels == 3 and images.shape[-1] == 1:
            images = np.repeat(images, 3, axis=-1)
        if inverted.any():
            turned = images.dtype.type(top) - images
            images = np.where(inverted[:, None, None, None], turned, images)
        return images, top

    first, top = seen(0, 1, 0, 1)
    if np.issubdtype(first.dtype, np.floating):  # of the network's own shape
        pixels, _ = seen(0, height, 0, width)
    else:
        shown = np.where(inverted, 255 - paper, paper) * (top // 255)
        sums, area = _area_sums(source, seen, shown, settings)
        if settings.rounded:  # by a whole number, so that a mean of k + 1/2 is seen as such
            pixels = np.rint(sums / (area * (top // 255))) / 255
        else:
            pixels = sums / (area * top)
    faint = (brightest > 0) & (brightest * _FAINT < WHITE)
    return Prepared(pixels.astype(np.float32, copy=False), inverted, doubtful, faint)


def _top(dtype: np.dtype[Any]) -> int:
    """Return the level of white."""
    return int(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1


def _looks_dark(source: _Source) -> NDArray[np.bool_]:
    count, height, width, channels = source.shape
    edges = [(0, 1, 0, width), (height - 1, height, 0, width)]
    edges += [(0, height, 0, 1), (0, height, width - 1, width)]
    parts = [source.part(*edge) for edge in edges]
    border = np.concatenate([p.reshape(count, max(p.shape[1:3]), channels) for p in parts], axis=1)
    if channels > 1 and np.issubdtype(border.dtype, np.floating):
        border = _in_16_bits(border)
    if channels in (2, 4):
        border = _flattened(border[:, None], np.where(_has_dark_ink(source), 255, 0))[:, 0]
    top = _top(border.dtype)
    if border.shape[-1] == 3:
        border, top = _luminance(border), _LUMINANCE * top
    return (border[..., 0] > top / 2).mean(axis=1) > 0.5


def _has_dark_ink(source: _Source) -> NDArray[np.bool_]:
    """Return whether opaque pixels are dark; False where none is transparent, and where all are."""
    count, height, width, channels = source.shape
    clear = np.zeros(count, np.bool_)
    ink: Any = 0  # in Python's whole numbers where a picture has several strips
    for number, (a, b) in enumerate(source.strips(0, height, 0, width)):
        levels = source.part(a, b, 0, width)
        if np.issubdtype(levels.dtype, np.floating):
            levels = _in_16_bits(levels)
        top, opacity = _top(levels.dtype), levels[..., -1].astype(np.int64)
        grey = _luminance(levels) if channels == 4 else levels[..., :1]
        white = _LUMINANCE * top if channels == 4 else top
        clear |= opacity.min(axis=(1, 2)) < top
        brighter = ((2 * grey[..., 0].astype(np.int64) - white) * opacity).sum(axis=(1, 2))
        ink = ink + (brighter.astype(object) if number else brighter)
    return clear & np.asarray(ink < 0, np.bool_)


def _flattened(pictures: NDArray[Any], paper: NDArray[Any]) -> NDArray[Any]:
    """Lay pictures with opacity over each one's paper, in 16 bits; others stay.

    Args:
        pictures: `(n, height, width, 1 to 4)` uint8 or uint16, or floats without opacity.
        paper: `(n,)` levels of 0 to 255.
    """
    if pictures.shape[-1] in (1, 3):
        return pictures
    deep = pictures.astype(np.uint32) * np.uint32(65535 // _top(pictures.dtype))
    opacity, white = deep[..., -1:], np.uint32(65535)  # its square still fits 32 bits
    behind = (paper * 257).astype(np.uint32)[:, None, None, None] * (white - opacity)
    mixed = deep[..., :-1] * opacity + behind + white // np.uint32(2)
    return (mixed // white).astype(np.uint16)


def _luminance(pictures: NDArray[Any]) -> NDArray[np.uint32]:
    """Return ITU-R 601 luminance of RGB, `_LUMINANCE` times as large: a whole number."""
    grey = np.zeros(pictures.shape[:-1], np.uint32)
    for channel, weight in enumerate((299, 587, 114)):
        grey += pictures[..., channel] * np.uint32(weight)
    return grey[..., None]


def _padded(size: tuple[int, ...], settings: PixelSettings) -> tuple[int, int]:
    """Return the height and width to which a picture is padded."""
    most = max(size[0] * settings.width, size[1] * settings.height)
    return -(-most // settings.width), -(-most // settings.height)


def _canvas(size: tuple[int, int], settings: PixelSettings) -> tuple[int, int, int, int]:
    """Return the rectangle of a picture that a network sees; padding lies outside the picture.

    Returns:
        Its first row and column, and its height and width, up to a whole number of pixels.
    """
    height, width = size
    if settings.fit == "pad":
        height, width = _padded(size, settings)
    elif settings.fit == "crop":
        least = min(height * settings.width, width * settings.height)
        height, width = max(1, least // settings.width), max(1, least // settings.height)
    inside = -((height - size[0]) // 2), -((width - size[1]) // 2)
    if settings.fit == "crop":
        inside = (size[0] - height) // 2, (size[1] - width) // 2
    return *inside, height, width


def _area_sums(
    source: _Source,
    seen: Callable[..., tuple[NDArray[Any], int]],
    paper: NDArray[Any],
    settings: PixelSettings,
) -> tuple[NDArray[Any], int]:
    """Sum the levels over each area, in units that pixels and areas both are whole numbers of.

    Args:
        source: the pictures.
        seen: gives a rectangle's levels, and white.
        paper: `(n,)` levels of the padding.
        settings: of the network.

    Returns:
        `(n, height, width, channels)` whole numbers, and how many units an area has.
    """
    count, height, width, _ = source.shape
    top, left, rows, columns = _canvas((height, width), settings)
    if (
        (top, left, rows, columns)
        == (0, 0, settings.height, settings.width)
        == (0, 0, height, width)
    ):
        return seen(0, height, 0, width)[0], 1
    box = max(0, top), min(height, top + rows), max(0, left), min(width, left + columns)
    across = _shares(box[2] - left, box[3] - left, columns, settings.width)
    area = _units(rows, settings.height)[1] * _units(columns, settings.width)[1]
    sums = np.zeros((count, *settings.shape))
    inside = np.zeros((settings.height, 1, 1))  # units of rows that lie in the picture
    for a, b in source.strips(*box):
        levels, white = seen(a, b, *box[2:])
        # float32 adds whole numbers up to 2^24 exactly; float64 the largest sum that there is,
        # over 89 million pixels of 1000 * 65535.
        exact = np.float32 if area * white < 2**24 else np.float64
        down = _shares(a - top, b - top, rows, settings.height)
        part = _across(_down(levels, down, exact), across)
        sums[:, down.areas, across.areas] += part
        inside[down.areas, 0, 0] += down.units.sum(axis=1)
    covered = np.zeros((1, settings.width, 1))
    covered[0, across.areas, 0] = across.units.sum(axis=1)
    sums += paper[:, None, None, None] * (area - inside * covered)
    return sums, area


class _Shares(NamedTuple):
    """Pixels of some areas along one side, each of as many.

    Attributes:
        areas: the areas.
        pixels: `(areas, k)` numbers of pixels.
        units: `(areas, k)` how many units of each pixel lie in the area, perhaps 0.
        whole: whether each area is of k pixels alone, one area after the other.
    """

    areas: slice
    pixels: NDArray[np.int64]
    units: NDArray[np.int64]
    whole: bool


def _units(pixels: int, areas: int) -> tuple[int, int]:
    """Return the units that a pixel, and an area, of a side is long."""
    common = math.gcd(pixels, areas)
    return areas // common, pixels // common


@lru_cache(64)  # pictures of a folder often have the same size
def _shares(start: int, end: int, pixels: int, areas: int) -> _Shares:
    """Return the areas that the pixels from `start` to `end` of a side lie in."""
    unit, long = _units(pixels, areas)
    found = np.arange(start * unit // long, -(-end * unit // long))
    first = np.maximum(found * long, start * unit)
    last = np.minimum((found + 1) * long, end * unit)
    most = int((-(-last // unit) - first // unit).max(initial=0))
    each = (first // unit)[:, None] + np.arange(most)
    units = np.minimum(last[:, None], (each + 1) * unit) - np.maximum(first[:, None], each * unit)
    numbers = np.minimum(each, end - 1) - start
    units = np.maximum(units, 0)
    whole = np.array_equal(numbers.ravel(), np.arange(end - start)) and bool((units == 1).all())
    return _Shares(slice(found[0], found[-1] + 1), numbers, units, whole)


def _down(levels: NDArray[Any], shares: _Shares, exact: type) -> NDArray[Any]:
    """Sum the rows of each area: (n, h, w, c) -> (n, areas, w, c) of the type `exact`."""
    count, _, width, channels = levels.shape
    areas, each = shares.pixels.shape
    if shares.whole:
        rows = levels.reshape(count, areas, each, width * channels)
        return rows.sum(2, dtype=exact).reshape(count, areas, width, channels)
    levels = levels.astype(exact)
    total: NDArray[Any] = np.zeros((count, areas, width, channels), exact)
    for pixels, units in zip(shares.pixels.T, shares.units.T, strict=True):
        taken = levels.take(pixels, axis=1)
        taken *= units.astype(exact)[:, None, None]
        total += taken
    return total


def _across(rows: NDArray[Any], shares: _Shares) -> NDArray[Any]:
    """Sum the columns of each area: (n, h, w, c) -> (n, h, areas, c), by matrix products.

    Small products alone, because numpy's BLAS gives larger ones to threads, which wait for each
    other on a busy machine.
    """
    areas, each = shares.pixels.shape
    *outer, _, channels = rows.shape
    if shares.whole:  # the pixels of an area lie side by side
        ones = np.tile(np.eye(channels, dtype=rows.dtype), (each, 1))
        return (rows.reshape(-1, each * channels) @ ones).reshape(*outer, areas, channels)
    total = np.empty((*outer, areas, channels), rows.dtype)
    for start in range(0, areas, _COLUMNS):
        block = slice(start, start + _COLUMNS)
        first, last = shares.pixels[block].min(), shares.pixels[block].max() + 1
        units = np.zeros((len(shares.pixels[block]), last - first), rows.dtype)
        places = np.arange(len(units))[:, None], shares.pixels[block] - first
        np.add.at(units, places, shares.units[block])
        np.matmul(units, rows[:, :, first:last], out=total[:, :, block])
    return total
