"""Features of images by a frozen network: each image passes once, and is remembered on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from kpairs.data.annotations import ImageFiles
from kpairs.data.cache import FEATURES, prepared_images
from kpairs.data.pairs import Images
from kpairs.data.source import cache_root
from kpairs.data.stored import Stored
from kpairs.data.survey import survey
from kpairs.errors import KpairsError
from kpairs.files import atomic_path
from kpairs.models.backbone import LITE0, SIZE, STATISTICS, feature_digest, feature_network
from kpairs.models.lite0 import has_imagenet
from kpairs.training.interrupt import InMainThread

Progress = Callable[[int, int], None]
_BATCH = 16  # images that pass together: what layers hand to each other stays in the cache
_PART = 512  # images whose features are written together
_MOST = 4 * 2**30  # bytes of features that are kept; what was used longest ago goes first
_KEY = 16  # bytes of an image's digest


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
    if not keep or not isinstance(images, Stored) or not len(images):
        return np.concatenate(
            [
                np.zeros((0, network.output.shape[1]), np.float32),
                *_passed(network, images, np.arange(len(images)), progress),
            ]
        )
    root = Path(images.path).parent.parent / FEATURES
    folder = root / feature_digest(network)[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            found = _kept(folder, network, images, progress)
            os.utime(folder)
            _bound(root, folder)
    except OSError as error:
        raise KpairsError(f"{folder}: cannot keep features here: {error}") from error
    return found


def file_features(
    files: Sequence[str], progress: Progress | None = None, root: Path | None = None
) -> NDArray[np.float32]:
    """Return features of image files, `(n, d)`, by the network that a linear head would use.

    EfficientNet-Lite0 where its weights are installed, else classical statistics; images are
    reduced to at most 128 pixels a side.

    Args:
        files: n paths.
        progress: called with how many of how many images passed.
        root: the cache folder; default `kpairs.data.source.cache_root()`.

    Raises:
        InputError: a file that cannot be read.
        KpairsError: the cache folder cannot be written.
    """
    if not files:
        return np.zeros((0, 0), np.float32)
    pictures = ImageFiles(tuple(files), tuple(files), "images", Path(files[0]).parent)
    settings = survey(pictures).settings(longest=SIZE)
    prepared, _ = prepared_images(pictures, settings, root or cache_root())
    name = LITE0 if has_imagenet() else STATISTICS
    network = feature_network(name, *settings.shape, mirrored=name == LITE0)
    return image_features(network, Stored(prepared), progress)


def _passed(
    network: keras.Model, images: Images, rows: NDArray[np.int64], progress: Progress | None
) -> Any:
    """Yield the features of some images, part by part."""
    for start in range(0, len(rows), _PART):
        part = np.asarray(images[rows[start : start + _PART]])
        yield _predicted(network, part)
        if progress is not None:
            progress(min(start + _PART, len(rows)), len(rows))


def _predicted(network: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
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


def _kept(
    folder: Path, network: keras.Model, images: Stored, progress: Progress | None
) -> NDArray[np.float32]:
    """Return features, from the folder's parts where they are there; add a part of the others."""
    width = network.output.shape[1]
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
    for features in _passed(network, images, rows, progress):
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
