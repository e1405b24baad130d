"""Features that somebody has already: a file with a row of numbers for each name."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.settings import MOST_FEATURES
from kpairs.data.table import number, read_table
from kpairs.errors import InputError, first_line, missing
from kpairs.files import atomic_path

log = logging.getLogger(__name__)

_ENDINGS = (".csv", ".npz", ".npy")
_NARROW = 1e-6  # of the widest column's deviation: a narrower one is a constant to a linear head


@dataclass(frozen=True, eq=False)
class Vectors:
    """Features by name.

    Attributes:
        names: n different names.
        values: `(n, d)` float32, finite.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]

    @cached_property
    def number(self) -> dict[str, int]:
        """The row of each name."""
        return {name: row for row, name in enumerate(self.names)}

    def of(self, names: Iterable[str]) -> NDArray[np.float32]:
        """Return the features of some names, which are all there."""
        return self.values[[self.number[name] for name in names]]

    def fingerprint(self, name: str) -> str:
        """Return a digest of a name's features; equal ones have the same."""
        return hashlib.blake2b(self.values[self.number[name]].tobytes(), digest_size=16).hexdigest()

    def save(self, path: Path) -> None:
        """Write an .npz file, which `read_vectors` reads."""
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, names=np.array(self.names), features=self.values)


def are_vectors(path: str | Path) -> bool:
    """Tell by its ending whether a path is that of a file of features, and of no folder."""
    return str(path).lower().endswith(_ENDINGS) and not Path(path).is_dir()


def read_vectors(path: str | Path) -> Vectors:
    """Read features by name.

    Args:
        path: an .npz file with the arrays `names`, `(n,)` texts or whole numbers, and `features`,
            `(n, d)` numbers; or a table whose first column is the name and the others are numbers.

    Raises:
        InputError: another file, a name that stands twice, or what is no finite number.
    """
    path = Path(path)
    if not path.is_file():
        raise missing(path) if not path.exists() else _refused(path, "a folder")
    ending = path.suffix.lower()
    if ending == ".npy":
        raise _refused(path, "an .npy file, which holds no names")
    if ending not in _ENDINGS:
        raise _refused(path, f"a file that ends in {ending or 'nothing'}")
    names, rows = _of_table(path) if ending == ".csv" else _of_arrays(path)
    if rows.ndim != 2 or names.shape != rows.shape[:1] or rows.dtype.kind not in "fiu":
        raise _refused(path, f"{rows.dtype} features {rows.shape} and {names.shape} names")
    if len(names) < 2 or not 1 <= rows.shape[1] <= MOST_FEATURES:
        raise InputError(
            f"{path}: expected at least 2 rows of 1 to {MOST_FEATURES:,} features, received "
            f"{len(names)} of {rows.shape[1]}"
        )
    with np.errstate(over="ignore"):  # what is too large is found below
        values: NDArray[np.float32] = rows.astype(np.float32)
    found = Vectors(tuple(names.astype(str).tolist()), values)
    if (odd := ~np.isfinite(values)).any():
        row, column = np.argwhere(odd)[0].tolist()
        raise InputError(
            f"{path}: expected finite numbers, received {values[row, column]} as feature "
            f"{column + 1} of {found.names[row]!r}"
        )
    if len(found.number) < len(found.names):
        twice = next(n for row, n in enumerate(found.names) if found.number[n] != row)
        raise InputError(f"{path}: expected each name once, received {twice!r} twice")
    spread = values.std(axis=0, dtype=np.float64)
    if narrow := int(np.count_nonzero((spread > 0) & (spread <= _NARROW * spread.max()))):
        log.warning(
            "%s: %s of %s features vary a million times less than the widest one, and are not "
            "used; bring them to like scales",
            *(path, f"{narrow:,}", f"{values.shape[1]:,}"),
        )
    return found


def _refused(path: Path, received: str) -> InputError:
    return InputError(
        f"{path}: expected features by name: a .csv file, or an .npz file with the arrays names "
        f"(n) and features (n, d); received {received}"
    )


def _of_arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, values = arrays["names"], arrays["features"]
    except Exception as error:  # zipfile, zlib and NumPy each raise their own kinds
        raise _refused(path, f"what cannot be read: {first_line(error)}") from error
    if names.dtype.kind not in "Uiu":
        raise _refused(path, f"names of the type {names.dtype}")
    return names, values


def _of_table(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    table = read_table(path, "features")
    header = next(table)[1]
    names, rows = list[str](), list[list[float]]()
    for row, (name, *cells) in table:
        found = [number(cell) for cell in cells]
        if not name or None in found:
            odd = "no name" if not name else f"{cells[found.index(None)]!r}"
            raise InputError(
                f"{path} row {row}: expected a name and {len(header) - 1} numbers, received {odd}"
            )
        names.append(name)
        rows.append([value for value in found if value is not None])
    return np.array(names, str), np.array(rows, np.float64).reshape(len(rows), len(header) - 1)
