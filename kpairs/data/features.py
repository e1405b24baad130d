"""Features of stored images on disk: found by the digests of pixels and of the network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from kpairs.data.cache import FEATURES
from kpairs.data.pairs import Images
from kpairs.data.stored import Stored
from kpairs.errors import KpairsError
from kpairs.files import atomic_path

Progress = Callable[[int, int], None]
Compute = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_PART = 128  # images whose features are written together
_MOST = 4 * 2**30  # bytes of features that are kept; what was used longest ago goes first
_KEY = 16  # bytes of an image's digest


def kept_features(
    images: Stored, digest: str, width: int, compute: Compute, progress: Progress | None = None
) -> NDArray[np.float32]:
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
    root = Path(images.path).parent.parent / FEATURES
    folder = root / digest[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            found = _kept(folder, width, images, compute, progress)
            os.utime(folder)
            _bound(root, folder)
    except OSError as error:
        raise KpairsError(f"{folder}: cannot keep features here: {error}") from error
    return found


def computed(
    images: Images, rows: NDArray[np.int64], compute: Compute, progress: Progress | None
) -> Iterator[NDArray[np.float32]]:
    """Yield the features of some images, part by part."""
    for start in range(0, len(rows), _PART):
        yield compute(np.asarray(images[rows[start : start + _PART]]))
        if progress is not None:
            progress(min(start + _PART, len(rows)), len(rows))


def _kept(
    folder: Path, width: int, images: Stored, compute: Compute, progress: Progress | None
) -> NDArray[np.float32]:
    """Return features, from the folder's parts where they are there; add a part of the others."""
    keys = images.digests(_KEY)
    found = np.zeros((len(keys), width), np.float32)
    missing = np.ones(len(keys), bool)
    for file in sorted(folder.glob("*.npy")):
        part = _read(file, width)
        if part is None:
            continue
        known, features = part
        order = np.argsort(known)
        place = np.minimum(np.searchsorted(known, keys, sorter=order), len(known) - 1)
        here = np.flatnonzero(missing & (known[order[place]] == keys))
        values = features[order[place[here]]]
        whole = np.isfinite(values).all(axis=1)  # not in a damaged part
        if whole.any():
            here = here[whole]
            found[here] = values[whole]
            missing[here] = False
            os.utime(file)
    rows = np.flatnonzero(missing)
    done = 0
    for features in computed(images, rows, compute, progress):
        images.release()
        new = rows[done : done + len(features)]
        found[new] = features
        done += len(features)
        name = hashlib.sha256(keys[new].tobytes()).hexdigest()[:32]
        with atomic_path(folder / f"{name}.npy") as temporary:
            table = np.empty(len(new), _table(width))
            table["key"], table["features"] = keys[new], features
            with open(temporary, "wb") as written:
                np.save(written, table)
    return found


def _table(width: int) -> np.dtype[Any]:
    return np.dtype([("key", f"S{_KEY}"), ("features", np.float32, (width,))])


def _read(file: Path, width: int) -> tuple[NDArray[Any], NDArray[np.float32]] | None:
    """Map a part; None where it is damaged."""
    try:
        part = np.load(file, mmap_mode="r")
        good = part.dtype == _table(width) and part.ndim == 1 and len(part) > 0
    except (OSError, ValueError, EOFError):
        return None
    return (np.array(part["key"]), part["features"]) if good else None


def _bound(root: Path, own: Path) -> None:
    """Remove parts until no more is kept than allowed: other networks' first, then the oldest."""
    stats = {file: file.stat() for file in root.glob("*/*.npy")}
    excess = sum(stat.st_size for stat in stats.values()) - _MOST
    for file in sorted(stats, key=lambda file: (file.parent == own, stats[file].st_mtime)):
        if excess <= 0:
            break
        file.unlink(missing_ok=True)
        excess -= stats[file].st_size
