"""Parts that tables of compared pairs and of rated images share: columns, paths, splits, groups."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpairs.data.columns import COLUMNS
from kpairs.data.listing import fingerprint, list_images
from kpairs.data.table import Header
from kpairs.data.vectors import Vectors, are_vectors, read_vectors
from kpairs.errors import InputError, unknown

log = logging.getLogger(__name__)

SPLITS = ("train", "test")
_SPLIT_WORDS = {  # of other projects, too
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("test", "testing", "eval", "holdout"), 1),
    **dict.fromkeys(("val", "valid", "validation", "dev"), 2),
}
SPLIT_NAMES = (*SPLITS, "val")


@dataclass(frozen=True)
class ImageFiles:
    """Image files that a source lists, each once and not yet decoded.

    Attributes:
        files: absolute paths; names, where features are known.
        places: where each file is first listed ("grades.csv row 17"), for messages.
        name: the words for the source in messages.
        source: the folder or table.
        vectors: features by name, in the place of image files.
    """

    files: tuple[str, ...]
    places: tuple[str, ...]
    name: str
    source: Path
    vectors: Vectors | None = None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, numbers: Iterable[int], name: str) -> ImageFiles:
        """Return the files of these numbers, in their order."""
        numbers = tuple(numbers)
        files, places = (tuple(part[i] for i in numbers) for part in (self.files, self.places))
        return replace(self, files=files, places=places, name=name)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """What tells each of the files, or its features, from others."""
        tell = fingerprint if self.vectors is None else self.vectors.fingerprint
        return {file: tell(file) for file in self.files}


class Columns:
    """The numbers of a table's columns by the names in `kpairs.data.columns.COLUMNS`.

    `columns` are the table's own headers by those names, where they differ. A name that is not in
    `COLUMNS` raises UsageError, a header that the table lacks InputError.
    """

    def __init__(self, header: list[str], columns: Mapping[str, str] | None, path: Path) -> None:
        header = header if isinstance(header, Header) else Header(header)
        self.header, self.path, self.chosen = header, path, dict(columns or {})
        self._at: dict[str, int] = {}
        for name, own in self.chosen.items():
            if name not in COLUMNS:
                raise unknown("column", name, COLUMNS)
            found = header.find(own)
            if found is None:
                raise InputError(
                    f"{path}: expected the column {own}, received {', '.join(header.written)}"
                )
            self._at[name] = found
        taken = set(self._at.values())
        for name in COLUMNS:
            found = header.find(name)
            if name not in self._at and found is not None and found not in taken:
                self._at[name] = found

    def __contains__(self, name: str) -> bool:
        return name in self._at

    def among(self, names: Iterable[str]) -> list[str]:
        """Return which of these names the table has; those that the user named exclude others."""
        there = [name for name in names if name in self._at]
        return [name for name in there if name in self.chosen] or there

    def cell(self, cells: Sequence[str], name: str) -> str:
        """Return a row's cell of a column; "" where the table has no such column."""
        return cells[self._at[name]] if name in self._at else ""


