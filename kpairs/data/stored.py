"""Prepared images in a mapped file; a batch reads the ones that it needs."""

from __future__ import annotations

import hashlib
import mmap
import os
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kpairs.data.rows import Matrix, Rows


class Stored:
    """Some images of a cache file, in some order, in the place of a float32 array.

    Indexing by rows (an array or a slice) gives another `Stored` and reads nothing; `np.asarray`
    reads. A `PairSet` of a hundred thousand images holds their numbers, and another process is sent
    the file's name.

    Args:
        path: a .npy file of `(n, height, width, channels)` uint8, as
            `kpairs.data.cache.prepared_images` writes.
        rows: numbers of images in it; default all, in order.

    Attributes:
        shape: `(n, height, width, channels)`.
    """

    ndim = 4
    dtype = np.dtype(np.float32)

    def __init__(self, path: str | os.PathLike[str], rows: NDArray[np.int64] | None = None) -> None:
        self.path = os.fspath(path)
        self.rows = np.arange(len(self._levels)) if rows is None else rows
        self.shape: tuple[int, ...] = (len(self.rows), *self._levels.shape[1:])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_levels"}

    @cached_property
    def _levels(self) -> NDArray[np.uint8]:
        levels: NDArray[np.uint8] = np.load(self.path, mmap_mode="r")
        return levels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> Self:
        new, chosen = object.__new__(type(self)), self.rows[rows]
        vars(new).update(vars(self), rows=chosen, shape=(len(chosen), *self.shape[1:]))
        return new

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the images: float32 in [0, 1], bit for bit what `prepare` gave."""
        pixels = _PIXELS[self._levels[self.rows]]
        return pixels if dtype is None else pixels.astype(dtype, copy=False)

    def release(self) -> None:
        """Give back the memory of what was read; it is read again where it is needed."""
        mapped = getattr(self._levels, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    def histogram(self) -> NDArray[np.int64]:
        """Return the number of pixels of each of the 256 levels, read some images at a time."""
        counts = np.zeros(256, np.int64)
        for start in range(0, len(self.rows), _AT_ONCE):
            levels = self._levels[self.rows[start : start + _AT_ONCE]]
            counts += np.bincount(levels.ravel(), minlength=256)
        return counts

    def digests(self, size: int) -> NDArray[np.bytes_]:
        """Return a digest of each image's levels, so many bytes long."""
        found = np.empty(len(self.rows), f"S{size}")
        for place, row in enumerate(self.rows.tolist()):
            found[place] = digest_of(self._levels[row], size)
            if place % 1000 == 0:
                self.release()
        return found

    @classmethod
    def joined(cls, first: Stored, second: Stored) -> Stored:
        """Return the images of one after those of the other; both are of one file."""
        if first.path != second.path:
            raise ValueError(f"expected images of one file, received {first.path}, {second.path}")
        both = first[:0]
        both.rows = np.concatenate([first.rows, second.rows])
        both.shape = (len(both.rows), *first.shape[1:])
        return both


class Featured(Stored):
    """Features in the place of images, `(n, 1, d, 1)` float32, in some order.

    Args:
        features: `(m, d)` float32.
        rows: `(n,)` numbers of images.
        places: `(n,)` rows of `features`; default the images' numbers.
    """

    def __init__(
        self,
        features: Matrix,
        rows: NDArray[np.int64],
        places: NDArray[np.int64] | None = None,
    ) -> None:
        self.path, self.rows, self.features, self._places = "", rows, features, places
        self.shape = len(rows), 1, features.shape[1], 1

    @property
    def places(self) -> NDArray[np.int64]:
        """Rows of `features`."""
        return self.rows if self._places is None else self._places

    def matrix(self) -> Matrix:
        """Return the features of each image, `(n, d)`, read from their file when needed."""
        known, places = self.features, self.places
        return known.take(places) if isinstance(known, Rows) else known[places]

    def __getitem__(self, rows: Any) -> Featured:
        new = super().__getitem__(rows)
        new._places = None if self._places is None else self._places[rows]
        return new

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found: NDArray[Any] = self.features[self.places][:, None, :, None]
        return found if dtype is None else found.astype(dtype, copy=False)


def digest_of(levels: NDArray[np.uint8], size: int) -> str:
    """Return a digest of an image's levels in hexadecimal: NumPy's bytes lose zeros at the end."""
    return hashlib.blake2b(levels.tobytes(), digest_size=size // 2).hexdigest()


_AT_ONCE = 256  # images
_PIXELS = (np.arange(256) / 255).astype(np.float32)
