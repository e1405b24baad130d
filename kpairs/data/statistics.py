"""Classical statistics of photographs: 54 numbers that tell sharpness, compression and noise.

They need no trained network. They decide tasks of texture (which photograph is blurred, compressed,
noisy) and fail on content (which photograph carries more coins).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpairs.errors import InputError

Planes = NDArray[np.float32]  # (n, height, width)

_LARGEST = 256  # pixels of a side of files' statistics
_SMALLEST = 32  # pixels of a side; scales beyond need more
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_FLOOR = 1e-8  # added to energies before the logarithm: about a hundredth of a level, squared
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))  # to neighbours: right, below, both diagonals
NAMES = (
    "laplacian",
    *("gradient_x", "gradient_y"),
    *(f"laplacian_of_gaussian_{scale}" for scale in (1, 2, 4)),
    *("noise", "noise_half"),
    *("blocks_x", "blocks_y"),
    *(f"dct_{frequency}" for frequency in range(1, 15)),
    *("dct_small_low", "dct_small_high"),
    *(
        f"contrast_{scale}_{name}"
        for scale in ("full", "half")
        for name in (
            *("magnitude", "variance", "skewness", "kurtosis"),
            *(f"{part}_{y}{x}" for y, x in _SHIFTS for part in ("product", "spread")),
        )
    ),
    *("red_green_x", "red_green_y", "yellow_blue_x", "yellow_blue_y"),
)


def image_statistics(images: ArrayLike) -> NDArray[np.float32]:
    """Return 54 statistics of each image; `NAMES` names them.

    - Logarithms of the variance of Laplacian, gradients, and Laplacians of Gaussians at scales 1, 2
      and 4 pixels: sharpness (Pertuz et al., Analysis of focus measure operators, 2013).
    - Logarithm of the median absolute diagonal difference, at full and half size: noise (after
      Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, 1994).
    - Mean difference across columns and rows at multiples of 8, over that elsewhere: block edges of
      JPEG (Wang, Sheikh and Bovik, No-reference quality assessment of JPEG images, 2002).
    - Logarithms of energies of the 8 x 8 DCT by the sum of both frequencies, 1 to 14, and the share
      of coefficients below half a level, in low and high frequencies: quantisation.
    - Magnitude, variance, skewness and kurtosis of luminance less its local mean over its local
      deviation, and mean and spread of products with four neighbours, at full and half size:
      natural-scene statistics (Mittal, Moorthy and Bovik, No-reference image quality assessment in
      the spatial domain, 2012).
    - Logarithms of gradient energies of red - green and yellow - blue.

    Args:
        images: `(n, height, width, channels)` with 1 or 3 channels, uint8, or floats in [0, 1]; at
            least 32 pixels a side.

    Returns:
        `(n, 54)` float32, finite.

    Raises:
        InputError: another shape, or an image that is too small.

    Example:
        >>> image_statistics(np.zeros((2, 64, 64, 3), np.uint8)).shape
        (2, 54)
    """
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[3] not in (1, 3) or min(array.shape[1:3]) < _SMALLEST:
        raise InputError(
            f"images: expected shape (n, height, width, 1 or 3) with sides of at least {_SMALLEST} "
            f"pixels, received {array.shape}"
        )
    scale = np.float32(1 / 255 if array.dtype == np.uint8 else 1)
    # One image at a time stays in the processor's cache: twice as fast as whole arrays.
    rows = [_statistics(one.astype(np.float32) * scale) for one in array]
    return np.stack(rows) if rows else np.zeros((0, len(NAMES)), np.float32)


def file_statistics(
    files: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> NDArray[np.float32]:
    """Return the statistics of image files, of their own pixels at most 256 a side.

    Larger pictures are reduced by Pillow's `thumbnail`; smaller ones than 32 pixels are enlarged.

    Args:
        files: paths.
        progress: called with how many of how many are done.

    Raises:
        InputError: a file that cannot be read.
    """
    from PIL import Image

    from kpairs.data.decode import decode

    rows = []
    for done, file in enumerate(files, 1):
        array = decode(file)
        if array.dtype != np.uint8:  # 16 bits, or floats
            most = 65535 if array.dtype == np.uint16 else 1
            array = np.rint(np.clip(array / most, 0, 1) * 255).astype(np.uint8)
        image = Image.fromarray(array.squeeze()).convert("RGB")
        image.thumbnail((_LARGEST, _LARGEST))
        if min(image.size) < _SMALLEST:
            image = image.resize((max(image.width, _SMALLEST), max(image.height, _SMALLEST)))
        rows.append(image_statistics(np.asarray(image)[None])[0])
        if progress is not None:
            progress(done, len(files))
    return np.stack(rows) if rows else np.zeros((0, len(NAMES)), np.float32)


def _statistics(image: Planes) -> NDArray[np.float32]:
    grey = image @ _LUMA if image.shape[2] == 3 else image[..., 0]
    half = _halved(grey)
    values = [
        _log_variance(_laplacian(grey)),
        *_gradients(grey),
        *(_log_variance(_laplacian(_blurred(grey, scale))) for scale in (1.0, 2.0, 4.0)),
        *(_noise(part) for part in (grey, half)),
        *(_blocks(part) for part in (grey, grey.T)),
        *_frequencies(grey),
        *(value for part in (grey, half) for value in _contrast(part)),
        *_colours(image),
    ]
    return np.array(values, np.float32)


def _log_variance(values: Planes) -> float:
    return float(np.log(values.var() + _FLOOR))


def _laplacian(grey: Planes) -> Planes:
    inner = grey[1:-1, 1:-1]
    return grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner


def _gradients(plane: Planes) -> tuple[float, float]:
    return _log_variance(plane[:, 1:] - plane[:, :-1]), _log_variance(plane[1:] - plane[:-1])


def _blurred(grey: Planes, deviation: float) -> Planes:
    from scipy.ndimage import gaussian_filter

    blurred: Planes = gaussian_filter(grey, deviation, mode="mirror", truncate=3)
    return blurred


def _halved(grey: Planes) -> Planes:
    even = grey[: grey.shape[0] // 2 * 2, : grey.shape[1] // 2 * 2]
    quarters = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return np.asarray(quarters / 4, np.float32)


def _noise(grey: Planes) -> float:
    diagonal = grey[:-1, :-1] + grey[1:, 1:] - grey[:-1, 1:] - grey[1:, :-1]
    return float(np.log(np.median(np.abs(diagonal)) + 1e-4))


def _blocks(grey: Planes) -> float:
    """Return the logarithm of steps between columns at multiples of 8, over other steps."""
    steps = np.abs(grey[:, 1:] - grey[:, :-1]).mean(axis=0)
    edges = np.arange(1, len(steps) + 1) % 8 == 0
    return float(np.log((steps[edges].mean() + 1e-4) / (steps[~edges].mean() + 1e-4)))


def _frequencies(grey: Planes) -> list[float]:
    from scipy.fft import dctn

    high, wide = (side // 8 for side in grey.shape)
    blocks = grey[: 8 * high, : 8 * wide].reshape(high, 8, wide, 8).swapaxes(1, 2)
    levels = 255 * dctn(blocks, axes=(2, 3), norm="ortho").reshape(-1, 64)
    sums = np.add.outer(np.arange(8), np.arange(8)).ravel()
    energy = np.bincount(sums, np.mean(levels**2, axis=0)) / np.bincount(sums)
    small = np.mean(np.abs(levels) < 0.5, axis=0)
    shares = [float(small[part].mean()) for part in ((sums > 0) & (sums < 5), sums >= 5)]
    return [*np.log(energy[1:] + 1e-2).tolist(), *shares]


def _contrast(grey: Planes) -> list[float]:
    """Return moments of locally normalised luminance, and of its products with neighbours."""
    mean = _blurred(grey, 7 / 6)
    deviation = np.sqrt(np.maximum(_blurred(grey * grey, 7 / 6) - mean * mean, 0))
    normal = (grey - mean) / (deviation + np.float32(1 / 255))
    centred = normal - normal.mean()
    square = centred * centred
    variance = float(square.mean()) + _FLOOR
    found = [
        float(np.abs(normal).mean()),
        variance,
        float((square * centred).mean()) / variance**1.5,
        float((square * square).mean()) / variance**2,
    ]
    height, width = normal.shape
    for down, right in _SHIFTS:
        first = normal[: height - down, max(-right, 0) : width - max(right, 0)]
        second = normal[down:, max(right, 0) : width - max(-right, 0)]
        product = first * second
        found += [float(product.mean()), float(np.abs(product).mean())]
    return found


def _colours(image: Planes) -> list[float]:
    if image.shape[2] == 1:
        return [float(np.log(_FLOOR))] * 4
    red, green, blue = np.moveaxis(image, 2, 0)
    return [*_gradients(red - green), *_gradients((red + green) / 2 - blue)]
