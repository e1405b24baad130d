"""Features of prepared images on disk, found by the digests of pixels and of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpairs.data.cache import FEATURES
from kpairs.data.parts import KEY, Parts
from kpairs.data.rows import Rows
from kpairs.data.stored import Stored

Progress = Callable[[int, int], None]
Compute = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Task = tuple[NDArray[np.int64], NDArray[np.float32]]  # numbers of images, and numbers of each
Elsewhere = Callable[[Iterator[Task]], Iterator[Task]]  # from pixels to features, in any order
_PART, _AWAY = 128, 512  # images whose features are written together; if computed elsewhere


def feature_parts(root: Path, digest: str, width: int) -> Parts:
    """Return a network's features by the digest of an image's pixels.

    Args:
        root: the cache folder.
        digest: of the network, 32 letters or more.
        width: numbers of an image.
    """
    return Parts(root / FEATURES / digest[:32], np.dtype((np.float32, (width,))))


def kept_features(
    images: Stored,
    digest: str,
    width: int,
    compute: Compute,
    progress: Progress | None = None,
    elsewhere: Elsewhere | None = None,
) -> Rows:
    """Return features of stored images, `(n, width)`; those that are new are kept on disk.

    They lie beside the prepared images, in a folder for each network. Of copies one passes.

    Args:
        images: n images.
        digest: of the network, 32 letters or more.
        width: numbers of an image.
        compute: gives `(k, width)` features of `(k, height, width, channels)` float32 pixels.
        progress: called with how many of how many new images passed.
        elsewhere: computes tasks on other machines, in place of `compute`.

    Raises:
        KpairsError: the cache folder cannot be written.
    """
    parts, keys = feature_parts(Path(images.path).parent.parent, digest, width), images.digests(KEY)
    with parts.held():
        found, known = parts.find(keys, Rows.zeros(len(images), width, parts.folder))
        missing = np.flatnonzero(~known)
        first, copy_of = np.unique(keys[missing], return_index=True, return_inverse=True)[1:]
        new, done = missing[np.sort(first)], 0
        size = _AWAY if elsewhere else _PART
        some = (new[start : start + size] for start in range(0, len(new), size))
        tasks = ((rows, np.asarray(images[rows])) for rows in some)
        here = elsewhere or (lambda tasks: ((rows, compute(pixels)) for rows, pixels in tasks))
        for rows, values in here(tasks):
            parts.add(keys[rows], values)
            found[rows] = values
            images.release()
            done += len(rows)
            if progress is not None:
                progress(done, len(new))
        for copy, same in zip(missing, missing[first[copy_of]], strict=True):
            if copy != same:
                found[copy] = found[[same]]
    features: Rows = found
    return features
