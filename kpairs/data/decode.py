"""Pictures decoded to arrays of pixels, whatever their format; large ones part by part.

NumPy and Pillow only: training, prediction and every other reader of pictures decode here.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from kpairs.data.png import check_rows
from kpairs.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# More threads than cores wait for each other: they took a quarter more time.
THREADS = min(32, os.cpu_count() or 1)
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
    *(".avif", ".heic", ".heif"),
)
# Modules and packages that some formats need; Pillow's own wheels hold the first.
_MODULES = {
    ".avif": ("PIL._avif", "pillow 11.3 or later with AVIF"),
    ".heic": ("pillow_heif", "pillow-heif"),
    ".heif": ("pillow_heif", "pillow-heif"),
}
# Pillow's modes, and a mode of the same pixels that NumPy knows.
_PLAIN = {
    **{mode: mode for mode in ("L", "LA", "RGB", "RGBA")},
    **{"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB"},
    **dict.fromkeys(("CMYK", "YCbCr", "HSV"), "RGB"),
}
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")  # 16-bit grey
# EXIF's orientations: stored rows from below, stored columns from the right, rows for columns.
_TURNS = {
    **{1: (False, False, False), 2: (False, True, False), 3: (True, True, False)},
    **{4: (True, False, False), 5: (False, False, True), 6: (True, False, True)},
    **{7: (True, True, True), 8: (False, True, True)},
}
# Tags of TIFF, and the values of them that count here.
_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES, _SAMPLES = 258, 259, 262, 284, 339
_RAW, _WHITE_IS_ZERO, _SEPARATE, _SIGNED = 1, 0, 2, 2
# `warnings.catch_warnings` changes what all threads see, so one file's header is read at a time.
_HEADERS = threading.Lock()
_LARGE = 2**20  # pixels of a picture that may be decoded at a part of its size
_MOST_BYTES = 384 * 2**20  # of files that are decoded at one time; one alone may be larger


@cache
def missing_package(ending: str) -> str:
    """Return the package that an ending (lower case) needs and that is not installed, or ""."""
    module, package = _MODULES.get(ending, ("PIL", ""))
    return "" if find_spec(module) else package


@cache
def _formats() -> tuple[str, ...]:
    with suppress(ImportError):  # the extra "heif"
        import pillow_heif

        pillow_heif.register_heif_opener()
    known = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF")
    more = {"AVIF": ".avif", "HEIF": ".heic"}
    return *known, *(name for name, ending in more.items() if not missing_package(ending))


class Picture:
    """A decoded picture, upright, whose pixels are taken part by part: no second copy is made.

    Attributes:
        name: of the picture in errors.
        height, width: in pixels.
        channels: 1 is grey, 2 grey and opacity, 3 RGB, 4 RGB and opacity.
        dtype: uint8, uint16 for 16-bit grey, float32 for grey in floats of [0, 1].
        of: width and height in the file, where the picture was decoded at a part of its size.
    """

    def __init__(self, image: PillowImage, name: str, of: tuple[int, int] | None = None) -> None:
        self.name, self._image = name, image
        self._bits, self._white_is_zero = _checked_tiff(image, name)
        self._turn = _TURNS.get(image.getexif().get(0x0112, 1), _TURNS[1])
        self.width, self.height = width, height = image.size
        self.of: tuple[int, int] = of or image.size
        if self._turn[2]:
            self.width, self.height, self.of = height, width, self.of[::-1]
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        self._mode = image.mode
        if image.mode in _DEEP or (image.mode == "I" and image.format == "PNG"):
            self.dtype = np.dtype(np.uint16)  # older Pillows open PNGs of 16 bits as I
        elif image.mode == "F":
            self.dtype = np.dtype(np.float32)
        elif image.mode in _PLAIN:
            self._mode = _PLAIN[image.mode]
            if image.has_transparency_data:  # a palette's, or one colour that counts as clear
                self._mode = {"L": "LA", "RGB": "RGBA"}.get(self._mode, self._mode)
        elif image.mode == "I":
            raise _refused(name, "whole numbers of 32 bits, whose white is not known")
        else:
            raise InputError(f"{name}: expected grey or colour pixels, received mode {image.mode}")
        self.channels = len(self._mode) if self.dtype == np.uint8 else 1

    def part(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> NDArray[Any]:
        """Return a rectangle of pixels, `(bottom - top, right - left, channels)`.

        Raises:
            InputError: floats that are NaN, infinite or outside [0, 1].
        """
        vertical, horizontal, swapped = self._turn
        rows, columns = (top, bottom), (left, self.width if right is None else right)
        if swapped:
            rows, columns = columns, rows
        width, height = self._image.size
        if vertical:
            rows = height - rows[1], height - rows[0]
        if horizontal:
            columns = width - columns[1], width - columns[0]
        box, image = (columns[0], rows[0], columns[1], rows[1]), self._image
        if box != (0, 0, width, height):  # a crop is a copy
            image = image.crop(box)
        pixels = np.asarray(image if image.mode == self._mode else image.convert(self._mode))
        pixels = self._as_levels(pixels.reshape(*pixels.shape[:2], -1))
        pixels = pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1]
        return pixels.swapaxes(0, 1) if swapped else pixels

    def _as_levels(self, pixels: NDArray[Any]) -> NDArray[Any]:
        if self.dtype == np.uint8:
            return pixels
        if self.dtype == np.float32:
            pixels = pixels.astype(np.float32, copy=False)
            check_range(pixels, self.name)
            return np.float32(1) - pixels if self._white_is_zero else pixels
        pixels = pixels.astype(np.uint16)
        if self._bits < 16:  # Pillow leaves the levels of 12 bits as they are
            top = 2**self._bits - 1
            pixels = ((pixels * np.uint32(65535) + top // 2) // top).astype(np.uint16)
        return ~pixels if self._white_is_zero else pixels


def _checked_tiff(image: PillowImage, name: str) -> tuple[int, bool]:
    """Refuse layouts of TIFF that Pillow decodes wrongly.

    Returns the bits of a deep picture's pixel, and whether Pillow leaves its zeros, which are
    white.
    """
    if image.format != "TIFF":
        return 16, False
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    bits, planes = max(tags.get(_BITS, (1,))), tags.get(_PLANES)
    if _SIGNED in tags.get(_SAMPLES, ()):
        raise _refused(name, "signed numbers")
    if planes == _SEPARATE and (bits > 8 or image.mode not in ("RGB", "RGBA")):
        raise _refused(name, f"separate planes of {bits} bits")
    if image.mode == "F" and tags.prefix == b"MM" and tags.get(_COMPRESSION, _RAW) != _RAW:
        raise _refused(name, "compressed floats, most significant byte first")
    deep = image.mode in (*_DEEP, "F")
    return bits, deep and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _refused(name: str, layout: str) -> InputError:
    return InputError(
        f"{name}: expected pixels of 8 bits, or grey ones of 16, received {layout}; save it as PNG"
    )


def on_white(pixels: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """Return 8-bit grey or RGB; transparent pixels are laid over white."""
    if pixels.dtype == np.uint16:
        pixels = np.minimum(pixels.astype(np.float32) * (255 / white), 255)
    elif pixels.dtype == np.float32:
        pixels = pixels * 255
    if pixels.shape[2] in (2, 4):
        opacity = pixels[..., -1:].astype(np.float32) / 255
        pixels = pixels[..., :-1] * opacity + 255 * (1 - opacity)
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels).astype(np.uint8)
    return pixels


def decode(picture: str | Path | IO[bytes] | PillowImage, name: str | None = None) -> NDArray[Any]:
    """Decode a picture, turned as its EXIF data say.

    Args:
        picture: path of a PNG, JPEG, BMP, WebP, TIFF or GIF file (of several pages or frames the
            first), of AVIF or HEIF where Pillow or pillow-heif read them; such a file in memory, or
            a Pillow image.
        name: what to call it in errors; default the path.

    Returns:
        `(height, width, channels)`: 1 channel is grey, 2 grey and opacity, 3 RGB, 4 RGB and
        opacity; uint8, uint16 for 16-bit grey, or float32 in [0, 1] for grey in floats.

    Raises:
        InputError: no such file, not an image, a damaged one, more pixels than Pillow's
            `Image.MAX_IMAGE_PIXELS` (89 million) or than memory holds, pixels of another kind, or
            a layout of TIFF that Pillow decodes wrongly.
    """
    with opened(picture, name) as found:
        return found.part(0, found.height)


@contextmanager
def opened(
    picture: str | Path | IO[bytes] | PillowImage, name: str | None = None, least: int = 0
) -> Iterator[Picture]:
    """Decode a picture and hold it while a block runs.

    All files that are held at one time have at most 384 MiB of pixels; another thread waits.

    Args:
        picture: as `decode` takes it, or an open file.
        name: what to call it in errors; default the path.
        least: pixels of each side that are enough. A JPEG of more than a million pixels is decoded
            at 1/2, 1/4 or 1/8 of its size then, which takes far less time; 0 for its whole size.

    Raises:
        InputError: as `decode`, also where the block's own reading of pixels fails.
    """
    name = name or (str(picture) if isinstance(picture, str | Path) else "image")
    if isinstance(picture, str | Path) and not Path(picture).is_file():
        raise InputError(f"{name}: no such image file")
    try:
        if hasattr(picture, "getbands"):
            with _explained(name):
                found = Picture(cast("PillowImage", picture), name)
            yield found
            return
        with _image(picture, name) as image:
            size = image.size
            if least and image.format == "JPEG" and size[0] * size[1] > _LARGE:
                image.draft(image.mode, (least, least))
            with _MEMORY.taken(_bytes(image)):
                with _explained(name):
                    load(image)
                    found = Picture(image, name, size)
                yield found
    except MemoryError as error:
        raise InputError(f"{name}: not enough memory for this image") from error


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Raise any error of Pillow's as an `InputError`: each of its formats has its own kinds."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: the image cannot be read: {reason}") from error


def load(image: PillowImage) -> None:
    """Decode an image that is open; nothing else here does."""
    if image.format == "PNG":
        file: IO[bytes] = image.fp  # type: ignore[attr-defined]
        place = file.tell()
        check_rows(file)
        file.seek(place)
    image.load()


def _image(file: Any, name: str) -> PillowImage:
    from PIL import Image, UnidentifiedImageError

    try:
        with _explained(name), _HEADERS, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(file, formats=_formats())
    except InputError as error:
        if not isinstance(error.__cause__, UnidentifiedImageError):
            raise
        if needed := missing_package(Path(name).suffix.lower()):
            raise InputError(f"{name}: install {needed} to read such images") from error
        if _begins_as_tiff(file):
            raise _refused(name, "another layout of TIFF") from error
        kinds = ", ".join(_formats())
        raise InputError(f"{name}: expected an image ({kinds}), received something else") from error


def _begins_as_tiff(file: Any) -> bool:
    if hasattr(file, "read"):
        file.seek(0)
        return file.read(4) in (b"II*\0", b"MM\0*")
    with open(file, "rb") as begun:
        return _begins_as_tiff(begun)


def _bytes(image: PillowImage) -> int:
    """Return about how many bytes decoding takes: Pillow keeps three channels as four."""
    width, height = image.size
    coefficients = 6 if image.info.get("progressive") else 0  # of JPEG, in 16 bits, all at once
    return width * height * (4 + coefficients)


class _Memory:
    """Bytes that threads take; a thread that wants more than there are waits for its turn."""

    def __init__(self, most: int) -> None:
        self._most, self._taken, self._changed = most, 0, threading.Condition()

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + count <= self._most)
            self._taken += count
        try:
            yield
        finally:
            with self._changed:
                self._taken -= count
                self._changed.notify_all()


_MEMORY = _Memory(_MOST_BYTES)


def check_range(images: NDArray[Any], name: str) -> None:
    """Refuse NaN, infinite pixels and floats outside [0, 1]."""
    finite = np.isfinite(images)
    if not finite.all():
        raise InputError(
            f"{name}: expected finite pixels, received {np.count_nonzero(~finite)} NaN or infinite"
        )
    if images.size and (images.min() < 0 or images.max() > 1):
        raise InputError(
            f"{name}: expected float pixels in [0, 1], received {images.min():g} to "
            f"{images.max():g}; pass 0..255 as uint8"
        )
