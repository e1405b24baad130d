"""Features of images by a frozen network: each image passes once, and is remembered on disk."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from kpairs.data.features import Progress, kept_features
from kpairs.data.pairs import Images
from kpairs.data.stored import Stored
from kpairs.models.backbone import STATISTICS, feature_digest, feature_network
from kpairs.training.interrupt import InMainThread

_BATCH = 16  # images that pass together: what layers hand to each other stays in the cache
_PART = 512  # images that are read together


class Featured(Stored):
    """Features in the place of images, `(n, 1, 1, d)` float32, in some order.

    Args:
        features: `(m, d)` float32.
        rows: `(n,)` numbers of images.
        places: `(n,)` rows of `features`; default the images' numbers.
    """

    def __init__(
        self,
        features: NDArray[np.float32],
        rows: NDArray[np.int64],
        places: NDArray[np.int64] | None = None,
    ) -> None:
        self.path, self.rows, self.features = "", rows, features
        self.places = rows if places is None else places

    @property
    def shape(self) -> tuple[int, ...]:
        """Return `(n, 1, 1, d)`."""
        return len(self.rows), 1, 1, self.features.shape[1]

    def __getstate__(self) -> tuple[Any, ...]:
        return self.features, self.rows, self.places

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.path, (self.features, self.rows, self.places) = "", state

    def __getitem__(self, rows: Any) -> Featured:
        return Featured(self.features, self.rows[rows], self.places[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found: NDArray[Any] = self.features[self.places][:, None, None, :]
        return found if dtype is None else found.astype(dtype, copy=False)


def image_features(
    network: keras.Model, images: Images, progress: Progress | None = None, *, keep: bool = True
) -> NDArray[np.float32]:
    """Return features of images, `(n, d)`; those of stored images are kept on disk.

    The features of an image are found again by the digests of its pixels and of the network, also
    in another training of other images. They lie beside the prepared images.

    Args:
        network: a frozen model from images to features, as `feature_network` returns it.
        images: n images.
        progress: called with how many of how many images passed.
        keep: keep features of stored images, and look for them.

    Raises:
        KpairsError: the cache folder cannot be written.
    """
    compute, width = partial(predicted, network), network.output.shape[1]
    if keep and isinstance(images, Stored) and len(images):
        return kept_features(images, feature_digest(network), width, compute, progress)
    found = np.zeros((len(images), width), np.float32)
    for start in range(0, len(images), _PART):
        part = np.arange(start, min(start + _PART, len(images)))
        found[part] = compute(np.asarray(images[part]))
        if progress is not None:
            progress(int(part[-1]) + 1, len(images))
    return found


def statistics_features(images: Stored, progress: Progress | None) -> NDArray[np.float32]:
    """Return classical statistics of stored images, `(n, d)`; see `image_features`."""
    return image_features(feature_network(STATISTICS, *images.shape[1:]), images, progress)


def predicted(network: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features of images, blocks of them side by side on all cores.

    Each block runs on one thread: those of torch wait for each other, and where other programs run
    that takes several times as long.
    """
    if keras.backend.backend() != "torch":
        return network.predict(images, batch_size=_BATCH, callbacks=[InMainThread()], verbose=0)
    blocks = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]

    def run(block: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = keras.ops.convert_to_numpy(network(block, training=False))
        return found

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.concatenate(list(pool.map(run, blocks)))
    finally:
        torch.set_num_threads(before)
