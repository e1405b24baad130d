"""Graded images of one's own: which files there are, what grade each has, and which are for tests.

A source is a folder of class folders or a CSV file with the columns image, grade and, if it likes,
split. Nothing is decoded here.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpairs.data.decode import SUFFIXES
from kpairs.data.listing import list_images, natural
from kpairs.data.table import number as as_number
from kpairs.data.table import read_table
from kpairs.errors import InputError, UsageError

log = logging.getLogger(__name__)

_TEST_EVERY = 5
_MOST_GRADES = 100
_SPLITS = ("train", "test")
# Scales that people name their classes by, lowest first. They are proposed, never assumed.
_LADDERS = tuple(
    tuple(ladder.split())
    for ladder in (
        "none minimal mild moderate severe extreme",
        "normal mild moderate severe proliferative",
        "absent present",
        "tiny small medium large huge",
        "very_low low medium high very_high",
        "low mid high",
        "bad poor fair good excellent",
        "worst bad okay good best",
        "never rarely sometimes often always",
        "easy medium hard",
        "slow medium fast",
        "cold warm hot",
        "young middle old",
        "xs s m l xl",
        "benign malignant",
        "first second third fourth fifth",
        "zero one two three four five six seven eight nine ten",
    )
)


@dataclass(frozen=True)
class GradedFiles:
    """The images of one split, not yet decoded.

    Attributes:
        files: absolute paths.
        grades: `(n,)` int64, the rank of each image's class.
        classes: the class names, lowest rank first.
        places: where each image is listed ("grades.csv row 17"), for messages.
        name: what to call the split in messages.
        source: the folder or CSV file.
    """

    files: tuple[str, ...]
    grades: NDArray[np.int64]
    classes: tuple[str, ...]
    places: tuple[str, ...]
    name: str
    source: Path

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class _Entry:
    """One image as a source lists it; without a split, every fifth of a class is for testing."""

    file: str
    grade: str
    place: str
    split: str | None


def read_grades(
    source: str | Path, split: str, classes: Sequence[str] | None = None
) -> GradedFiles:
    """List one split of a graded source.

    A folder holds one folder of images per class, itself or in its `train/` and `test/`. A CSV file
    has the columns `image` (a path, relative to the file), `grade` and optionally `split` (train or
    test). Where nothing says the split, every fifth image of each class, by name, is for testing.
    An image is never in both.

    Args:
        source: the folder or the .csv file.
        split: "train" or "test".
        classes: the grades, lowest first; needed where their names are no numbers.

    Returns:
        The split's `GradedFiles`, sorted by grade and name.

    Raises:
        UsageError: the order of the grades is not known, or `classes` names others.
        InputError: no images, one grade only, a split without images, an image with two grades or
            in both splits, or a CSV file that cannot be read.
    """
    source = Path(source)
    entries = list(_from_csv(source) if source.suffix.lower() == ".csv" else _from_folder(source))
    if not entries:
        raise InputError(f"{source}: expected images ({', '.join(SUFFIXES)}), received none")
    names = ranked({e.grade for e in entries}, source, classes)
    by_split = _divided(entries)
    for part in _SPLITS:
        _check_split(by_split[part], part, names, source)
    chosen = by_split[split]
    rank = {name: i for i, name in enumerate(names)}
    chosen.sort(key=lambda e: (rank[e.grade], natural(e.file)))
    return GradedFiles(
        files=tuple(e.file for e in chosen),
        grades=np.array([rank[e.grade] for e in chosen], np.int64),
        classes=names,
        places=tuple(e.place for e in chosen),
        name=f"{source} {split} split",
        source=source,
    )


def ranked(
    found: Iterable[str], source: str | Path, classes: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Put the names of grades into their order, lowest first.

    Args:
        found: the names.
        source: where, for messages.
        classes: their order, where the user gave it.

    Raises:
        UsageError: `classes` are other names, or the names are no numbers and `classes` is None.
        InputError: one grade only, two of the same value, or too many.
    """
    names = sorted(set(found), key=natural)
    if len(names) < 2:
        raise InputError(f"{source}: expected at least two grades, received {names[0]!r} only")
    if len(names) > _MOST_GRADES:
        raise InputError(
            f"{source}: expected at most {_MOST_GRADES} grades, received {len(names)}, such as "
            f"{', '.join(names[:3])}; put close values into one grade"
        )
    if odd := next((name for name in names if not name.isprintable()), None):
        raise InputError(f"{source}: expected a grade's name that can be shown, received {odd!r}")
    if classes is not None:
        if sorted(classes) != sorted(names):
            raise UsageError(
                f"classes: expected the grades of {source} in their order, lowest first "
                f"({', '.join(names)}); received {', '.join(classes)}"
            )
        return tuple(classes)
    values = [as_number(name) for name in names]
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(names):
        raise UsageError(_order_unknown(names, source))
    if len(set(numbers)) < len(names):
        raise InputError(f"{source}: expected grades of different value, received {names}")
    return tuple(name for _, name in sorted(zip(numbers, names, strict=True)))


