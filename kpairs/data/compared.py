"""Tables of compared pairs: which images were compared, and which of the two ranks higher.

A table has the columns `left` and `right`, paths of images relative to it, and who ranks higher:

- `label` or `winner`: left, right or tie (other words by `--words`), or the text in the left or
  right column;
- `left_wins`, `right_wins`: the probability that this side ranks higher, 0 to 1; both together may
  be votes.

In place of `left` and `right` it may have `winner` and `loser`, or lists of ranked images, as
`kpairs.data.lists` reads them. It may have `weight` (how much a row counts in the loss), `margin`
(by how much the winner's score should lead), `split` (train, val or test), `judge`, `group` (images
that belong together, such as a patient's; `left_group` and `right_group` where the two differ),
`reason` (why kpairs asked), `left_grade` and `right_grade`. A pair may stand in several rows, in
either order.
Rows without a judgement are left out, so that a half-filled list of questions can be used.

Or it has ranked lists: `image`, `rank` (1 is the highest; equal ranks tie) and `group`, the list
that an image stands in. Every two images of a list become a pair, which trains every network and
every loss. A list of n images counts as n - 1 pairs, which is how many choices it tells. Lists that
share no image are groups: all of a list is in one split.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.annotations import Columns, ImageFiles, Places, split_number, without_val
from kpairs.data.columns import JUDGEMENTS, REASONS
from kpairs.data.grades import ranked
from kpairs.data.table import Header, Progress, number, read_table
from kpairs.errors import InputError, unknown

UNKNOWN = -1  # a grade that nobody gave
_SIDES = ("left", "right")
# P(left ranks no higher) by who ranks higher.
_OUTCOMES = {"left": 0.0, "right": 1.0, "tie": 0.5}
_BY_ROW = (
    *("probability", "weight", "margin", "left_grade", "right_grade", "rows", "split", "judge"),
    "reason",
)
_HEADER = ("left", "right", "label", "weight")  # of the pairs of ranked lists
_KEPT = ("judge", "split")  # of a list, if the table has them
_SHOWN = 5  # unknown words that an error names


@dataclass(frozen=True)
class ComparedImages:
    """Compared pairs of image files.

    Attributes:
        images: the files, each once.
        left, right: `(n,)` int64 numbers of files.
        probability: `(n,)` float32, judged P(left ranks no higher): 0, 1, 0.5 for a tie, or the
            share of several people's judgements.
        weight: `(n,)` float32, how much each row counts; None where the table does not say.
        left_grade, right_grade: `(n,)` int64 ranks, -1 where unknown.
        classes: names of the grades, lowest first; empty where there are none.
        rows: `(n,)` int64 row of the table.
        split: `(n,)` int64, 0 for training and 1 for testing; None where the table does not say.
        judge: `(n,)` names of who judged; None where the table does not say.
        reason: `(n,)` why kpairs asked, a name in `REASONS` or ""; None where nothing says.
        margin: `(n,)` float32, by how much the winner's score should lead; None where the table
            does not say.
        group: name of the group of each file, "" for none; None where the table has no groups.
        unjudged: number of rows without a judgement, which are left out.
        note: a sentence about the split val; empty where there is none.
    """

    images: ImageFiles
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    probability: NDArray[np.float32]
    weight: NDArray[np.float32] | None
    left_grade: NDArray[np.int64]
    right_grade: NDArray[np.int64]
    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    split: NDArray[np.int64] | None = None
    judge: NDArray[np.str_] | None = None
    reason: NDArray[np.str_] | None = None
    margin: NDArray[np.float32] | None = None
    group: tuple[str, ...] | None = None
    unjudged: int = 0
    note: str = ""

    def __len__(self) -> int:
        return len(self.left)

    @property
    def files(self) -> tuple[str, ...]:
        """Absolute paths of the images."""
        return self.images.files

    @property
    def name(self) -> str:
        """The words for the pairs in messages."""
        return self.images.name

    @property
    def source(self) -> Path:
        """The table."""
        return self.images.source

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_], name: str) -> ComparedImages:
        """Return these rows, and the files that they need, in the order of their first use."""
        both = np.stack([self.left[rows], self.right[rows]], axis=1).ravel()
        used, first, number = np.unique(both, return_index=True, return_inverse=True)
        order = np.argsort(first)
        used = used[order]
        left, right = np.argsort(order)[number].reshape(-1, 2).T
        images = self.images.take(used, name)
        chosen: dict[str, Any] = {
            part: None if (values := getattr(self, part)) is None else values[rows]
            for part in _BY_ROW
        }
        group = None if self.group is None else tuple(self.group[i] for i in used)
        return replace(self, images=images, left=left, right=right, group=group, **chosen)

    def in_words(self, row: int) -> str:
        """Say who ranks higher in one row: "row 2: a.png ranks higher than b.png"."""
        paths = [Path(self.files[side[row]]) for side in (self.left, self.right)]
        left, right = (path.name for path in paths)
        if left == right:
            left, right = ("/".join(path.parts[-2:]) for path in paths)
        p = float(self.probability[row])
        start = f"row {self.rows[row]}: "
        if p in (0, 1):
            higher, lower = (right, left) if p else (left, right)
            return f"{start}{higher} ranks higher than {lower}"
        if p == 0.5:
            return f"{start}{left} and {right} tie"
        return f"{start}{right} ranks higher than {left} with probability {p:.3g}"


def read_compared(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    words: Mapping[str, str] | None = None,
    images: str | Path | None = None,
    classes: Sequence[str] | None = None,
    skip_missing: bool = False,
    progress: Progress | None = None,
) -> ComparedImages:
    """Read a table of compared pairs, of any length, row by row.

    Args:
        path: the table, as `kpairs.data.table.read_table` takes it.
        columns: the table's own headers by the usual names, where they differ.
        words: "left", "right" or "tie" by the table's own words.
        images: folder of the images, where it is not the table's own; then a text may be a file's
            name, with or without its ending.
        classes: the grades, lowest first; needed where their names are no numbers.
        skip_missing: leave out rows that name missing images, and say how many.
        progress: called now and then with how many bytes of how many are read.

    Raises:
        UsageError: an unknown column or word, or grades whose order is unknown.
        InputError: the table cannot be read, lacks a column, or has a row that makes no sense: a
            missing image, a pair with itself, a judgement outside its range.
    """
    path = Path(path)
    table = read_table(path, "pairs", progress)
    known = Columns(next(table)[1], columns, path)
    places = Places(path, images, skip_missing)
    if are_lists(known):
        table = _pairs_of_lists(table, known, path, places)
        known = Columns(next(table)[1], None, path)
    reader = _Reader(path, known, words or {}, places)
    for row, cells in table:
        reader.read(row, cells)
    return reader.result(classes)


def are_compared(columns: Columns) -> bool:
    """Tell whether a table with these columns is one of compared pairs, or of ranked lists."""
    by_side = ("left" in columns and "right" in columns) or (
        "winner" in columns and "loser" in columns
    )
    return by_side or are_lists(columns)


def are_lists(columns: Columns) -> bool:
    """Tell whether a table with these columns is one of ranked lists."""
    named = all(name in columns for name in ("image", "rank", "group"))
    return named and not columns.among(("left", "right", "grade", "score"))


def _pairs_of_lists(
    table: Iterable[tuple[int, Sequence[str]]], columns: Columns, path: Path, places: Places
) -> Iterator[tuple[int, list[str]]]:
    """Yield the pairs of ranked lists as rows of a table of compared pairs, the header first.

    Sides take turns, so that a side tells nothing of who ranks higher.

    Args:
        table: rows and cells.
        columns: of the table.
        path: the table, for messages.
        places: the images' files; lists go without those that it skips.

    Yields:
        The row of a pair's second image, and the cells of the pair.

    Raises:
        InputError: a row without a list, or whose rank is no number; an image that stands in a list
            twice; weights or splits that differ within a list.
    """
    kept = [name for name in _KEPT if name in columns]
    lists: dict[tuple[str, str], list[tuple[int, str, float]]] = {}
    shared: dict[tuple[str, str], tuple[str, str]] = {}
    for row, cells in table:
        image, group, text = (columns.cell(cells, name) for name in ("image", "group", "rank"))
        rank = number(text)
        if not group or rank is None:
            wanted = "the list that the image stands in, in group" if not group else "a rank"
            raise InputError(f"{path} row {row}: expected {wanted}, received {text or 'nothing'!r}")
        key = (group, columns.cell(cells, "judge"))
        known = columns.cell(cells, "split"), columns.cell(cells, "weight")
        if shared.setdefault(key, known) != known:
            raise InputError(
                f"{path} row {row}: expected one split and one weight in the list {group}, "
                f"received {', '.join(filter(None, known)) or 'none'} after "
                f"{', '.join(filter(None, shared[key])) or 'none'}"
            )
        ranked = lists.setdefault(key, [])
        if any(image == other for _, other, _ in ranked):
            raise InputError(f"{path} row {row}: expected {image} once in the list {group}")
        if not places.skips(row, image):
            ranked.append((row, image, rank))
    homes = {(image, key[0]) for key, ranked in lists.items() for _, image, _ in ranked}
    if len(homes) == len({image for image, _ in homes}):  # else lists share images
        kept.append("group")
    yield 1, Header([*_HEADER, *kept])
    for key, ranked in lists.items():
        split, weight = shared[key]
        each = 2 / len(ranked) * _weight(weight, path, ranked[0][0])
        tail = [{"judge": key[1], "split": split, "group": key[0]}[name] for name in kept]
        for turn, pair in enumerate(combinations(ranked, 2)):
            (_, left, of_left), (row, right, of_right) = pair if turn % 2 else pair[::-1]
            label = "tie" if of_left == of_right else "left" if of_left < of_right else "right"
            yield max(pair)[0], [left, right, label, repr(each), *tail]


def _weight(text: str, path: Path, row: int) -> float:
    value = number(text) if text else 1.0
    if value is None or value < 0:
        raise InputError(f"{path} row {row}: expected a weight of 0 or more, received {text}")
    return value


class _Reader:
    """The rows read so far, as arrays of numbers."""

    def __init__(
        self,
        path: Path,
        columns: Columns,
        words: Mapping[str, str],
        places: Places,
    ) -> None:
        self.path, self.columns = path, columns
        self.words = {word.lower(): word for word in _OUTCOMES} | {
            word.lower(): side for word, side in words.items()
        }
        if wrong := set(words.values()) - set(_OUTCOMES):
            raise unknown("meaning of a word", sorted(wrong)[0], _OUTCOMES)
        self.by_loser = "loser" in columns and "left" not in columns
        self.sides = ("winner", "loser") if self.by_loser else _SIDES
        self.judged_by = self._judged_by()
        self.places = places
        self.grades: dict[str, int] = {"": UNKNOWN}
        self.left, self.right, self.rows = array("q"), array("q"), array("q")
        self.left_grade, self.right_grade, self.split = array("q"), array("q"), array("q")
        self.probability, self.weight, self.margin = array("f"), array("f"), array("f")
        self.judge: list[str] = []
        self.reason: list[str] = []
        self.unjudged = 0
        self.odd: Counter[str] = Counter()  # words that nobody explained
        self.first_odd = 0

    def _judged_by(self) -> list[str]:
        if self.by_loser:
            return []
        there = self.columns.among(JUDGEMENTS)
        if not {"left", "right"} <= {s for s in _SIDES if s in self.columns} or not (
            len(there) == 1 or there == ["left_wins", "right_wins"]
        ):
            have = ", ".join(self.columns.header.written)
            several = f", not {' and '.join(there)} together" if len(there) > 1 else ""
            raise InputError(
                f"{self.path}: expected the columns left, right and who ranks higher (label, "
                f"winner, left_wins or right_wins){several}; received {have}. Other headers: "
                "--columns left=...,right=...,label=..."
            )
        return there

    def read(self, row: int, cells: Sequence[str]) -> None:
        """Take in one row."""
        cell = {name: self.columns.cell(cells, name) for name in (*self.sides, *self.judged_by)}
        judged = [cell[name] for name in self.judged_by or ("winner",)]
        if not any(judged) or (self.by_loser and judged[0].lower() in ("none", "tie")):
            self.unjudged += 1
            return
        if self.places.skips(row, *(cell[side] for side in self.sides)):
            return
        left, right = (self.places.number(cell[side], row) for side in self.sides)
        if left == right:
            raise InputError(
                f"{self.path} row {row}: expected two different images, received "
                f"{cell[self.sides[0]]} twice"
            )
        probability, votes = self._probability(cell, row)
        if "weight" in self.columns:
            text = self.columns.cell(cells, "weight")
            votes *= self._number(text, row, "a weight of 0 or more", 1e30)
        if "margin" in self.columns:
            text = self.columns.cell(cells, "margin")
            self.margin.append(self._number(text, row, "a margin of 0 or more", 1e6))
        if "split" in self.columns:
            self.split.append(split_number(self.columns.cell(cells, "split"), self.path, row))
        self.left.append(left)
        self.right.append(right)
        self.rows.append(row)
        self.probability.append(probability)
        self.weight.append(votes)
        self.judge.append(self.columns.cell(cells, "judge"))
        self.reason.append(self.columns.cell(cells, "reason").lower())
        for side, image in zip(_SIDES, (left, right), strict=True):
            for name in ("group", f"{side}_group"):
                if name in self.columns and (group := self.columns.cell(cells, name)):
                    self.places.join(image, group, row)
        for side, grades in (("left", self.left_grade), ("right", self.right_grade)):
            name = self.columns.cell(cells, f"{side}_grade")
            grades.append(self.grades.setdefault(name, len(self.grades) - 1))

    def _probability(self, cell: Mapping[str, str], row: int) -> tuple[float, float]:
        """Return P(left ranks no higher), and how many votes that stands for."""
        if self.by_loser:
            return _OUTCOMES["left"], 1.0
        kind = self.judged_by[0]
        if kind in ("label", "winner"):
            return self._outcome(cell, cell[kind], row), 1.0
        wins = {
            name: self._number(cell[name], row, f"{name}, 0 or more", 1e9)
            for name in self.judged_by
        }
        if len(wins) == 1:
            value = wins[kind]
            if value > 1:
                raise InputError(
                    f"{self.path} row {row}: expected {kind} as a probability, 0 to 1, received "
                    f"{cell[kind]}; votes need both left_wins and right_wins"
                )
            return (value if kind == "right_wins" else 1 - value), 1.0
        total = wins["left_wins"] + wins["right_wins"]
        if not total:
            raise InputError(f"{self.path} row {row}: expected votes for a side, received none")
        return wins["right_wins"] / total, max(1.0, total)

    def _outcome(self, cell: Mapping[str, str], text: str, row: int) -> float:
        if (side := self.words.get(text.lower())) is not None:
            return _OUTCOMES[side]
        for side in _SIDES:
            if text == cell[side]:
                return _OUTCOMES[side]
        self.odd[text] += 1
        self.first_odd = self.first_odd or row
        return _OUTCOMES["tie"]  # the table is refused once all of its words are counted

    def _number(self, text: str, row: int, wanted: str, most: float) -> float:
        value = number(text)
        if value is None or not 0 <= value <= most:
            shown = text if len(text) <= 80 else f"{text[:77]}..."
            raise InputError(
                f"{self.path} row {row}: expected {wanted}, received {shown or 'nothing'}"
            )
        return value

    def _refuse_odd_words(self) -> None:
        column = self.judged_by[0]
        counted = self.odd.most_common(_SHOWN)
        shown = ", ".join(f"{text!r} ({n:,} row{'s' * (n > 1)})" for text, n in counted)
        shown += f" and {len(self.odd) - _SHOWN:,} more" if len(self.odd) > _SHOWN else ""
        if all(number(text) is not None for text in self.odd):
            own = self.columns.chosen.get(column, column)
            way = (
                "a number does not say which side it means: name the column by the side that "
                f"ranks higher where it is 1, --columns left_wins={own} or right_wins={own}"
            )
        else:
            way = "say which word means which side: --words left=WORD,right=WORD,tie=WORD"
        raise InputError(
            f"{self.path} row {self.first_odd}: unknown words in {column}: {shown}; expected left, "
            f"right, tie or the text of the left or right column; {way}"
        )

    def result(self, classes: Sequence[str] | None) -> ComparedImages:
        """Return all rows.

        Raises:
            InputError: none was judged, an image is missing, or words are unknown.
        """
        self.places.check()
        if not self.left:
            rows = f"{self.unjudged:,} without a judgement" if self.unjudged else "none"
            raise InputError(
                f"{self.path}: expected judged pairs below the header, received {rows}"
            )
        if self.odd:
            self._refuse_odd_words()
        names = [name for name in self.grades if name]
        order = ranked(names, self.path, classes) if names else ()
        rank = np.array([*(order.index(name) for name in names), UNKNOWN])  # -1 is the last
        weight = np.array(self.weight, np.float32)
        split, note = without_val(np.array(self.split, np.int64), "rows")
        return ComparedImages(
            images=self.places.images(str(self.path)),
            left=np.array(self.left),
            right=np.array(self.right),
            probability=np.array(self.probability, np.float32),
            weight=weight if "weight" in self.columns or (weight != 1).any() else None,
            left_grade=rank[np.array(self.left_grade)],
            right_grade=rank[np.array(self.right_grade)],
            classes=order,
            rows=np.array(self.rows),
            split=split if self.split else None,
            judge=np.array(self.judge) if "judge" in self.columns else None,
            # People's own reasons are no reasons of kpairs.
            reason=np.array(self.reason) if {""} < {"", *self.reason} <= {"", *REASONS} else None,
            group=self.places.groups,
            margin=np.array(self.margin, np.float32) if self.margin else None,
            unjudged=self.unjudged,
            note=note,
        )


@dataclass(frozen=True)
class Outcomes:
    """Counts of a table's answers, and of those that contradict each other.

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


def count_outcomes(pairs: ComparedImages) -> Outcomes:
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
    left, ties = int(np.count_nonzero(margin < 0)), int(np.count_nonzero(margin == 0))
    return Outcomes(
        images=count,
        higher=(left, len(margin) - left - ties, ties),
        contradicting=int(np.count_nonzero((votes[0] > 0) & (votes[1] > 0))),
        cyclic=int(np.count_nonzero(component[below] == component[above])),
    )
