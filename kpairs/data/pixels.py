"""What happens to a picture before a network sees it: decided once, done the same everywhere.

Training, evaluation, exports' parity checks and prediction all call `prepare` with the settings
that the training stored. NumPy and Pillow only. Pixels are summed as whole numbers, so that the
result depends neither on the processor, nor on what else is in the batch, nor on whether a picture
came as a file or as an array.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpairs.data.decode import check_range, decode
from kpairs.data.settings import DIGITS, INKS, PixelSettings
from kpairs.errors import InputError

# Grey levels of 0..255 where nothing is drawn: behind transparent pixels and in the padding.
_PAPER = {"bright": 0, "dark": 255, "mixed": 128}
_LUMINANCE = 1000  # what the weights of red, green and blue add up to
_MOST_PADDED = 2**27  # pixels, half as many again as Pillow decodes
_AT_ONCE = 2**22  # values that are summed in 64 bits at a time: 32 MiB


class InkWarning(UserWarning):
    """A picture that is dark on bright where a network learned from bright on dark, or reversed."""


class Prepared(NamedTuple):
    """Pictures as a network takes them.

    Attributes:
        pixels: `(n, height, width, channels)` float32 in [0, 1].
        inverted: `(n,)` bool: whether greys were inverted.
        doubtful: `(n,)` bool: pictures whose ink is not what the settings say.
    """

    pixels: NDArray[np.float32]
    inverted: NDArray[np.bool_]
    doubtful: NDArray[np.bool_]


def prepare(pictures: Any, settings: PixelSettings = DIGITS, name: str = "images") -> Prepared:
    """Turn pictures into a network's input.

    In order: transparent pixels are laid over the paper's colour; colours become luminance where
    the network is for grey, grey becomes RGB where it is for colour; grey that is dark on bright is
    inverted; then the picture is fitted, each pixel being the mean over its area.

    Args:
        pictures: a path, a Pillow image, an array, or a sequence of these. Arrays are uint8 or
            uint16 over their full range, bool, or float in [0, 1]; `(h, w)`, `(h, w, 1 | 3 | 4)`,
            `(n, h, w)` or `(n, h, w, 1 to 4)`, where 2 and 4 channels end in opacity.
        settings: of the network.
        name: what to call arrays in errors.

    Returns:
        The pixels, which of the pictures were inverted, and which contradict the settings' ink.

    Raises:
        InputError: a file that cannot be read, another dtype or shape, no pixels, NaN or infinite
            ones, floats outside [0, 1].
    """
    if isinstance(pictures, Sequence) and not isinstance(pictures, str):
        each = [prepare(picture, settings, name) for picture in pictures]
        none = [prepare(np.zeros((0, 1, 1, 1), np.uint8), settings, name)] if not each else []
        return Prepared(*(np.concatenate(part) for part in zip(*(each or none), strict=True)))
    if isinstance(pictures, str | Path):
        return _prepare(decode(pictures)[None], settings, str(pictures))
    if hasattr(pictures, "getbands"):
        return _prepare(decode(pictures, name)[None], settings, name)
    return _prepare(_as_batch(np.asarray(pictures), name), settings, name)


def to_pixels(
    pictures: Any, settings: PixelSettings = DIGITS, name: str = "images"
) -> NDArray[np.float32]:
    """As `prepare`, for the pixels alone; ink that contradicts the settings gives a warning.

    Warns:
        InkWarning: how many pictures do, and which is the first.
    """
    pixels, _, doubtful = prepare(pictures, settings, name)
    if doubtful.any():
        first = f"{name} {np.argmax(doubtful)}"
        said = contradiction(int(np.count_nonzero(doubtful)), len(doubtful), first, settings)
        warnings.warn(said, InkWarning, stacklevel=2)
    return pixels


def contradiction(count: int, of: int, first: str, settings: PixelSettings) -> str:
    """Say how many pictures contradict the settings' ink, and which is the first."""
    other = "dark" if settings.ink == "bright" else "bright"
    return (
        f"{count:,} of {of:,} pictures look {INKS[other]}, the first is {first}; the network is "
        f"for pictures that are {INKS[settings.ink]}, and its answers on others mean nothing"
    )


