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

import math
import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpairs.data.grades import GradedFiles, ranked
from kpairs.data.table import Progress, read_table
from kpairs.errors import InputError, UsageError, unknown

COLUMNS = (
    *("left", "right", "label", "winner", "probability"),
    *("weight", "split", "left_grade", "right_grade"),
)
_JUDGEMENTS = ("label", "winner", "probability")
_SPLITS = ("train", "test")
_SIDES = ("left", "right")
_TEST_SHARE = 0.2
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


@dataclass(frozen=True)
class Division:
    """Training and test pairs of one file.

    Attributes:
        train, test: the pairs.
        everything: the pairs of both, and those that are lost.
        lost: rows in neither, since one of their images is in each.
        shared: images on both sides, where the file itself says the split.
        unjudged: rows without a judgement, which are left out.
    """

    train: ListedPairs
    test: ListedPairs
    everything: ListedPairs
    lost: int
    shared: int
    unjudged: int = 0

    def __str__(self) -> str:
        found = agreement(self.everything)
        left, right, ties = (f"{100 * n / len(self.everything):.3g} %" for n in found.higher)
        parts = [
            f"{self.everything.source}: {len(self.everything):,} judgements of {found.images:,} "
            f"images; left ranks higher in {left}, right in {right}, ties {ties}",
            f"{len(self.train):,} to train, {len(self.test):,} to test",
        ]
        for count, text in (
            (self.lost, "left out, since one image is for training and one for testing"),
            (self.shared, "images on both sides, as the file says"),
            (self.unjudged, "rows without a judgement left out"),
            (found.contradicting, "pairs of images judged both ways"),
            (found.cyclic, "pairs on cycles (a above b above c above a)"),
        ):
            if count:
                parts.append(f"{count:,} {text}")
        if grades := self.everything.classes:
            parts.append(f"grades {' < '.join(grades)}")
        return "; ".join(parts)


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


def parse_columns(text: str) -> dict[str, str]:
    """Read the headers of a file by the names in `COLUMNS`: "left=image_0,label=label_1".

    Raises:
        UsageError: text of another form, or a name that is not in `COLUMNS`.
    """
    columns = {}
    for part in text.split(","):
        name, equals, own = (piece.strip() for piece in part.partition("="))
        if not (equals and own):
            raise UsageError(
                f"columns: expected headers such as left=image_0,right=image_1, received {text!r}"
            )
        if name not in COLUMNS:
            raise unknown("column", name, COLUMNS)
        columns[name] = own
    return columns


def are_pairs(path: str | Path, columns: Mapping[str, str] | None = None) -> bool:
    """Whether a CSV file has the columns left and right; where others are named it is to.

    Raises:
        InputError: the file cannot be read.
    """
    return bool(columns) or set(_SIDES) <= set(next(read_table(path, "pairs or grades"))[1])


_last: dict[object, Division] = {}  # a long file is not read once for each split


