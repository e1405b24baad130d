"""Facts about frozen feature networks that Keras and onnxruntime share; free of both."""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs import __version__

SIZE = 128  # pixels a side that named networks see


def seen_sides(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of about size * size pixels, in an image's proportions."""
    scale = size / math.sqrt(height * width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def interpolation(before: int, after: int) -> NDArray[np.float32]:
    """Return the weight of each pixel before in each after, `(after, before)`."""
    scale = before / after
    places = (np.arange(after)[:, None] + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(before) - places) / max(scale, 1))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def lite0_structure(height: int, width: int, channels: int, size: int, mirrored: bool) -> str:
    """Return what tells the structure of a feature network "lite0" from that of any other."""
    return f"lite0 {height}x{width}x{channels} seen at {size}{', mirrored' * mirrored}"


def digest(structure: str, arrays: Iterable[NDArray[Any]]) -> str:
    """Return the SHA-256 of a network's structure and weights, and of kpairs' own layers."""
    found = hashlib.sha256()
    # What they compute may change.
    for name in ("layers.py", "image_statistics.py", "models/vision.py"):
        found.update((Path(__file__).parent / name).read_bytes())
    found.update(f"{__version__} {structure}".encode())
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
