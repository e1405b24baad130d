"""Features that somebody has already: a file with a row of numbers for each name."""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kpairs.data.rows import Rows, blocks, moments
from kpairs.data.settings import MOST_FEATURES
from kpairs.data.table import number, read_table
from kpairs.errors import InputError, first_line, missing
from kpairs.files import atomic_path

log = logging.getLogger(__name__)

_ENDINGS = (".csv", ".npz", ".npy")
_AT_ONCE = 1024  # rows that are read together
_NARROW = 1e-6  # of the widest column's deviation: a narrower one is a constant to a linear head


@dataclass(frozen=True, eq=False)
class Vectors:
    """Features by name.

    Attributes:
        names: n different names.
        values: `(n, d)` float32, finite.
    """

    names: tuple[str, ...]
    values: Rows

    @cached_property
    def number(self) -> dict[str, int]:
        """The row of each name."""
        return {name: row for row, name in enumerate(self.names)}

    def rows(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of some names, which are all there."""
        return np.array([self.number[name] for name in names], np.int64)

    def fingerprint(self, name: str) -> str:
        """Return a digest of a name's features; equal ones have the same."""
        return hashlib.blake2b(self.values[self.number[name]].tobytes(), digest_size=16).hexdigest()

    def save(self, path: Path) -> None:
        """Write an .npz file, which `read_vectors` reads."""
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            with archive.open("names.npy", "w") as file:
                npy.write_array(file, np.array(self.names), allow_pickle=False)
            with archive.open("features.npy", "w", force_zip64=True) as file:
                how = {"descr": "<f4", "fortran_order": False, "shape": self.values.shape}
                npy.write_array_header_1_0(file, how)
                for block in blocks(self.values):
                    file.write(block.astype("<f4", copy=False).tobytes())


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
    names, width, parts = _of_table(path) if ending == ".csv" else _of_arrays(path)
    values = Rows(_finite(parts, path, names), width)
    found = Vectors(tuple(names), values)
    if len(names) < 2 or not 1 <= width <= MOST_FEATURES:
        raise InputError(
            f"{path}: expected at least 2 rows of 1 to {MOST_FEATURES:,} features, received "
            f"{len(names)} of {width}"
        )
    if len(found.number) < len(found.names):
        twice = next(n for row, n in enumerate(found.names) if found.number[n] != row)
        raise InputError(f"{path}: expected each name once, received {twice!r} twice")
    spread = moments(values)[1]
    if narrow := int(np.count_nonzero((spread > 0) & (spread <= _NARROW * spread.max()))):
        log.warning(
            "%s: %s of %s features vary a million times less than the widest one, and are not "
            "used; bring them to like scales",
            *(path, f"{narrow:,}", f"{width:,}"),
        )
    return found


def _refused(path: Path, received: str) -> InputError:
    return InputError(
        f"{path}: expected features by name: a .csv file, or an .npz file with the arrays names "
        f"(n) and features (n, d); received {received}"
    )


_Found = tuple[list[str], int, Iterator[NDArray[Any]]]  # names, numbers of each, their rows


def _of_arrays(path: Path) -> _Found:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays["names"]
        with zipfile.ZipFile(path) as archive, archive.open("features.npy") as file:
            shape, _, kind = _header(file)
    except Exception as error:  # zipfile, zlib and NumPy each raise their own kinds
        raise _refused(path, f"what cannot be read: {first_line(error)}") from error
    if names.dtype.kind not in "Uiu":
        raise _refused(path, f"names of the type {names.dtype}")
    if len(shape) != 2 or names.shape != shape[:1] or kind.kind not in "fiu":
        raise _refused(path, f"{kind} features {shape} and {names.shape} names")
    return names.astype(str).tolist(), shape[1], _members(path)


def _members(path: Path) -> Iterator[NDArray[Any]]:
    """Yield the features of an .npz file, some rows at a time; in one piece if by columns."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("features.npy") as file:
            (count, width), by_columns, kind = _header(file)
            if by_columns and width > 1:
                with np.load(path, allow_pickle=False) as arrays:
                    yield arrays["features"]
                return
            for start in range(0, count, _AT_ONCE):
                size = min(_AT_ONCE, count - start) * width * kind.itemsize
                yield np.frombuffer(file.read(size), kind).reshape(-1, width)
    except Exception as error:  # as above
        raise _refused(path, f"what cannot be read: {first_line(error)}") from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the head of an .npy file: shape, True if by columns, and type."""
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    shape, by_columns, kind = read[npy.read_magic(file)](file)
    return shape, by_columns, kind


def _of_table(path: Path) -> _Found:
    table = read_table(path, "features")
    width, names = len(next(table)[1]) - 1, list[str]()

    def rows() -> Iterator[NDArray[Any]]:
        while some := list(islice(table, _AT_ONCE)):
            yield np.array([read(*each) for each in some], np.float64).reshape(len(some), width)

    def read(row: int, cells: Sequence[str]) -> list[float]:
        name, *texts = cells
        found = [value for text in texts if (value := number(text)) is not None]
        if not name or len(found) < len(texts):
            odd = repr(next(t for t in texts if number(t) is None)) if name else "no name"
            raise InputError(
                f"{path} row {row}: expected a name and {width} numbers, received {odd}"
            )
        names.append(name)
        return found

    return names, width, rows()


def _finite(parts: Iterator[NDArray[Any]], path: Path, names: list[str]) -> Iterator[NDArray[Any]]:
    """Yield parts as float32.

    Raises:
        InputError: a number that is none, or too large.
    """
    done = 0
    for part in parts:
        with np.errstate(over="ignore"):  # what is too large is found below
            values: NDArray[np.float32] = part.astype(np.float32, copy=False)
        if (odd := ~np.isfinite(values)).any():
            row, column = np.argwhere(odd)[0].tolist()
            raise InputError(
                f"{path}: expected finite numbers, received {values[row, column]} as feature "
                f"{column + 1} of {names[done + row]!r}"
            )
        done += len(part)
        yield values
