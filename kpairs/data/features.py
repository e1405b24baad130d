"""Features of prepared images on disk, found by the digests of pixels and of the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpairs.data.cache import FEATURES
from kpairs.data.parts import KEY, Parts
from kpairs.data.rows import Rows
from kpairs.data.stored import Stored

Progress = Callable[[int, int], None]
Compute = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_PART = 128  # images whose features are written together


def feature_parts(root: Path, digest: str, width: int) -> Parts:
    """Return a network's features by the digest of an image's pixels.

    Args:
        root: the cache folder.
        digest: of the network, 32 letters or more.
        width: numbers of an image.
    """
    return Parts(root / FEATURES / digest[:32], np.dtype((np.float32, (width,))))


def kept_features(
    images: Stored, digest: str, width: int, compute: Compute, progress: Progress | None = None
) -> Rows:
    """Return features of stored images, `(n, width)`; those that are new are kept on disk.

    They lie beside the prepared images, in a folder for each network.

    Args:
        images: n images.
        digest: of the network, 32 letters or more.
        width: numbers of an image.
        compute: gives `(k, width)` features of `(k, height, width, channels)` float32 pixels.
        progress: called with how many of how many new images passed.

    Raises:
        KpairsError: the cache folder cannot be written.
    """
    parts, keys = feature_parts(Path(images.path).parent.parent, digest, width), images.digests(KEY)
    with parts.held():
        found, known = parts.find(keys, Rows.zeros(len(images), width, parts.folder))
        missing = np.flatnonzero(~known)
        for start in range(0, len(missing), _PART):
            rows = missing[start : start + _PART]
            new = compute(np.asarray(images[rows]))
            parts.add(keys[rows], new)
            found[rows] = new
            images.release()
            if progress is not None:
                progress(start + len(rows), len(missing))
    features: Rows = found
    return features