def looks_dark(pictures: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which pictures are dark on bright, by what is drawn on nothing, else by their borders.

    A picture with transparent pixels is laid over white where its opaque ones are dark on average,
    else over black. Then a picture is dark on bright where more than half of its outermost pixels
    are brighter than mid-grey.

    Args:
        pictures: `(n, height, width, 1 to 4)` of a dtype that `prepare` takes.

    Returns:
        `(n,)` bool.
    """
    border = np.concatenate(
        [pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]], axis=1
    )
    if border.shape[-1] == 3 and np.issubdtype(border.dtype, np.floating):
        border = _in_16_bits(border)
    if pictures.shape[-1] in (2, 4):
        border = _flattened(border[:, None], np.where(_has_dark_ink(pictures), 255, 0))[:, 0]
    top = _top(border.dtype)
    if border.shape[-1] == 3:
        border, top = _luminance(border), _LUMINANCE * top
    return (border[..., 0] > top / 2).mean(axis=1) > 0.5


def _as_batch(array: NDArray[Any], name: str) -> NDArray[Any]:
    """An array of any accepted shape as `(n, height, width, channels)`."""
    if array.ndim == 2:
        return array[None, ..., None]
    if array.ndim == 3:  # one picture if it ends in channels
        return array[None] if array.shape[-1] in (1, 3, 4) else array[..., None]
    if array.ndim == 4 and 1 <= array.shape[-1] <= 4:
        return array
    raise InputError(
        f"{name}: expected shape (n, height, width) or (n, height, width, 1 or 3), or one picture "
        f"(height, width), received {array.shape}"
    )


def _prepare(batch: NDArray[Any], settings: PixelSettings, name: str) -> Prepared:
    """`prepare` for `(n, height, width, channels)` arrays, so many at a time as memory likes."""
    size, channels = batch.shape[1:3], batch.shape[-1]
    if 0 in size:
        raise InputError(f"{name}: expected pictures of 1x1 pixels or more, received {batch.shape}")
    if settings.fit == "pad" and prod(_padded(size, settings)) > _MOST_PADDED:
        raise InputError(
            f"{name}: expected pictures that padding makes no larger than {_MOST_PADDED:,} pixels, "
            f"received {size[1]}x{size[0]} (width x height)"
        )
    batch = _as_levels(batch, (*size, channels) == settings.shape and not settings.rounded, name)
    step = max(1, _AT_ONCE // (size[0] * size[1] * channels))
    blocks = [batch[i : i + step] for i in range(0, len(batch), step)] or [batch]
    parts = [_prepare_block(block, settings) for block in blocks]
    if len(parts) == 1:
        return parts[0]
    return Prepared(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _as_levels(batch: NDArray[Any], as_they_are: bool, name: str) -> NDArray[Any]:
    """Whole numbers from 0 to `_top`; floats stay where nothing is done to them but inversion."""
    if batch.dtype == np.bool_:
        return batch.astype(np.uint8) * np.uint8(255)
    if batch.dtype in (np.uint8, np.uint16):
        return batch
    if not np.issubdtype(batch.dtype, np.floating):
        raise InputError(
            f"{name}: expected uint8 in 0..255, uint16 in 0..65535 or float in [0, 1], received "
            f"{batch.dtype}"
        )
    check_range(batch, name)
    return batch if as_they_are else _in_16_bits(batch)


def _in_16_bits(floats: NDArray[Any]) -> NDArray[np.uint16]:
    """Floats in [0, 1] as levels; k / 255 gives 257 k, so that it goes on as k of 255 does."""
    return np.rint(floats * np.float64(65535)).astype(np.uint16)


def _prepare_block(batch: NDArray[Any], settings: PixelSettings) -> Prepared:
    count = len(batch)
    known, expected = settings.ink in ("bright", "dark"), settings.ink == "dark"
    dark = looks_dark(batch) if settings.ink != "mixed" else np.zeros(count, np.bool_)
    doubtful = dark != expected if known else np.zeros(count, np.bool_)
    dark = np.full(count, expected) if known else dark
    paper = np.where(dark, _PAPER["dark"], _PAPER["bright"])
    if settings.ink == "mixed":
        paper = np.full(count, _PAPER["mixed"])
    images = _flattened(batch, paper)
    top = _top(images.dtype)
    if settings.channels == 1 and images.shape[-1] == 3:
        images, top = _luminance(images), _LUMINANCE * top
    elif settings.channels == 3 and images.shape[-1] == 1:
        images = np.repeat(images, 3, axis=-1)
    inverted = dark & (settings.channels == 1)
    if inverted.any():
        images = np.where(inverted[:, None, None, None], images.dtype.type(top) - images, images)
        paper = np.where(inverted, 255 - paper, paper)
    if np.issubdtype(images.dtype, np.floating):  # of the network's own shape
        return Prepared(images.astype(np.float32, copy=False), inverted, doubtful)
    if settings.fit != "stretch":
        images = _reshaped(images, paper * (top // 255), settings)
    sums, area = _area_sums(images, settings.height, settings.width)
    if settings.rounded:  # by a whole number, so that a mean of k + 1/2 is seen as such
        pixels = np.rint(sums / (area * (top // 255))) / 255
    else:
        pixels = sums / (area * top)
    return Prepared(pixels.astype(np.float32), inverted, doubtful)


def _top(dtype: np.dtype[Any]) -> int:
    """The level of white."""
    return int(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1


def _has_dark_ink(pictures: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether what is opaque is dark; False where nothing is transparent, and where all is."""
    top, opacity = _top(pictures.dtype), pictures[..., -1].astype(np.float64)
    colours = pictures[..., :-1]
    scale = _LUMINANCE * top if colours.shape[-1] == 3 else top
    grey = _luminance(colours)[..., 0] if colours.shape[-1] == 3 else colours[..., 0]
    ink, total = (grey * opacity).sum(axis=(1, 2)), opacity.sum(axis=(1, 2))
    return (opacity.min(axis=(1, 2)) < top) & (2 * ink < scale * total)


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
    """ITU-R 601 luminance of RGB, `_LUMINANCE` times as large, so that it is a whole number."""
    grey = np.zeros(pictures.shape[:-1], np.uint32)
    for channel, weight in enumerate((299, 587, 114)):
        grey += pictures[..., channel] * np.uint32(weight)
    return grey[..., None]


def _padded(size: tuple[int, ...], settings: PixelSettings) -> tuple[int, int]:
    """The height and width to which a picture is padded."""
    most = max(size[0] * settings.width, size[1] * settings.height)
    return -(-most // settings.width), -(-most // settings.height)


def _reshaped(images: NDArray[Any], paper: NDArray[Any], settings: PixelSettings) -> NDArray[Any]:
    """Pad or crop to the network's aspect ratio, up to a whole number of pixels."""
    height, width = images.shape[1:3]
    scales = height * settings.width, width * settings.height
    if settings.fit == "crop":
        height, width = (max(1, min(scales) // n) for n in (settings.width, settings.height))
        top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
        return images[:, top : top + height, left : left + width]
    size = _padded((height, width), settings)
    if size == (height, width):
        return images
    padded = np.empty((len(images), *size, images.shape[-1]), images.dtype)
    padded[:] = paper[:, None, None, None]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    padded[:, top : top + height, left : left + width] = images
    return padded


def _area_sums(images: NDArray[Any], height: int, width: int) -> tuple[NDArray[Any], int]:
    """The sum over each area, in units that pixels and areas both are whole numbers of.

    The largest, over 89 million pixels of 1000 * 65535, is a number that float64 holds exactly.

    Returns:
        `(n, height, width, channels)` whole numbers, and how many units an area has.
    """
    count, rows, columns, channels = images.shape
    if (rows, columns) == (height, width):
        return images, 1
    step = max(1, _AT_ONCE // (count * rows * channels or 1))
    parts = [_sums(images[:, :, i : i + step], 1, height) for i in range(0, columns, step)]
    area = (rows // math.gcd(rows, height)) * (columns // math.gcd(columns, width))
    return _sums(np.concatenate(parts, axis=2), 2, width), area


def _sums(levels: NDArray[Any], axis: int, areas: int) -> NDArray[np.int64]:
    """Sums over equal parts of one axis, by differences of the running total at their edges.

    Running totals may wrap at 2^64; their differences are right all the same.
    """
    pixels = levels.shape[axis]
    common = math.gcd(pixels, areas)
    units = areas // common  # of a pixel
    whole, part = np.divmod(np.arange(areas + 1) * (pixels // common), units)
    totals = np.cumsum(levels, axis, dtype=np.int64)
    at_edges = units * totals.take(np.maximum(whole - 1, 0), axis)
    shape = [1] * levels.ndim
    shape[axis] = areas + 1
    at_edges *= (whole > 0).reshape(shape)
    if part.any():
        cut = levels.take(np.minimum(whole, pixels - 1), axis)
        at_edges += part.reshape(shape) * cut
    return np.diff(at_edges, axis=axis)
