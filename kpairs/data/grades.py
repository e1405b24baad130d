"""Rated images of one's own: which files there are, and what grade or score each has.

A source is a folder of class folders, or a table with the columns `image` and `grade` (a few
ordered classes) or `score` (a number, such as a mean opinion). It may have `split` (train, val or
test) and `group` (images that belong together). An image that several people rated stands in
several rows. Nothing is decoded here.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.data.annotations import (
    SPLIT_NAMES,
    Columns,
    ImageFiles,
    Places,
    known_split,
    split_number,
    without_val,
)
from kpairs.data.decode import SUFFIXES
from kpairs.data.listing import Listing, list_images, natural
from kpairs.data.settings import format_classes
from kpairs.data.table import number, read_table
from kpairs.errors import InputError, UsageError

log = logging.getLogger(__name__)

_MOST_GRADES = 100
_MOST_LEVELS = 20  # different numbers up to which a column holds grades; more are scores
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+")
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
class RatedImages:
    """Images that people graded or scored, one row per rating.

    Attributes:
        images: the files, each once.
        image: `(n,)` int64 number of the file of each rating.
        grade: `(n,)` int64 rank; None where images are scored.
        score: `(n,)` float64; None where images are graded.
        classes: names of the grades, lowest first; empty where images are scored.
        split: `(n,)` int64, 0 for training and 1 for testing; None where nothing says.
        group: name of the group of each file, "" for none; None where there are no groups.
        note: a sentence about the split val; empty where there is none.
    """

    images: ImageFiles
    image: NDArray[np.int64]
    grade: NDArray[np.int64] | None
    score: NDArray[np.float64] | None
    classes: tuple[str, ...]
    split: NDArray[np.int64] | None = None
    group: tuple[str, ...] | None = None
    note: str = ""

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class _Ratings:
    """Ratings as texts.

    Attributes:
        images: the files, each once.
        image: number of the file of each rating.
        texts: the ratings.
        split: number in `SPLIT_NAMES` for each rating; empty where nothing says.
        group: name of the group of each file; None where there are no groups.
        scored: whether the source calls them scores.
    """

    images: ImageFiles
    image: list[int]
    texts: list[str]
    split: list[int]
    group: tuple[str, ...] | None
    scored: bool = False


def read_rated(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    images: str | Path | None = None,
    classes: Sequence[str] | None = None,
    skip_missing: bool = False,
) -> RatedImages:
    """List the ratings of a source.

    A folder holds one folder of images per class, itself or in its `train/`, `test/` and `val/`. A
    column of numbers with more than 20 different values holds scores, whatever its name.

    Args:
        source: the folder or the table.
        columns: a table's own headers by the usual names, where they differ.
        images: folder of the images that a table names, where it is not the table's own.
        classes: the grades, lowest first; needed where their names are no numbers.
        skip_missing: leave out a table's rows that name missing images, and say how many.

    Returns:
        The ratings, sorted by rating and name of the file.

    Raises:
        UsageError: the order of the grades is not known, or `classes` names others.
        InputError: no images, one grade only, an image in both splits, or a table that cannot be
            read.
    """
    source = Path(source)
    places = Places(source, images, skip_missing)
    found = _of_folder(source) if source.is_dir() else _of_table(source, columns, places)
    if not found.texts:
        raise InputError(f"{source}: expected images ({', '.join(SUFFIXES)}), received none")
    order, rating = _in_order(found, source, classes)
    image = np.array(found.image, np.int64)
    key = [natural(file) for file in found.images.files]
    rows = np.array(sorted(range(len(image)), key=lambda row: (rating[row], key[found.image[row]])))
    split, note = without_val(np.array(found.split, np.int64), "images")
    return RatedImages(
        images=found.images,
        image=image[rows],
        grade=rating[rows] if order else None,
        score=None if order else rating[rows],
        classes=order,
        split=split[rows] if found.split else None,
        group=found.group,
        note=note,
    )


def _in_order(
    found: _Ratings, source: Path, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Return the grades, lowest first, and the rank of each rating; of scores none, and numbers."""
    values = None if classes is not None and not found.scored else _numbers(found.texts)
    if found.scored and values is None:
        odd = next((text for text in found.texts if _number(text) is None), None)
        odd = odd or next((text for text in found.texts if "," in text), found.texts[0])
        raise InputError(
            f"{source}: expected a number as score, received {odd!r}; write decimals with a point "
            "and no mark between thousands"
        )
    if values is not None and (found.scored or len(set(values)) > _MOST_LEVELS):
        if len(set(values)) < 2:
            raise InputError(f"{source}: expected different scores, received {values[0]:g} only")
        return (), np.array(values)
    order = ranked(found.texts, source, classes)
    rank = {name: i for i, name in enumerate(order)}
    return order, np.array([rank[text] for text in found.texts], np.int64)


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
    numbers = _numbers(names)
    if numbers is None:
        raise UsageError(_order_unknown(names, source))
    if len(set(numbers)) < len(names):
        raise InputError(f"{source}: expected grades of different value, received {names}")
    return tuple(name for _, name in sorted(zip(numbers, names, strict=True)))


def _order_unknown(names: list[str], source: str | Path) -> str:
    proposal = _ladder(names)
    order = proposal or names
    advice = f"if {' < '.join(order)}, add --classes {shlex.quote(format_classes(order))}"
    return (
        f"{source}: the order of the grades {', '.join(names)} is not known, as they are no "
        f"numbers; {advice}{'' if proposal else ', else give them as they rank, lowest first'}"
    )


