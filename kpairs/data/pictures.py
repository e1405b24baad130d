"""A user's own pictures: any size, bright on dark or dark on bright. What exported models accept.

Training data is held to stricter rules, in `kpairs.data.images`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpairs.data.images import LARGEST, SIDE, check_range, grey_over, open_image, to_pixels
from kpairs.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

INKS = ("auto", "bright", "dark")


def fit_pixels(images: ArrayLike, name: str = "images") -> NDArray[np.float32]:
    """Do what `to_pixels` does for images of any size up to 4200x4200.

    An image that is not square is first padded with black to a square, its content in the middle.
    Then each of the 14x14 pixels is the mean over its part of the square, pixels on an edge
    counting by their area; where the side is a multiple of 14 that is what `to_pixels` gives.

    Args:
        images: `(n, height, width)` or `(n, height, width, 1)`; uint8 in 0..255, or float in
            [0, 1]; bright on dark.
        name: what to call the images in an error.

    Returns:
        `(n, 14, 14, 1)` float32 in [0, 1].

    Raises:
        InputError: the shape or dtype is another, an image is larger, or pixels are NaN, infinite
            or outside [0, 1].
    """
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    height, width = size = images.shape[1:3] if images.ndim == 3 else (SIDE, SIDE)
    if height == width and height and height % SIDE == 0:
        return to_pixels(images, name)
    if not (0 < height <= LARGEST and 0 < width <= LARGEST):
        raise InputError(
            f"{name}: expected images of 1x1 to {LARGEST}x{LARGEST} pixels; "
            f"received {height}x{width}"
        )
    if images.dtype == np.uint8:
        images = images / 255
    elif np.issubdtype(images.dtype, np.floating):
        check_range(images, name)
    side = max(size)
    spare = [((side - n) // 2, (side - n + 1) // 2) for n in size]
    shares = _shares(side)
    means = shares @ np.pad(images, [(0, 0), *spare]) @ shares.T
    return to_pixels(means.clip(0, 1).astype(images.dtype), name)


def _shares(side: int) -> NDArray[np.float64]:
    """How much each of `side` pixels counts for each of 14 means: `(14, side)`, rows sum to 1."""
    edges = np.arange(SIDE + 1)[:, None] * side / SIDE
    return np.diff(np.clip(edges - np.arange(side), 0, 1), axis=0) * SIDE / side


def read_picture(path: str | Path, ink: str = "auto") -> tuple[NDArray[np.float32], bool]:
    """Read one image file of any size as a network sees it.

    Colour becomes luminance, and a phone's rotation is undone. Networks are trained on bright
    digits on black. With "auto" a picture whose border is brighter than mid-grey (the median of
    its outermost pixels) counts as dark on bright, and its greys are inverted; where the background
    is transparent, dark ink stands on white and bright ink on black.

    Args:
        path: a PNG, JPEG or BMP file.
        ink: "bright" or "dark" where the picture is known to be so.

    Returns:
        `(pixels, inverted)`: `(1, 14, 14, 1)` float32 in [0, 1], and whether greys were inverted.

    Raises:
        InputError: there is no such file, or it is no image, a truncated one, or larger than
            4200x4200.
    """
    from PIL import ImageOps

    with open_image(path) as image:
        if max(image.size) > LARGEST:
            raise InputError(
                f"{path}: expected at most {LARGEST}x{LARGEST} pixels, "
                f"received {image.height}x{image.width}"
            )
        image = ImageOps.exif_transpose(image).convert("RGBA")
        dark = ink == "dark" or (ink == "auto" and _has_dark_ink(image))
        grey = grey_over(image, "white" if dark else "black")
    if ink == "auto":
        border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        inverted = bool(np.median(border) > 127.5)
    else:
        inverted = ink == "dark"
    return fit_pixels((255 - grey if inverted else grey)[None], str(path)), inverted


def _has_dark_ink(image: "PillowImage") -> bool:
    """Whether what is opaque in an RGBA image is dark; False where nothing is transparent."""
    opacity = np.asarray(image.getchannel("A"), np.float64)
    if opacity.min() == 255 or not opacity.any():
        return False
    return bool(np.average(np.asarray(image.convert("L")), weights=opacity) < 127.5)
