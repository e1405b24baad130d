"""Pairs that people compared, as a CSV file lists them: which images, and who judged what.

Nothing is decoded here. The file has the columns `left` and `right`, paths relative to it, and one
judgement:

- `label`: which ranks higher, left, right or tie; or a number, as `probability`;
- `winner`: the path of the one that ranks higher, as it stands beside it, or tie;
- `probability`: that left ranks no higher than right, 0 to 1, as when several people were asked.

It may have `weight` (how much the row counts in the loss), `split` (train or test), and
`left_grade` and `right_grade` (where known). A pair may stand in several rows, in either order.
Rows without a judgement are left out, so that a half-filled list of questions can be used.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpairs.data.columns import COLUMNS
from kpairs.data.grades import GradedFiles, ranked
from kpairs.data.table import Progress, read_table
from kpairs.data.table import number as as_number
from kpairs.errors import InputError, unknown

_JUDGEMENTS = ("label", "winner", "probability")
SPLITS = ("train", "test")
_SIDES = ("left", "right")
UNKNOWN = -1  # a grade that nobody gave
# P(left ranks no higher) by who ranks higher.
_WORDS = {"left": 0.0, "right": 1.0, "tie": 0.5}


@dataclass(frozen=True)
class ListedPairs:
    """Compared pairs of image files.

    Attributes:
        files: absolute paths, each once.
        places: where each file is first listed ("pairs.csv row 17"), for messages.
        left, right: `(n,)` int64 numbers in `files`.
        probability: `(n,)` float32, judged P(left ranks no higher): 0, 1, 0.5 for a tie, or what
            several people's judgements come to.
        weight: `(n,)` float32, how much each row counts; None where the file does not say.
        left_grade, right_grade: `(n,)` int64 ranks, -1 where unknown.
        classes: names of the grades, lowest first; empty where there are none.
        name: what to call the pairs in messages.
        source: the CSV file.
    """

    files: tuple[str, ...]
    places: tuple[str, ...]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    probability: NDArray[np.float32]
    weight: NDArray[np.float32] | None
    left_grade: NDArray[np.int64]
    right_grade: NDArray[np.int64]
    classes: tuple[str, ...]
    name: str
    source: Path

    def __len__(self) -> int:
        return len(self.left)

    @property
    def pictures(self) -> GradedFiles:
        """The images, to be looked at and prepared."""
        nobody = np.full(len(self.files), UNKNOWN)
        return GradedFiles(self.files, nobody, self.classes, self.places, self.name, self.source)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_], name: str) -> ListedPairs:
        """Return these rows, and of the files those that they need, in their order."""
        left, right = self.left[rows], self.right[rows]
        used, numbers = np.unique(np.concatenate([left, right]), return_inverse=True)
        left, right = np.split(numbers, 2)
        return replace(
            self,
            files=tuple(self.files[i] for i in used),
            places=tuple(self.places[i] for i in used),
            left=left,
            right=right,
            probability=self.probability[rows],
            weight=None if self.weight is None else self.weight[rows],
            left_grade=self.left_grade[rows],
            right_grade=self.right_grade[rows],
            name=name,
        )


def read_pairs(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> tuple[ListedPairs, NDArray[np.int64] | None, int]:
    """Read a CSV file of compared pairs, of any length, row by row.

    Args:
        path: the file.
        columns: the file's own headers by the names in `COLUMNS`, where they differ.
        classes: the grades, lowest first; needed where their names are no numbers.
        progress: as `read_table` takes it.

    Returns:
        The pairs; for each whether it is for training (0) or for testing (1), None where the file
        has no such column; and how many rows had no judgement.

    Raises:
        UsageError: `columns` names others than `COLUMNS`, or the order of the grades is unknown.
        InputError: the file cannot be read, lacks a column, or has a row that makes no sense:
            a missing image, a pair with itself, a judgement outside its range.
    """
    path = Path(path)
    reader = _Reader(path, columns or {})
    table = read_table(path, "pairs", progress)
    reader.header(next(table)[1])
    for number, cells in table:
        reader.row(number, cells)
    return reader.result(classes)


def are_pairs(path: str | Path, columns: Mapping[str, str] | None = None) -> bool:
    """Whether a CSV file has the columns left and right; where others are named it is to.

    Raises:
        InputError: the file cannot be read.
    """
    return bool(columns) or set(_SIDES) <= set(next(read_table(path, "pairs or grades"))[1])


class _Reader:
    """What the rows so far came to, in arrays of numbers."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        for name in columns:
            if name not in COLUMNS:
                raise unknown("column", name, COLUMNS)
        self.path, self.columns = path, columns
        self.known: dict[str, int] = {}  # number of a file by how it was written
        self.files: dict[str, int] = {}  # and by its absolute path
        self.places: list[int] = []
        self.grades: dict[str, int] = {"": UNKNOWN}
        self.left, self.right = array("q"), array("q")
        self.left_grade, self.right_grade = array("q"), array("q")
        self.probability, self.weight = array("f"), array("f")
        self.split = array("q")
        self.unjudged = 0

    def header(self, header: list[str]) -> None:
        names = {name: self.columns.get(name, name).strip().lower() for name in COLUMNS}
        self.at = {name: header.index(own) for name, own in names.items() if own in header}
        self.judged_by = [name for name in _JUDGEMENTS if name in self.at]
        absent = [self.columns[name] for name in self.columns if name not in self.at]
        if absent or not set(_SIDES) <= set(self.at) or len(self.judged_by) != 1:
            wanted = ", ".join(absent) if absent else "left, right and one of label, winner or "
            raise InputError(
                f"{self.path}: expected the columns {wanted}{'' if absent else 'probability'}; "
                f"received {', '.join(header)}; other headers are named by "
                "--columns left=...,right=...,label=..."
            )
        if twice := [name for name in names.values() if header.count(name) > 1]:
            raise InputError(f"{self.path}: expected one column {twice[0]}, received several")

    def row(self, number: int, cells: list[str]) -> None:
        cell = {name: cells[i] if i < len(cells) else "" for name, i in self.at.items()}
        judgement = cell[self.judged_by[0]]
        if not judgement:
            self.unjudged += 1
            return
        left, right = (self._file(cell[side], number) for side in _SIDES)
        if left == right:
            raise self._error(number, "two different images", f"{cell['left']} twice")
        self.left.append(left)
        self.right.append(right)
        self.probability.append(self._probability(cell, judgement, number))
        if "weight" in self.at:
            self.weight.append(self._number(cell["weight"], number, "a weight of 0 or more"))
        if "split" in self.at:
            if cell["split"].lower() not in SPLITS:
                raise self._error(number, "the split train or test", cell["split"] or "none")
            self.split.append(SPLITS.index(cell["split"].lower()))
        for side, grades in (("left", self.left_grade), ("right", self.right_grade)):
            name = cell.get(f"{side}_grade", "")
            grades.append(self.grades.setdefault(name, len(self.grades) - 1))

    def _file(self, text: str, number: int) -> int:
        if (known := self.known.get(text)) is not None:
            return known
        file = os.path.abspath(self.path.parent / text) if text and "\0" not in text else ""
        if not os.path.isfile(file):
            raise self._error(number, "an image file", repr(text) if text else "no path")
        if file not in self.files:
            self.files[file] = len(self.files)
            self.places.append(number)
        self.known[text] = self.files[file]
        return self.files[file]

    def _probability(self, cell: Mapping[str, str], judgement: str, number: int) -> float:
        kind = self.judged_by[0]
        if kind == "winner":
            for side in _SIDES:
                if judgement == cell[side]:
                    return _WORDS[side]
        if kind != "probability" and judgement.lower() in _WORDS:
            return _WORDS[judgement.lower()]
        wanted = {
            "label": "left, right or tie, or the probability that left ranks no higher (0 to 1)",
            "winner": f"the winner {cell['left']}, {cell['right']} or tie",
            "probability": "the probability that left ranks no higher (0 to 1)",
        }[kind]
        if kind == "winner":
            raise self._error(number, wanted, judgement)
        return self._number(judgement, number, wanted, most=1.0)

    def _number(self, text: str, number: int, wanted: str, most: float = 1e30) -> float:
        value = as_number(text)
        if value is None or not 0 <= value <= most:
            raise self._error(number, wanted, text or "none")
        return value

    def _error(self, number: int, wanted: str, received: str) -> InputError:
        received = received if len(received) <= 80 else f"{received[:77]}..."
        return InputError(f"{self.path} row {number}: expected {wanted}, received {received}")

    def result(
        self, classes: Sequence[str] | None
    ) -> tuple[ListedPairs, NDArray[np.int64] | None, int]:
        if not self.left:
            rows = f"{self.unjudged:,} without a judgement" if self.unjudged else "none"
            raise InputError(
                f"{self.path}: expected judged pairs below the header, received {rows}"
            )
        names = [name for name in self.grades if name]
        order = ranked(names, self.path, classes) if names else ()
        rank = np.array([*(order.index(name) for name in names), UNKNOWN])  # -1 is the last
        pairs = ListedPairs(
            files=tuple(self.files),
            places=tuple(f"{self.path} row {number}" for number in self.places),
            left=np.array(self.left),
            right=np.array(self.right),
            probability=np.array(self.probability),
            weight=np.array(self.weight) if self.weight else None,
            left_grade=rank[np.array(self.left_grade)],
            right_grade=rank[np.array(self.right_grade)],
            classes=order,
            name=str(self.path),
            source=self.path,
        )
        return pairs, np.array(self.split) if self.split else None, self.unjudged
