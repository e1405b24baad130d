"""A matrix that stays in a file, of which rows are read when they are needed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from threading import Lock
from typing import IO, Any, cast
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from kpairs.errors import CacheError

_AT_ONCE = 1024  # rows that are read together


class Rows:
    """Rows of float32 numbers in a temporary file, which ends with its last user.

    `rows[numbers]` reads some of them, and `rows[numbers] = values` writes some. The file is not
    mapped: its pages would count as this process's memory. A forked worker opens the file itself;
    any other process is sent an array.

    Args:
        parts: arrays `(any number, width)`, one after the other.
        width: numbers of a row.
        folder: where the file is; default the system's folder of temporary files.

    Raises:
        CacheError: there is no space for it.
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(
        self, parts: Iterable[NDArray[Any]], width: int, folder: Path | None = None
    ) -> None:
        self._lock, self._chosen = Lock(), cast(NDArray[np.int64] | None, None)
        count = 0
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115
                buffering=0, dir=folder
            )
            finalize(self._lock, self._file.close)  # the lock is shared by all users of the file
            for part in parts:
                self._file.write(part.astype(np.float32, copy=False).tobytes())
                count += len(part)
        except OSError as error:
            raise CacheError(
                f"{folder or tempfile.gettempdir()}: cannot keep features here: {error}"
            ) from error
        self.shape = count, width

    @classmethod
    def zeros(cls, count: int, width: int, folder: Path | None = None) -> Rows:
        """Return so many rows to be filled."""
        found = cls((), width, folder)
        found._file.truncate(4 * count * width)
        found.shape = count, width
        return found

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, numbers: NDArray[np.int64]) -> Rows:
        """Return these rows, in their order; none is read."""
        found = Rows.__new__(Rows)
        vars(found).update(vars(self))
        found._chosen = self._places(numbers)
        found.shape = len(found._chosen), self.shape[1]
        return found

    def __getitem__(self, numbers: Any) -> NDArray[np.float32]:
        places = self._places(numbers)
        found = np.empty((len(places), self.shape[1]), np.float32)
        with self._lock:
            for part in self._runs(places):
                if self._file.readinto(found[part]) != found[part].nbytes:  # type: ignore[attr-defined]
                    raise IndexError(f"expected numbers of {self.shape[0]} rows")
        return found if np.ndim(numbers) or isinstance(numbers, slice) else found[0]

    def __setitem__(self, numbers: Any, values: NDArray[np.float32]) -> None:
        places = self._places(numbers)
        with self._lock:
            for part in self._runs(places):
                self._file.write(values[part].astype(np.float32, copy=False).tobytes())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found = self[:]
        return found if dtype is None else found.astype(dtype, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return np.asarray, (self[:],)

    @classmethod
    def _opened(cls, path: str, shape: tuple[int, int], chosen: NDArray[np.int64] | None) -> Rows:
        found = cls.__new__(cls)
        found._lock, found._chosen, found.shape = Lock(), chosen, shape
        found._file = open(path, "r+b", buffering=0)  # noqa: SIM115
        finalize(found._lock, found._file.close)
        return found

    def _by_place(self) -> tuple[Any, ...]:
        """Return what a process of this machine needs to open the file, which has no name."""
        path = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"
        return self._opened, (path, self.shape, self._chosen)

    def _places(self, numbers: Any) -> NDArray[np.int64]:
        """Return where rows are in the file."""
        if isinstance(numbers, slice):
            numbers = np.arange(*numbers.indices(len(self)))
        places = np.atleast_1d(numbers)
        places = np.flatnonzero(places) if places.dtype == bool else places
        return places if self._chosen is None else self._chosen[places]

    def _runs(self, places: NDArray[np.int64]) -> Iterator[slice]:
        """Yield rows that follow each other in the file, each time with the file at the first."""
        last = np.arange(len(places)) % _AT_ONCE == 0
        begun = np.flatnonzero(last | (np.diff(places, prepend=-2) != 1)).tolist()
        for start, stop in pairwise([*begun, len(places)]):
            self._file.seek(4 * self.shape[1] * int(places[start]))
            yield slice(start, stop)


if os.path.exists("/proc/self/fd"):  # of multiprocessing alone: a cluster's pickle sends arrays
    ForkingPickler.register(Rows, Rows._by_place)

Matrix = NDArray[np.float32] | Rows


def blocks(matrix: NDArray[Any] | Rows, rows: int = _AT_ONCE) -> Iterator[NDArray[Any]]:
    """Yield the rows of a matrix, some at a time; at least one block, which may be empty."""
    for start in range(0, max(1, len(matrix)), rows):
        yield matrix[start : start + rows]


def moments(
    matrix: NDArray[Any] | Rows, numbers: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and deviation of each column, over some rows or all, read some at a time."""
    numbers = np.arange(len(matrix)) if numbers is None else numbers
    parts = [numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE)]
    centre = sum(matrix[part].sum(axis=0, dtype=np.float64) for part in parts) / len(numbers)
    square = sum(np.square(matrix[part] - centre).sum(axis=0) for part in parts) / len(numbers)
    return np.asarray(centre), np.sqrt(square)