def _ladder(names: list[str]) -> list[str] | None:
    """Return the order that the names suggest: words of a known scale, or one word with numbers."""
    plain = {name: re.sub(r"[\s_-]+", "_", name.strip().lower()) for name in names}
    for ladder in _LADDERS:
        if set(plain.values()) <= set(ladder) and len(set(plain.values())) == len(names):
            return sorted(names, key=lambda name: ladder.index(plain[name]))
    numbered = [re.fullmatch(r"(\D*)([0-9]+)(\D*)", name) for name in names]
    if all(numbered) and len({m.group(1, 3) for m in numbered if m}) == 1:
        return names  # in their natural order
    return None


def _numbers(texts: Iterable[str]) -> list[float] | None:
    """Read texts as numbers, all of them or none, with decimal points or with decimal commas.

    Where every comma could part thousands ("1,200") the texts are no numbers, since nothing says
    what they mean; nor are they where some have a point and others a comma.
    """
    texts = list(texts)
    commas = [text for text in texts if "," in text]
    if commas and (any("." in text for text in texts) or all(map(_THOUSANDS.fullmatch, commas))):
        return None
    values = [_number(text) for text in texts]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _number(text: str) -> float | None:
    return number(re.sub(r"^([+-]?[0-9]+),([0-9]+)$", r"\1.\2", text))


def _of_folder(folder: Path) -> _Ratings:
    """List every image below class folders."""
    roots = {
        part: place for place in _folders(folder) if (part := known_split(place.name)) is not None
    }
    divided = 0 in roots
    if not divided:
        roots = {0: folder}
    elif len(roots) == 1:
        raise InputError(f"{folder}: expected test/ beside {roots[0].name}/, received none")
    found = {part: _class_folders(root) for part, root in roots.items()}
    for part, root in roots.items():
        if one := set(found[0]) ^ set(found[part]):
            raise InputError(
                f"{folder}: expected the same classes in {roots[0].name}/ and {root.name}/; "
                f"{', '.join(sorted(one))} in one only"
            )
    files: dict[str, str] = {}  # class by real path
    split: dict[str, int] = {}
    texts, image, splits = [], [], []
    left_out: Counter[str] = Counter()
    for part, root in roots.items():
        for name in found[part]:
            listing = list_images(root / name)
            left_out.update(listing.left_out)
            if not listing.files:
                raise InputError(
                    f"{root / name}: expected images ({', '.join(SUFFIXES)}), received none"
                )
            for file in listing.files:
                path = os.path.realpath(file)
                known = files.setdefault(path, name), split.setdefault(path, part)
                if known != (name, part):
                    raise InputError(
                        f"{file}: expected each image in one class folder, received one that "
                        f"{roots[known[1]] / known[0]} holds too"
                    )
    if said := Listing(folder, (), left_out).said():
        log.warning("%s", said)
    if loose := sum(_loose(root) for root in roots.values()):
        log.warning(
            "%s: left out %s image%s in no class folder. Where folders are no grades: "
            "kpairs label %s",
            folder,
            f"{loose:,}",
            "s" * (loose > 1),
            shlex.quote(str(folder)),
        )
    for number_, (path, name) in enumerate(files.items()):
        texts.append(name)
        image.append(number_)
        splits.append(split[path])
    paths = tuple(files)
    images = ImageFiles(paths, paths, str(folder), folder)
    return _Ratings(images, image, texts, splits if divided else [], None)


def _folders(root: Path) -> list[Path]:
    return [Path(f) for f in os.scandir(root) if f.is_dir() and not f.name.startswith(".")]


def _loose(root: Path) -> int:
    return len(list_images(root, recursive=False).files)


def _class_folders(root: Path) -> list[str]:
    names = [place.name for place in _folders(root)]
    if len(names) < 2:
        loose = _loose(root)
        if loose and not names:
            raise InputError(
                f"{root}: {loose:,} images and no class folders; expected a folder for each grade, "
                "or a table of image,grade or of left,right,label beside them. To compare them "
                f"by hand: kpairs label {root}"
            )
        raise InputError(
            f"{root}: expected at least two class folders of images, or MNIST-like IDX files such "
            f"as train-images-idx3-ubyte; received {len(names)} folders"
        )
    return sorted(names, key=natural)


def _of_table(path: Path, columns: Mapping[str, str] | None, places: Places) -> _Ratings:
    table = read_table(path, "grades")
    at = Columns(next(table)[1], columns, path)
    rated = at.among(("grade", "score"))
    if "image" not in at or len(rated) != 1:
        raise InputError(
            f"{path}: expected the columns image and grade or score, or of compared pairs left, "
            f"right and label; received {', '.join(at.header.written)}. Other headers: "
            "--columns image=...,grade=... or left=...,right=...,label=..."
        )
    image: list[int] = []
    texts: list[str] = []
    split: list[int] = []
    for row, cells in table:
        text = at.cell(cells, rated[0])
        if not text:
            raise InputError(f"{path} row {row}: expected an image and its {rated[0]}")
        if places.skips(row, at.cell(cells, "image")):
            continue
        number_ = places.number(at.cell(cells, "image"), row)
        image.append(number_)
        texts.append(text)
        if "split" in at:
            split.append(split_number(at.cell(cells, "split"), path, row))
        if "group" in at:
            places.join(number_, at.cell(cells, "group"), row)
    places.check()
    if split:
        parts: dict[int, int] = {}
        for number_, part in zip(image, split, strict=True):
            if parts.setdefault(number_, part) != part:
                file = places.images("").files[number_]
                both = f"{SPLIT_NAMES[parts[number_]]} and {SPLIT_NAMES[part]}"
                raise InputError(f"{path}: expected one split for {file}, received {both}")
    images = places.images(str(path))
    return _Ratings(images, image, texts, split, places.groups, rated == ["score"])
