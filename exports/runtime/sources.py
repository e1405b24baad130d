"""The images and pairs that paths on the command line stand for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from kpairs.data.decode import SUFFIXES
from kpairs.data.listing import list_images
from kpairs.data.table import Header, is_table, read_table
from kpairs.errors import InputError, UsageError, missing

log = logging.getLogger(__name__)

Pair = tuple[Path, Path]
Columns = Mapping[str, str]  # headers by image, file, left and right; other names are passed over
_SIDES = ("left", "right")
_IMAGES = ("image", "file", *_SIDES)


def find_images(places: Sequence[str | Path], columns: Columns | None = None) -> list[Path]:
    """List the images of folders, CSV files and image files, in order and each once.

    Folders are searched with all that is in them. A .csv file has a column image or file, or left
    and right, with paths relative to it; `columns` names other headers. Raises InputError where
    there is no image, or an argument cannot be read.
    """
    found = {os.path.abspath(f): f for place in places for f in _images(Path(place), columns)}
    if not found:
        raise InputError("expected images, a folder of them or a .csv file; received none")
    return list(found.values())


def find_pairs(
    left: str | Path, right: str | Path | None = None, columns: Columns | None = None
) -> tuple[list[Pair], bool]:
    """Find the pairs of image files that two arguments, or one CSV file, stand for.

    Those of two folders are paired by their names, endings aside; a folder and an image are each
    image of it with that one. Returns the pairs, and whether it was two images. Raises UsageError
    for one argument that is no CSV file, InputError for folders whose names differ, or without
    images.
    """
    if right is None:
        if not is_table(left):
            if not Path(left).exists():
                raise missing(left)
            raise UsageError(f"expected LEFT and RIGHT, or a .csv file of pairs; received {left}")
        return listed_pairs(Path(left), columns), False
    if columns:
        raise UsageError("columns: expected a .csv file of pairs, received two images or folders")
    sides = [Path(left), Path(right)]
    if gone := [side for side in sides if not side.exists()]:
        raise missing(gone[0])
    if not any(side.is_dir() for side in sides):
        return [(sides[0], sides[1])], True
    if not all(side.is_dir() for side in sides):
        if sides[0].is_dir():
            return [(image, sides[1]) for image in _of_one_folder(sides[0]).values()], False
        return [(sides[0], image) for image in _of_one_folder(sides[1]).values()], False
    left_named, right_named = map(_of_one_folder, sides)
    if odd := sorted(set(left_named) ^ set(right_named)):
        raise InputError(
            f"expected images of the same names in {left} and {right}; {len(odd)} are in one only, "
            f"such as {odd[0]}"
        )
    return [(image, right_named[name]) for name, image in left_named.items()], False


def listed_pairs(path: Path, columns: Columns | None = None) -> list[Pair]:
    """Return the pairs of a CSV file with the columns left and right, whatever else it holds."""
    pairs = [(left, right) for left, right in _paths(path, [_SIDES], columns)]
    if not pairs:
        raise InputError(f"{path}: expected pairs below the header, received none")
    return pairs


def listed_images(path: Path, columns: Columns | None = None) -> Iterator[Path]:
    """Yield what the columns image, file, left and right of a CSV file name, row by row."""
    for paths in _paths(path, [("image",), ("file",), _SIDES], columns):
        yield from paths


def _paths(
    path: Path, choices: Sequence[Sequence[str]], columns: Columns | None
) -> Iterator[list[Path]]:
    """Yield the paths of each row, in the columns of those choices that the file has."""
    columns = {name: own for name, own in (columns or {}).items() if name in _IMAGES}
    table = read_table(path, "pairs" if len(choices) == 1 else "images")
    header = cast(Header, next(table)[1])
    at = {n: header.find(columns.get(n, n)) for names in choices for n in names}
    found = [[at[name] for name in names] for names in choices]
    places = [place for group in found if None not in group for place in group if place is not None]
    missing = [own for name, own in columns.items() if name in at and at[name] is None]
    if not places or missing:
        expected = missing or [" and ".join(names) for names in choices]
        raise InputError(
            f"{path}: expected the columns {' or '.join(expected)}; received {', '.join(header)}; "
            "other headers are named by --columns left=...,right=..."
        )
    for number, cells in table:
        names = [cells[i] for i in places]
        if not all(names) or "\0" in "".join(names):
            raise InputError(f"{path} row {number}: expected a path in each column, received none")
        yield [path.parent / name for name in names]


def _images(place: Path, columns: Columns | None) -> Iterator[Path]:
    if place.is_dir():
        yield from _in_folder(place)
    elif is_table(place):
        yield from listed_images(place, columns)
    elif not place.exists():
        raise missing(place)
    else:
        yield place


def _in_folder(folder: Path, *, recursive: bool = True) -> tuple[Path, ...]:
    """List the images of a folder; say which entries are left out."""
    listing = list_images(folder, recursive=recursive)
    if said := listing.said():
        log.warning("%s", said)
    if not listing.files:
        raise InputError(f"{folder}: expected images ({', '.join(SUFFIXES)}), received none")
    return listing.files


def _of_one_folder(folder: Path) -> dict[str, Path]:
    """List the images of a folder alone, by their names without endings."""
    files = _in_folder(folder, recursive=False)
    named = {file.stem: file for file in files}
    if len(named) < len(files):
        raise InputError(f"{folder}: expected images of different names, endings aside")
    return named