def _order_unknown(names: list[str], source: str | Path) -> str:
    proposal = _ladder(names)
    order = proposal or names
    advice = f"if {' < '.join(order)}, add --classes {','.join(order)}"
    return (
        f"{source}: the order of the grades {', '.join(names)} is not known, as they are no "
        f"numbers; {advice}{'' if proposal else ', else give them as they rank, lowest first'}"
    )


def _ladder(names: list[str]) -> list[str] | None:
    """The order that the names suggest: words of a known scale, or one word with numbers."""
    plain = {name: re.sub(r"[\s_-]+", "_", name.strip().lower()) for name in names}
    for ladder in _LADDERS:
        if set(plain.values()) <= set(ladder) and len(set(plain.values())) == len(names):
            return sorted(names, key=lambda name: ladder.index(plain[name]))
    numbered = [re.fullmatch(r"(\D*)([0-9]+)(\D*)", name) for name in names]
    if all(numbered) and len({m.group(1, 3) for m in numbered if m}) == 1:
        return names  # in their natural order
    return None


def _from_folder(folder: Path) -> Iterable[_Entry]:
    """List the images of class folders."""
    divided = (folder / "train").is_dir()
    if divided and not (folder / "test").is_dir():
        raise InputError(f"{folder}: expected test/ beside train/, received none")
    roots = [(folder / part, part) for part in _SPLITS] if divided else [(folder, None)]
    found = {part: _class_folders(root) for root, part in roots}
    if divided and (one := set(found["train"])) != (other := set(found["test"])):
        raise InputError(
            f"{folder}: expected the same classes in train/ and test/; "
            f"{', '.join(sorted(one ^ other))} in one only"
        )
    for root, part in roots:
        for name in found[part]:
            listing = list_images(root / name)
            if said := listing.said():
                log.warning("%s", said)
            if not listing.files:
                where = f" for the {part} split" if part else ""
                kinds = ", ".join(SUFFIXES)
                raise InputError(f"{root / name}: expected images ({kinds}){where}, received none")
            for file in listing.files:
                path = os.path.abspath(file)
                yield _Entry(path, name, path, part)


def _class_folders(root: Path) -> list[str]:
    names = [f.name for f in os.scandir(root) if f.is_dir() and not f.name.startswith(".")]
    if len(names) < 2:
        raise InputError(
            f"{root}: expected at least two class folders of images, or MNIST-like IDX files such "
            f"as train-images-idx3-ubyte; received {len(names)} folders"
        )
    return names


def _from_csv(path: Path) -> Iterable[_Entry]:
    table = read_table(path, "grades")
    header = next(table)[1]
    if not {"image", "grade"} <= set(header):
        raise InputError(
            f"{path}: expected the columns image and grade, perhaps split, or of compared pairs "
            "left, right and label (other headers: --columns left=...,right=...,label=...); "
            f"received {', '.join(header) or 'none'}"
        )
    for number, cells in table:
        yield _row(path, header, cells, number)


def _row(path: Path, header: list[str], row: list[str], number: int) -> _Entry:
    place = f"{path} row {number}"
    cells = dict(zip(header, row, strict=False))
    image, grade = cells.get("image", ""), cells.get("grade", "")
    if not image or not grade or "\0" in image:
        raise InputError(f"{place}: expected an image and its grade, received {','.join(row)!r}")
    split = cells.get("split", "").lower() or None
    if "split" in header and split not in _SPLITS:
        raise InputError(f"{place}: expected the split train or test, received {split or 'none'}")
    return _Entry(os.path.abspath(path.parent / image), grade, place, split)


def _divided(entries: list[_Entry]) -> dict[str, list[_Entry]]:
    """The entries of each split, each image once."""
    seen: dict[str, _Entry] = {}
    for entry in entries:
        first = seen.setdefault(entry.file, entry)
        for kind, one, other in (
            ("grade", first.grade, entry.grade),
            ("split", first.split, entry.split),
        ):
            if one != other:
                raise InputError(
                    f"{entry.place}: expected one {kind} for {entry.file}, received {other} here "
                    f"and {one} in {first.place}"
                )
    by_split: dict[str, list[_Entry]] = {part: [] for part in _SPLITS}
    by_grade: dict[str, list[_Entry]] = {}
    for entry in seen.values():
        if entry.split is None:
            by_grade.setdefault(entry.grade, []).append(entry)
        else:
            by_split[entry.split].append(entry)
    for members in by_grade.values():
        members.sort(key=lambda e: natural(e.file))
        for i, entry in enumerate(members):
            by_split["test" if i % _TEST_EVERY == _TEST_EVERY - 1 else "train"].append(entry)
    return by_split


def _check_split(entries: list[_Entry], split: str, names: tuple[str, ...], source: Path) -> None:
    there = {e.grade for e in entries}
    if not entries or (split == "train" and len(there) < len(names)):
        missing = [name for name in names if name not in there]
        raise InputError(
            f"{source}: expected images of every grade for the {split} split, received none of "
            f"{', '.join(missing)}; where nothing says the split, every {_TEST_EVERY}th of a grade "
            "is for testing"
        )
