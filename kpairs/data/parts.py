"""Values by key on disk, in parts that are written once: features of images, digests of files.

Small parts are joined now and then, so that there are few of them however many values there are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from kpairs.data.rows import blocks
from kpairs.errors import CacheError
from kpairs.files import atomic_path

KEY = 16  # bytes of a key
Keys = NDArray[np.bytes_]
_MOST = 4 * 2**30  # bytes that are kept; what was used longest ago goes first
_SMALL = 2**26  # bytes of a part that is joined with others
_MANY = 64  # small parts of a folder, above which they are joined


class Parts:
    """Values by key in a folder. Damaged parts count for nothing.

    Args:
        folder: the folder, beside those of other values; all of them together are bounded.
        values: dtype of one value, such as `np.dtype((np.float32, (816,)))`.
    """

    def __init__(self, folder: Path, values: np.dtype[Any]) -> None:
        self.folder, self.values = folder, values
        self.table = np.dtype([("key", f"S{KEY}"), ("value", values)])
        self._sorted: dict[Path, tuple[Keys, NDArray[np.int64]]] = {}  # keys, and their places

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

    def find(
        self, keys: Keys, found: Any = None, known: NDArray[np.bool_] | None = None
    ) -> tuple[Any, NDArray[np.bool_]]:
        """Fill in the values of n keys.

        Args:
            keys: n keys.
            found: n values, an array or `Rows`, of which those that are not known are filled in.
                Default zeros.
            known: `(n,)`, which of them are known already. Default none.

        Returns:
            `found` and `known`, which are changed in place.
        """
        found = np.zeros(len(keys), self.table)["value"] if found is None else found
        known = np.zeros(len(keys), bool) if known is None else known
        files = sorted(self.folder.glob("*.npy"))
        self._sorted = {file: self._sorted.get(file) or self._keys(file) for file in files}
        for file, (there, order) in self._sorted.items():
            if not len(there) or known.all():
                continue
            place = np.minimum(np.searchsorted(there, keys), len(there) - 1)
            here = np.flatnonzero(~known & (there[place] == keys))
            part = self._read(file) if len(here) else None
            if part is None:
                continue
            for some in blocks(here):  # of copies more than the part holds
                values = part["value"][order[place[some]]]
                if values.dtype == np.float32:  # in a damaged part are others
                    whole = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
                    some, values = some[whole], values[whole]
                found[some], known[some] = values, True
            if known[here].any():
                with suppress(FileNotFoundError):  # other processes remove parts
                    os.utime(file)
        return found, known

    def add(self, keys: Keys, values: NDArray[Any]) -> None:
        """Write a part; remove others where all together are more than is kept."""
        if not len(keys):
            return
        table = np.empty(len(keys), self.table)
        table["key"], table["value"] = keys, values
        self._write(table)
        self._tidy()

    def _write(self, table: NDArray[Any]) -> Path:
        path = self.folder / f"{hashlib.sha256(table['key'].tobytes()).hexdigest()[:32]}.npy"
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.save(file, table)
        return path

    def _keys(self, file: Path) -> tuple[Keys, NDArray[np.int64]]:
        """Return a part's keys in order, and their places; none where it is damaged."""
        part = self._read(file)
        keys = np.zeros(0, f"S{KEY}") if part is None else np.array(part["key"])
        order = np.argsort(keys)
        return keys[order], order

    def _read(self, file: Path) -> NDArray[Any] | None:
        """Map a part; None where it is damaged."""
        try:
            part: NDArray[Any] = np.load(file, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return None
        return part if part.dtype == self.table and part.ndim == 1 and len(part) else None

    def _tidy(self) -> None:
        """Join small parts where they are many, and keep no more than is allowed."""
        stats = dict[Path, os.stat_result]()
        for file in self.folder.parent.glob("*/*.npy"):
            with suppress(FileNotFoundError):  # other processes remove parts
                stats[file] = file.stat()
        sizes = {file: stat.st_size for file, stat in stats.items() if file.parent == self.folder}
        small = sorted((f for f, size in sizes.items() if size < _SMALL), key=lambda f: sizes[f])
        if len(small) > _MANY:
            self._join(small, sizes)
        excess = sum(stat.st_size for stat in stats.values()) - _MOST
        for file in sorted(
            stats, key=lambda file: (file.parent == self.folder, stats[file].st_mtime)
        ):  # other folders', then the oldest
            if excess <= 0:
                break
            file.unlink(missing_ok=True)
            excess -= stats[file].st_size

    def _join(self, files: list[Path], sizes: Mapping[Path, int]) -> None:
        """Write parts as one, the first of them whose bytes together are no small part's."""
        total = 0
        joined = list[Path]()
        for file in files:
            joined.append(file)
            total += sizes[file]
            if total >= _SMALL:
                break
        tables = [part for file in joined if (part := self._read(file)) is not None]
        written = self._write(np.concatenate(tables)) if tables else None
        for file in joined:
            if file != written:  # which it is where all others are damaged
                file.unlink(missing_ok=True)
