"""Values by key on disk, in parts that are written once: features of images, digests of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from kpairs.errors import CacheError
from kpairs.files import atomic_path

KEY = 16  # bytes of a key
Keys = NDArray[np.bytes_]
_MOST = 4 * 2**30  # bytes that are kept; what was used longest ago goes first


class Parts:
    """Values by key in a folder. Damaged parts count for nothing.

    Args:
        folder: the folder, beside those of other values; all of them together are bounded.
        values: dtype of one value, such as `np.dtype((np.float32, (816,)))`.
    """

    def __init__(self, folder: Path, values: np.dtype[Any]) -> None:
        self.folder, self.values = folder, values
        self.table = np.dtype([("key", f"S{KEY}"), ("value", values)])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, so that no two processes compute one value.

        Raises:
            CacheError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder.with_suffix(".lock")):
                yield
                os.utime(self.folder)
        except OSError as error:
            raise CacheError(f"{self.folder}: cannot keep values here: {error}") from error

    def find(self, keys: Keys) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the values of n keys, zeros where one is unknown; and `(n,)`, which are known."""
        found = np.zeros(len(keys), self.table)["value"]
        known = np.zeros(len(keys), bool)
        for file in sorted(self.folder.glob("*.npy")):
            part = self._read(file)
            if part is None or known.all():
                continue
            there = np.array(part["key"])
            order = np.argsort(there)
            place = np.minimum(np.searchsorted(there, keys, sorter=order), len(there) - 1)
            here = np.flatnonzero(~known & (there[order[place]] == keys))
            values = part["value"][order[place[here]]]
            if values.dtype == np.float32:  # in a damaged part are others
                whole = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
                here, values = here[whole], values[whole]
            if len(here):
                found[here], known[here] = values, True
                with suppress(FileNotFoundError):  # other processes remove parts
                    os.utime(file)
        return found, known

    def add(self, keys: Keys, values: NDArray[Any]) -> None:
        """Write a part; remove others where all together are more than is kept."""
        if not len(keys):
            return
        table = np.empty(len(keys), self.table)
        table["key"], table["value"] = keys, values
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:32]
        with atomic_path(self.folder / f"{name}.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, table)
        self._bound()

    def _read(self, file: Path) -> NDArray[Any] | None:
        """Map a part; None where it is damaged."""
        try:
            part: NDArray[Any] = np.load(file, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return None
        return part if part.dtype == self.table and part.ndim == 1 and len(part) else None

    def _bound(self) -> None:
        """Remove parts until no more is kept than allowed: other folders', then the oldest."""
        stats = dict[Path, os.stat_result]()
        for file in self.folder.parent.glob("*/*.npy"):
            with suppress(FileNotFoundError):  # other processes remove parts
                stats[file] = file.stat()
        excess = sum(stat.st_size for stat in stats.values()) - _MOST
        mine = self.folder
        for file in sorted(stats, key=lambda file: (file.parent == mine, stats[file].st_mtime)):
            if excess <= 0:
                break
            file.unlink(missing_ok=True)
            excess -= stats[file].st_size