class Places:
    """The files that a table's texts stand for, each file once.

    Args:
        path: the table; its texts are paths relative to it.
        folder: where the images are instead; then a text may also be a file's name, with or
            without its ending. Or a file of features by the table's texts.
        skip_missing: leave out the rows of files that are not there.

    Attributes:
        files: number of each file, by absolute path.
        rows: row in which each file is first named.
    """

    def __init__(
        self, path: Path, folder: str | Path | None = None, skip_missing: bool = False
    ) -> None:
        self.path, self.folder = path, None if folder is None else Path(folder)
        self._skip_missing, self._skipped = skip_missing, 0  # rows
        self.files: dict[str, int] = {}
        self.rows: list[int] = []
        self._groups: dict[int, str] = {}  # by number of the file
        self._known: dict[str, int] = {}
        self._missing: dict[str, int] = {}  # row by text
        known = self.folder is not None and are_vectors(self.folder)
        self.vectors = read_vectors(self.folder) if self.folder and known else None
        self._named = {} if self.folder is None or known else _by_name(self.folder)

    def skips(self, row: int, *texts: str) -> bool:
        """Return whether a row is left out, since a file that it names is missing; count it."""
        if not self._skip_missing:
            return False
        new = [text for text in texts if text and text not in self._known and "\0" not in text]
        gone = [text for text in new if self._find(text, row) is None]
        for text in gone:
            self._missing.setdefault(text, row)
        self._skipped += bool(gone)
        return bool(gone)

    def number(self, text: str, row: int) -> int:
        """Return the number of the file that a text stands for; refuse none, or several."""
        if (known := self._known.get(text)) is not None:
            return known
        if not text or "\0" in text:
            raise InputError(f"{self.path} row {row}: expected an image file, received no path")
        file = self._find(text, row)
        if file is None:
            self._missing.setdefault(text, row)
            file = text
        number = self.files.setdefault(file, len(self.files))
        if number == len(self.rows):
            self.rows.append(row)
        self._known[text] = number
        return number

    def _find(self, text: str, row: int) -> str | None:
        if self.vectors is not None:
            return text if text in self.vectors.number else None
        if self.folder is None:
            # The real path: a link and what it leads to are one image.
            file = os.path.realpath(self.path.parent / text)
            return file if os.path.isfile(file) else None
        below = os.path.realpath(self.folder / text)
        if os.path.isfile(below):
            return below
        found = self._named.get(text, ())
        if len(found) > 1:
            raise InputError(
                f"{self.path} row {row}: expected the name of one image, received {text!r}, which "
                f"{len(found)} files in {self.folder} have, such as {found[0]} and {found[1]}"
            )
        return found[0] if found else None

    def join(self, number: int, group: str, row: int) -> None:
        """Note the group of a file; refuse another than that of a row before."""
        if (known := self._groups.setdefault(number, group)) != group:
            raise InputError(
                f"{self.path} row {row}: expected one group for {list(self.files)[number]}, "
                f"received {group!r} here and {known!r} before"
            )

    @property
    def groups(self) -> tuple[str, ...] | None:
        """Name of the group of each file, "" for none; None where nothing says."""
        each = (self._groups.get(i, "") for i in range(len(self.files)))
        return tuple(each) if self._groups else None

    def check(self) -> None:
        """Refuse a table that names missing files, or say how many rows they leave out."""
        if self._missing:
            text, row = next(iter(self._missing.items()))
            if self._skip_missing:
                more = f" and {len(self._missing) - 1:,} more" * (len(self._missing) > 1)
                rows = f"{self._skipped:,} row{'s' * (self._skipped > 1)}"
                said = "%s: left out %s, as images are missing: %r (row %s)%s"
                log.warning(said, self.path, rows, text, row, more)
                return
            where = self.path.parent if self.folder is None else self.folder
            if self.vectors is not None:
                raise InputError(
                    f"{self.path} row {row}: no features of {text!r} in {where}; those of "
                    f"{len(self._missing):,} of the {len(self.files):,} names in the table are "
                    "missing"
                )
            raise InputError(
                f"{self.path} row {row}: no image file {text!r} in {where}; {len(self._missing):,} "
                f"of the {len(self.files):,} images that the table names are missing. "
                "Say where the images are: --images FOLDER; or leave their rows out: --skip-missing"
            )

    def images(self, name: str) -> ImageFiles:
        """Return the files in the order of their numbers."""
        places = tuple(f"{self.path} row {row}" for row in self.rows)
        return ImageFiles(tuple(self.files), places, name, self.path, self.vectors)


def _by_name(folder: Path) -> dict[str, list[str]]:
    """Return the real paths of a folder's images by name and by name without ending."""
    found: dict[str, list[str]] = {}
    for file in list_images(folder).files:
        for name in {file.name, file.stem}:
            found.setdefault(name, []).append(os.path.realpath(file))
    return found


def known_split(text: str) -> int | None:
    """Return the number of a split in `SPLIT_NAMES` by a word for it; None for another word."""
    return _SPLIT_WORDS.get(text.lower())


def without_val(split: NDArray[np.int64], rows: str) -> tuple[NDArray[np.int64], str]:
    """Return splits without val, and a sentence about what happens to it, which counts `rows`.

    Where nothing else is for testing, val is; else it is trained on: `--validation` sets images
    aside by itself.
    """
    val = split == 2
    if not val.any():
        return split, ""
    tested = not (split == 1).any()
    said = "for testing, as the split test is empty" if tested else "for training, beside train"
    return np.where(val, int(tested), split), f"{np.count_nonzero(val):,} {rows} of val are {said}"


def split_number(text: str, path: Path, row: int) -> int:
    """Return the number of a split in `SPLIT_NAMES`; refuse another word."""
    part = known_split(text)
    if part is None:
        raise InputError(
            f"{path} row {row}: expected the split train, val or test, received {text or 'none'}"
        )
    return part
