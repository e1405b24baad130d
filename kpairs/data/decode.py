"""From an image file or a Pillow image to an array of its pixels, whatever its format.

NumPy and Pillow only: training, prediction and every other reader of pictures decode here.
"""

from __future__ import annotations

import threading
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.png import check_rows
from kpairs.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
# Pillow's modes, and what of them has the same pixels in a mode that NumPy knows.
_PLAIN = {
    **{mode: mode for mode in ("L", "LA", "RGB", "RGBA")},
    **{"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB"},
    **dict.fromkeys(("CMYK", "YCbCr", "HSV"), "RGB"),
}
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # 16-bit grey, which some files store in 32
# `warnings.catch_warnings` changes what all threads see, so one file's header is read at a time.
_HEADERS = threading.Lock()


def decode(picture: str | Path | PillowImage, name: str | None = None) -> NDArray[Any]:
    """Decode a picture, turned as its EXIF data say.

    Args:
        picture: path of a PNG, JPEG, BMP, WebP or TIFF file (of several pages the first), or a
            Pillow image.
        name: what to call it in errors; default the path.

    Returns:
        `(height, width, channels)`: 1 channel is grey, 2 grey and opacity, 3 RGB, 4 RGB and
        opacity; uint8, uint16 for 16-bit grey, or float32 in [0, 1] for grey in floats.

    Raises:
        InputError: no such file, not an image, a damaged one, more pixels than Pillow's
            `Image.MAX_IMAGE_PIXELS` (89 million), or pixels of another kind.
    """
    if not isinstance(picture, str | Path):
        return _guarded(picture, name or "image")
    name = name or str(picture)
    if not Path(picture).is_file():
        raise InputError(f"{name}: no such image file")
    with _opened(picture, name) as image:
        return _guarded(image, name, picture)


def decode_bytes(data: bytes, name: str = "image") -> NDArray[Any]:
    """Decode a picture as `decode` does, from what a file of it holds.

    Raises:
        InputError: as `decode`.
    """
    with _opened(BytesIO(data), name) as image:
        return _guarded(image, name, data)


def _opened(path: str | Path | BytesIO, name: str) -> PillowImage:
    from PIL import Image, UnidentifiedImageError

    try:
        with _HEADERS, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError as error:
        kinds = ", ".join(_FORMATS)
        raise InputError(f"{name}: expected an image ({kinds}), received something else") from error
    except Exception as error:  # each of Pillow's formats raises its own kinds
        raise _unreadable(name, error) from error


def _guarded(
    image: PillowImage, name: str, source: str | Path | bytes | None = None
) -> NDArray[Any]:
    try:
        if source is not None and image.format == "PNG":
            check_rows(source)
        return _pixels(image, name)
    except InputError:
        raise
    except Exception as error:  # as above: the pixels are decoded here
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{name}: the image cannot be read: {reason}")


def _pixels(image: PillowImage, name: str) -> NDArray[Any]:
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP:
        deep = np.asarray(image)
        if deep.size and (deep.min() < 0 or deep.max() > 65535):
            raise InputError(
                f"{name}: expected grey levels from 0 to 65535, received {deep.min()} to "
                f"{deep.max()}"
            )
        return deep.astype(np.uint16)[..., None]
    if image.mode == "F":
        floats = np.asarray(image, np.float32)
        check_range(floats, name)
        return floats[..., None]
    if image.mode not in _PLAIN:
        raise InputError(f"{name}: expected grey or colour pixels, received mode {image.mode}")
    mode = _PLAIN[image.mode]
    if image.has_transparency_data:  # a palette's, or one colour that counts as clear
        mode = {"L": "LA", "RGB": "RGBA"}.get(mode, mode)
    pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def check_range(images: NDArray[Any], name: str) -> None:
    """Refuse NaN, infinite pixels and floats outside [0, 1].

    Raises:
        InputError: there are such pixels.
    """
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
