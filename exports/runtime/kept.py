"""Features of image files, kept on disk: a file that is known is not even decoded again.

Below the cache folder, `features/files` says, by a file's place, stamps and the network's settings,
the digest of its pixels; `features/<digest of the network>` holds features by that digest, for
trainings too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kpairs.data.cache import FEATURES
from kpairs.data.decode import THREADS
from kpairs.data.features import Progress, feature_parts
from kpairs.data.listing import stamp
from kpairs.data.parts import KEY, Keys, Parts
from kpairs.data.pixels import Prepared, prepare
from kpairs.data.rows import Matrix, Rows
from kpairs.data.settings import PixelSettings
from kpairs.data.stored import digest_of
from kpairs.errors import InputError

_FILES = "files"
_VERSION = 1  # of what a file's row says
_ABOUT = np.dtype([("pixels", f"S{KEY}"), ("doubtful", bool), ("faint", bool)])
_AT_ONCE = 64  # pictures that are in memory together


class Featuring(Protocol):
    """A model whose scores are linear in features."""

    pixels: PixelSettings
    networks: Sequence[str]  # digests of those whose features it takes; the first is its own

    @property
    def width(self) -> int:
        """Numbers of an image."""

    def features(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute features, `(n, width)`."""


class Known(NamedTuple):
    """Features of n files, and what their pixels say."""

    features: Rows  # (n, width) float32
    doubtful: NDArray[np.bool_]  # (n,), files whose ink is not that of the settings
    faint: NDArray[np.bool_]  # (n,), files that hardly differ from their paper


def known_features(
    model: Featuring, files: Sequence[str | Path], root: Path, progress: Progress | None = None
) -> Known:
    """Return features of files; those that are new are computed, and kept below `root`.

    Raises InputError for a file that cannot be read, CacheError for a folder that cannot be
    written.
    """
    index = Parts(root / FEATURES / _FILES, _ABOUT)
    stores = [feature_parts(root, digest, model.width) for digest in model.networks]
    keys = _keys(files, model.pixels)
    with index.held():  # not for long: rankings by other networks look here too
        about, listed = index.find(keys)
    with stores[0].held(), ThreadPoolExecutor(THREADS) as pool:
        features = Rows.zeros(len(files), model.width, stores[0].folder)
        known = _find(stores, about["pixels"], features)
        rest = np.flatnonzero(~(known & listed))
        for start in range(0, len(rest), _AT_ONCE):
            rows = rest[start : start + _AT_ONCE]
            parts = pool.map(lambda row: prepare(files[row], model.pixels), rows.tolist())
            block = Prepared(*map(np.concatenate, zip(*parts, strict=True)))
            levels = np.rint(255 * block.pixels).astype(np.uint8)
            digests = np.array([digest_of(one, KEY) for one in levels], f"S{KEY}")
            about["pixels"][rows] = digests
            about["doubtful"][rows], about["faint"][rows] = block.doubtful, block.faint
            found = np.zeros((len(rows), model.width), np.float32)
            there = _find(stores, digests, found)
            if not there.all():
                new = model.features(block.pixels[~there])
                if new.shape[1] != model.width:
                    raise InputError(
                        f"expected {model.width} features of an image, received {new.shape[1]}; "
                        "train again"
                    )
                found[~there] = new
                stores[0].add(digests[~there], new)
            features[rows] = found
            index.add(keys[rows], about[rows])
            if progress is not None:
                progress(len(files) - len(rest) + int(start + len(rows)), len(files))
    return Known(features, about["doubtful"], about["faint"])


def _find(stores: Sequence[Parts], keys: Keys, found: Matrix) -> NDArray[np.bool_]:
    """Fill in features; return which are known."""
    known = np.zeros(len(keys), bool)
    for store in stores:
        store.find(keys, found, known)
    return known


def _keys(files: Sequence[str | Path], settings: PixelSettings) -> Keys:
    """Return a key for each file as it is now, prepared by some settings."""
    how = json.dumps([_VERSION, settings.to_dict()], sort_keys=True).encode()
    found = np.empty(len(files), f"S{KEY}")
    for number, file in enumerate(files):
        entry = os.fsencode(f"\0{os.path.abspath(file)}\0{stamp(file)}")
        found[number] = blake2b(how + entry, digest_size=KEY // 2).hexdigest()
    return found
