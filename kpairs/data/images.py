"""From image files and arrays to the pixels that every model takes."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpairs.errors import InputError, KpairsError
from kpairs.files import atomic_path

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from kpairs.data.sources import Digits

SIDE = 14
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_FORMATS = ("PNG", "JPEG", "BMP")
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
LARGEST = 300 * SIDE
_EXPECTED = (
    f"{SIDE}x{SIDE} pixels, or a square whose side is a multiple of {SIDE} such as 28x28 "
    f"up to {LARGEST}"
)


def to_pixels(images: ArrayLike, name: str = "images") -> NDArray[np.float32]:
    """Average-pool images down to 14x14 and scale them to [0, 1].

    28x28 MNIST images become the 2x2 average-pooled 14x14 images of the reports,
    divided by 255.

    Args:
        images: `(n, height, width)` or `(n, height, width, 1)`; uint8 in 0..255, or float in
            [0, 1]. Square, with a side that is a multiple of 14.
        name: what to call the images in an error.

    Returns:
        `(n, 14, 14, 1)` float32 in [0, 1].

    Raises:
        InputError: the shape or dtype is another, or pixels are NaN, infinite or outside [0, 1].
    """
    array = np.asarray(images)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise InputError(f"{name}: expected shape (n, height, width), received {array.shape}")
    n, height, width = array.shape
    _check_size(height, width, name)
    if array.dtype == np.uint8:
        scale = 255.0
    elif np.issubdtype(array.dtype, np.floating):
        scale = 1.0
        check_range(array, name)
    else:
        raise InputError(
            f"{name}: expected uint8 in 0..255 or float in [0, 1], received {array.dtype}"
        )
    factor = height // SIDE
    if factor == 1 and array.dtype == np.float32:
        return array[..., None]
    if factor > 1:
        blocks = array.reshape(n, SIDE, factor, SIDE, factor)
        array = blocks.mean(axis=(2, 4), dtype=np.float64)
    return (array / np.float64(scale)).astype(np.float32)[..., None]


def write_samples(digits: "Digits", folder: str | Path) -> list[Path]:
    """Write the first image of each class as `<class>.png`; return the paths.

    Raises:
        KpairsError: a file of such a name is there that is another image.
        OSError: the folder cannot be written.
    """
    from PIL import Image

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for label, name in enumerate(digits.classes):
        image = digits.images[np.argmax(digits.labels == label)]
        if image.dtype != np.uint8:
            image = np.rint(255 * image).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        paths.append(folder / f"{name}.png")
        if paths[-1].exists() and paths[-1].read_bytes() != buffer.getvalue():
            raise KpairsError(
                f"{paths[-1]} exists already and is another image; choose a new folder"
            )
        with atomic_path(paths[-1]) as temporary:
            temporary.write_bytes(buffer.getvalue())
    return paths


def _check_size(height: int, width: int, name: str) -> None:
    if height != width or height == 0 or height % SIDE or height > LARGEST:
        raise InputError(f"{name}: expected {_EXPECTED}; received {height}x{width}")


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


def read_image(path: str | Path) -> NDArray[np.float32]:
    """Read one grayscale image file as `(1, 14, 14, 1)` float32 pixels in [0, 1].

    Colour becomes luminance; transparent pixels become black, MNIST's background.

    Raises:
        InputError: there is no such file, it is no image or a truncated one, or its size is one
            that `to_pixels` refuses.
    """
    with open_image(path) as image:
        _check_size(image.height, image.width, str(path))
        return to_pixels(grey_over(image, "black")[None], str(path))


@contextmanager
def open_image(path: str | Path) -> Iterator["PillowImage"]:
    """Yield an image file as a PIL image.

    What goes wrong in the block, where PIL first decodes the pixels, counts as the file's fault.

    Raises:
        InputError: there is no such file, or it is no image, a truncated one, or not 8-bit grey
            or colour.
    """
    from PIL import Image, UnidentifiedImageError

    bombs = (Image.DecompressionBombWarning, Image.DecompressionBombError)
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such image file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_FORMATS)
        with image:
            if image.mode not in _MODES:
                raise InputError(
                    f"{path}: expected an 8-bit grey or colour image, received mode {image.mode}"
                )
            yield image
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path}: expected an image ({', '.join(SUFFIXES)}), received something else"
        ) from error
    except (OSError, SyntaxError, ValueError, *bombs) as error:
        raise InputError(f"{path}: the image cannot be read: {error}") from error


def grey_over(image: "PillowImage", background: str) -> NDArray[np.uint8]:
    """Compute the luminance of a PIL image over a background colour: `(height, width)` uint8."""
    from PIL import Image

    image = image.convert("RGBA")
    behind = Image.new("RGBA", image.size, background)
    return np.asarray(Image.alpha_composite(behind, image).convert("L"))