def divided_pairs(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Division:
    """Read a CSV file of compared pairs and divide it for training and testing.

    Args:
        path: the file.
        columns: as `read_pairs` takes them.
        classes: as `read_pairs` takes them.
        progress: as `read_table` takes it.

    Raises:
        UsageError: see `read_pairs`.
        InputError: see `read_pairs` and `divide`.
    """
    path = Path(path)
    status = path.stat() if path.is_file() else None
    stamp = status and (status.st_mtime_ns, status.st_size)
    key = (str(path.absolute()), stamp, tuple((columns or {}).items()), classes and tuple(classes))
    if key not in _last:
        pairs, split, unjudged = read_pairs(path, columns, classes, progress)
        division = replace(divide(pairs, split), unjudged=unjudged)
        _last.clear()
        _last[key] = division
    return _last[key]


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
            if cell["split"].lower() not in _SPLITS:
                raise self._error(number, "the split train or test", cell["split"] or "none")
            self.split.append(_SPLITS.index(cell["split"].lower()))
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
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= most:
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


def divide(pairs: ListedPairs, split: NDArray[np.int64] | None = None, seed: int = 0) -> Division:
    """Divide pairs for training and for testing, so that no image is on both sides.

    Args:
        pairs: all of a file.
        split: 0 for training, 1 for testing, where the file says; then images may be on both
            sides. Else a fifth of the images is for testing.
        seed: of the draw.

    Raises:
        InputError: a side without pairs, or with ties only.
    """
    if split is None:
        shares, rng = (1 - _TEST_SHARE, _TEST_SHARE), np.random.default_rng(seed)
        groups = image_groups(pairs.left, pairs.right, shares, rng)
        sides = groups[pairs.left], groups[pairs.right]
        split = np.where(sides[0] == sides[1], sides[0], -1)
    parts = []
    for number, part in enumerate(_SPLITS):
        chosen = pairs.take(split == number, f"{pairs.source} {part} split")
        _check_side(chosen, part)
        parts.append(chosen)
    train, test = parts
    return Division(
        train,
        test,
        pairs,
        lost=int(np.count_nonzero(split < 0)),
        shared=len(set(train.files) & set(test.files)),
    )


def _check_side(pairs: ListedPairs, part: str) -> None:
    if not len(pairs):
        raise InputError(
            f"{pairs.source}: expected pairs for the {part} split, received none; where no column "
            "split says, a fifth of the images is for testing"
        )
    if pairs.weight is not None and not pairs.weight.any():
        raise InputError(
            f"{pairs.source}: expected weights above 0 in the {part} split, received only zeros"
        )
    if (pairs.probability == 0.5).all():
        raise InputError(
            f"{pairs.source}: expected pairs of which one ranks higher in the {part} split, "
            f"received ties only ({len(pairs):,})"
        )


def image_groups(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    shares: Sequence[float],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Put every image into one of several groups, pairs together where that is possible.

    Pairs are gone through in a random order; where neither image has a group yet, both go into the
    one that lacks most. So more pairs have both images in one group than if each image were drawn
    by itself, and yet the groups are alike.

    Args:
        left: `(n,)` numbers of images from 0.
        right: the other image of each pair.
        shares: of the images, by group; they add up to 1.
        rng: what the order is drawn from.

    Returns:
        The group of each image, by its number.
    """
    count = int(max(left.max(), right.max())) + 1
    lacking = [share * count for share in shares]
    group = [UNKNOWN] * count

    def put(*images: int) -> None:
        number = lacking.index(max(lacking))
        lacking[number] -= len(images)
        for image in images:
            group[image] = number

    order = rng.permutation(len(left))
    for one, other in zip(left[order].tolist(), right[order].tolist(), strict=True):
        if group[one] == group[other] == UNKNOWN:
            put(one, other)
    for image in rng.permutation(count).tolist():
        if group[image] == UNKNOWN:
            put(image)
    return np.array(group)


@dataclass(frozen=True)
class Agreement:
    """How far the judgements of a file agree with each other.

    Attributes:
        images: how many.
        higher: how often left, right and neither ranks higher.
        contradicting: pairs of images of which rows say both that one and that the other ranks
            higher.
        cyclic: pairs on a cycle, where a is above b, b above c and c above a, by the majority.
    """

    images: int
    higher: tuple[int, int, int]
    contradicting: int
    cyclic: int


def agreement(pairs: ListedPairs) -> Agreement:
    """Count ties, contradictions and cycles; all of them are fine to train on."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    margin = np.sign(pairs.probability - 0.5).astype(np.int64)  # 1 where right ranks higher
    low, high = np.minimum(pairs.left, pairs.right), np.maximum(pairs.left, pairs.right)
    upward = np.where(pairs.left < pairs.right, margin, -margin)  # 1 where `high` ranks higher
    count = len(pairs.files)
    unordered, row = np.unique(low * count + high, return_inverse=True)
    votes = [np.bincount(row[upward == side], minlength=len(unordered)) for side in (1, -1)]
    majority = np.sign(votes[0] - votes[1])
    first, second = unordered // count, unordered % count
    below, above = np.where(majority >= 0, (first, second), (second, first))[:, majority != 0]
    graph = coo_array((np.ones(len(below)), (below, above)), shape=(count, count))
    _, component = connected_components(graph, connection="strong")
    return Agreement(
        images=count,
        higher=tuple(int(np.count_nonzero(margin == side)) for side in (-1, 1, 0)),
        contradicting=int(np.count_nonzero((votes[0] > 0) & (votes[1] > 0))),
        cyclic=int(np.count_nonzero(component[below] == component[above])),
    )
