"""Features of images by a frozen network: each image passes once, and is remembered on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from kpairs.data.features import Progress, Task, kept_features
from kpairs.data.pairs import Images
from kpairs.data.rows import Matrix, Rows
from kpairs.data.stored import Featured, Stored
from kpairs.loading import load
from kpairs.models.backbone import STATISTICS, feature_digest, feature_network
from kpairs.training.interrupt import InMainThread
from kpairs.training.workers import run_tasks

_BATCH = 16  # images that pass together: what layers hand to each other stays in the cache
_PART = 512  # images that are read together


def image_features(
    network: keras.Model,
    images: Images,
    progress: Progress | None = None,
    *,
    keep: bool = True,
    cluster: str | None = None,
) -> Matrix:
    """Return features of images, `(n, d)`; those of stored images are kept on disk.

    The features of an image are found again by the digests of its pixels and of the network, also
    in another training of other images. They lie beside the prepared images.

    Args:
        network: a frozen model from images to features, as `feature_network` returns it.
        images: n images.
        progress: called with how many of how many images passed.
        keep: keep features of stored images, and look for them.
        cluster: address of a dask scheduler, whose workers compute what is kept.

    Raises:
        KpairsError: the cache folder cannot be written.
    """
    if isinstance(images, Featured):
        return images.matrix()
    compute, width = partial(predicted, network), network.output.shape[1]
    if keep and isinstance(images, Stored) and len(images):
        elsewhere = None if cluster is None else partial(_on_cluster, network, cluster)
        digest = feature_digest(network)
        return kept_features(images, digest, width, compute, progress, elsewhere)
    found = Rows.zeros(len(images), width)
    for start in range(0, len(images), _PART):
        part = np.arange(start, min(start + _PART, len(images)))
        found[part] = compute(np.asarray(images[part]))
        if progress is not None:
            progress(int(part[-1]) + 1, len(images))
    return found


def _on_cluster(network: keras.Model, cluster: str, tasks: Iterator[Task]) -> Iterator[Task]:
    """Compute features on a dask cluster's workers, which are sent the network."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.keras"
        network.save(file)
        saved = file.read_bytes()
    sent = ((rows, np.rint(255 * pixels).astype(np.uint8), saved) for rows, pixels in tasks)
    with closing(run_tasks(_passed, sent, scheduler=cluster)) as found:
        yield from found


def _passed(rows: NDArray[np.int64], levels: NDArray[np.uint8], network: bytes) -> Task:
    return rows, predicted(_opened(network), (levels / 255).astype(np.float32))


@lru_cache(maxsize=1)
def _opened(network: bytes) -> keras.Model:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.keras"
        file.write_bytes(network)
        return load(file)


def statistics_features(images: Stored, progress: Progress | None) -> Matrix:
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
