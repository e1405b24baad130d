"""Judgements of pairs of images, as arrays, checked once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpairs.data.compared import ComparedImages, read_compared
from kpairs.data.groups import name_groups
from kpairs.data.listing import list_images
from kpairs.errors import InputError

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
_BY_ROW = ("left", "right", "outcome", "judge", "weight", "random")


@dataclass(frozen=True, init=False)
class Judgements:
    """Answers to the question which of two images ranks higher.

    Attributes:
        left, right: `(m,)` numbers of images, from 0 to `count - 1`.
        outcome: `(m,)` probability that the right image ranks higher. 1 is an answer for the
            right image, 0 for the left one, 0.5 a tie.
        count: number of images, judged or not.
        judge: `(m,)` numbers of judges, or None for one judge.
        weight: `(m,)` weights; 2 counts as two equal answers. None for 1 each.
        random: `(m,)` bool, pairs that were drawn at random; None where nobody knows. Such pairs
            check the model: pairs that a rule chose are no fair sample.
        files: paths of the images; empty where they are no files.
        judges: names of the judges, by number; empty where they have none.
        group: name of each image's group, "" for none; None without groups.

    Raises:
        InputError: arrays of unequal length, an image that does not exist, an image compared with
            itself, an outcome outside [0, 1], or a negative weight.

    Example:
        >>> import kpairs
        >>> answers = kpairs.Judgements([0, 1, 2], [1, 2, 0], [1, 1, 0], count=4)
        >>> answers.degree()
        array([2, 2, 2, 0])
    """

    left: Numbers
    right: Numbers
    outcome: Floats
    count: int
    judge: Numbers
    weight: Floats
    random: NDArray[np.bool_] | None
    files: tuple[str, ...]
    judges: tuple[str, ...]
    group: tuple[str, ...] | None

    def __init__(
        self,
        left: ArrayLike,
        right: ArrayLike,
        outcome: ArrayLike,
        count: int,
        judge: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        random: ArrayLike | None = None,
        files: Sequence[str] = (),
        judges: Sequence[str] = (),
        group: Sequence[str] | None = None,
    ) -> None:
        size = len(np.atleast_1d(np.asarray(left)))
        given = {
            "left": np.array(left, np.int64),
            "right": np.array(right, np.int64),
            "outcome": np.array(outcome, np.float64),
            "judge": np.zeros(size, np.int64) if judge is None else np.array(judge, np.int64),
            "weight": np.ones(size) if weight is None else np.array(weight, np.float64),
            "random": None if random is None else np.array(random, bool),
        }
        for name, array in given.items():
            if array is not None and array.shape != (size,):
                raise InputError(f"{name}: expected {size} values, received shape {array.shape}")
            object.__setattr__(self, name, array)
        object.__setattr__(self, "count", int(count))
        object.__setattr__(self, "files", tuple(files))
        object.__setattr__(self, "judges", tuple(judges))
        object.__setattr__(self, "group", None if group is None else tuple(group))
        self._check()

    def _check(self) -> None:
        bad = {
            f"an image number from 0 to {self.count - 1}": ~(
                (np.minimum(self.left, self.right) >= 0)
                & (np.maximum(self.left, self.right) < self.count)
            ),
            "two different images": self.left == self.right,
            "an outcome from 0 to 1": ~((self.outcome >= 0) & (self.outcome <= 1)),
            "a weight of at least 0": ~((self.weight >= 0) & np.isfinite(self.weight)),
            "a judge's number of at least 0": self.judge < 0,
        }
        for expected, wrong in bad.items():
            if wrong.any():
                row = int(wrong.argmax())
                raise InputError(
                    f"judgement {row}: expected {expected}, received left {self.left[row]}, "
                    f"right {self.right[row]}, outcome {self.outcome[row]}, "
                    f"weight {self.weight[row]}, judge {self.judge[row]}"
                )

    @classmethod
    def of(
        cls,
        pairs: ComparedImages | Sequence[ComparedImages],
        files: Sequence[str | Path] = (),
        group: str | None = None,
    ) -> Judgements:
        """Return the judgements of one or several tables of compared images.

        Args:
            pairs: the tables' contents. Judges are numbered by their sorted names.
            files: further images, which come first; a file that a table names too is one image.
            group: see `kpairs.data.groups.name_groups`; default the tables' own groups.

        Raises:
            InputError: an image that is in one group by one table and in another one by another.
        """
        parts = [pairs] if isinstance(pairs, ComparedImages) else list(pairs)
        named = any(part.images.vectors is not None for part in parts)  # and no files
        names = {str(f) if named else os.path.realpath(f): os.fspath(f) for f in files}
        for part in parts:
            names |= {file: file for file in part.files if file not in names}
        number = {file: i for i, file in enumerate(names)}
        place = [np.array([number[file] for file in part.files], np.int64) for part in parts]

        def joined(values: Callable[[ComparedImages], Any]) -> NDArray[Any]:
            return np.concatenate([values(part) for part in parts]) if parts else np.zeros(0)

        def side(name: str) -> Numbers:
            sides = (at[getattr(part, name)] for at, part in zip(place, parts, strict=True))
            return np.concatenate([np.zeros(0, np.int64), *sides])

        def known(values: NDArray[Any] | None, part: ComparedImages, other: Any) -> NDArray[Any]:
            return np.full(len(part), other) if values is None else values

        judges, judge = np.unique(joined(lambda p: known(p.judge, p, "")), return_inverse=True)
        reason = joined(lambda p: known(p.reason, p, ""))
        told = any(part.reason is not None for part in parts)
        return cls(
            side("left"),
            side("right"),
            joined(lambda p: p.probability),
            len(names),
            judge,
            joined(lambda p: known(p.weight, p, 1.0)),
            reason == "random" if told else None,
            tuple(names.values()),
            tuple(judges.tolist()) if parts else (),
            name_groups(list(names.values()), group) if group else _groups_of(parts, number),
        )

    @classmethod
    def read(
        cls,
        tables: str | Path | Sequence[str | Path],
        files: str | Path | Sequence[str | Path] = (),
        *,
        columns: Mapping[str, str] | None = None,
        words: Mapping[str, str] | None = None,
        images: str | Path | None = None,
        group: str | None = None,
        skip_missing: bool = False,
    ) -> Judgements:
        """Read one or several tables of compared pairs.

        Args:
            tables: paths; see `kpairs.data.compared` for what a table may look like.
            files: further images to rank: paths, or a folder.
            columns: the tables' own headers by the usual names, where they differ.
            words: "left", "right" or "tie" by the tables' own words.
            images: folder of the images that the tables name, where it is not their own; or a file
                of features by those names.
            group: "folder" or a regular expression on names; default the column group.
            skip_missing: leave out rows that name missing images, and say how many.

        Raises:
            UsageError: an unknown column or word, or no regular expression.
            InputError: a table that cannot be read or makes no sense, or a missing image.
        """
        paths = [tables] if isinstance(tables, (str, Path)) else tables
        how: dict[str, Any] = {"columns": columns, "words": words, "images": images}
        parts = [read_compared(path, **how, skip_missing=skip_missing) for path in paths]
        listed = list_images(files).files if isinstance(files, (str, Path)) else files
        return cls.of(parts, listed, group)

    def __len__(self) -> int:
        return len(self.left)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Judgements:
        """Return the judgements of some rows, given by number or by mask."""
        parts = {name: getattr(self, name) for name in _BY_ROW}
        chosen: dict[str, Any] = {n: x if x is None else x[rows] for n, x in parts.items()}
        return replace(self, **chosen)

    def degree(self) -> Numbers:
        """Return the number of judgements that each image is in, `(count,)`."""
        return np.bincount(np.concatenate([self.left, self.right]), minlength=self.count)

    def pair(self) -> Numbers:
        """Return `(m,)` numbers that are equal for judgements of the same two images."""
        low, high = np.minimum(self.left, self.right), np.maximum(self.left, self.right)
        return np.unique(low * self.count + high, return_inverse=True)[1]

    def components(self) -> Numbers:
        """Return `(count,)` numbers of the sets of images that judgements connect.

        An image in no judgement is a set of its own.
        """
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        ones = np.ones(len(self))
        graph = coo_matrix((ones, (self.left, self.right)), shape=(self.count, self.count))
        return connected_components(graph, directed=False)[1].astype(np.int64)


def _groups_of(
    parts: Sequence[ComparedImages], number: Mapping[str, int]
) -> tuple[str, ...] | None:
    """Return each image's group by the tables' own columns; None where none has groups."""
    if all(part.group is None for part in parts):
        return None
    found = [""] * len(number)
    for part in parts:
        for file, name in zip(part.files, part.group or (), strict=False):
            known = found[number[file]]
            if name and known not in ("", name):
                raise InputError(
                    f"{part.source}: expected one group for {file}, received {name!r} here and "
                    f"{known!r} in another table"
                )
            found[number[file]] = name or known
    return tuple(found)
