"""The images and pairs that paths on the command line stand for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kpairs.data.decode import SUFFIXES
from kpairs.data.table import read_table
from kpairs.errors import InputError, UsageError

Pair = tuple[Path, Path]
Columns = Mapping[str, str]  # headers by image, file, left and right; other names are passed over
_SIDES = ("left", "right")
_IMAGES = ("image", "file", *_SIDES)


def find_images(places: Sequence[str | Path], columns: Columns | None = None) -> list[Path]:
    """List the images of folders, CSV files and image files, in order and each once.

    Args:
        places: folders, which are searched with all that is in them; .csv files with a column
            image or file, or with left and right, whose paths are relative to them; image files.
        columns: headers of the CSV files, where they differ.

    Raises:
        InputError: no image, a folder without one, or a CSV file that cannot be read.
    """
    found = {os.path.abspath(f): f for place in places for f in _images(Path(place), columns)}
    if not found:
        raise InputError("expected images, a folder of them or a .csv file; received none")
    return list(found.values())


def find_pairs(
    left: str | Path, right: str | Path | None = None, columns: Columns | None = None
) -> tuple[list[Pair], bool]:
    """Find the pairs of image files that two arguments, or one CSV file, stand for.

    Args:
        left: an image, a folder of images, or a CSV file with the columns left and right.
        right: an image, or a folder of images; those of two folders are paired by their names,
            endings aside. None beside a CSV file.
        columns: headers of the CSV file, where they differ.

    Returns:
        `(pairs, single)`: a list of `(left, right)` paths, and whether it was two images.

    Raises:
        UsageError: one argument that is no CSV file, or columns without one.
        InputError: a folder without images, folders whose names differ, or a CSV file that cannot
            be read.
    """
    if right is None:
        if not _is_table(left):
            raise UsageError(f"expected LEFT and RIGHT, or a .csv file of pairs; received {left}")
        return listed_pairs(Path(left), columns), False
    if columns:
        raise UsageError("columns: expected a .csv file of pairs, received two images or folders")
    sides = [Path(left), Path(right)]
    if not any(side.is_dir() for side in sides):
        return [(sides[0], sides[1])], True
    if not all(side.is_dir() for side in sides):
        images = [_in_folder(side) if side.is_dir() else [side] for side in sides]
        count = max(map(len, images))
        lefts, rights = (i if len(i) == count else i * count for i in images)
        return list(zip(lefts, rights, strict=True)), False
    left_named, right_named = ({i.stem: i for i in _in_folder(side)} for side in sides)
    if odd := sorted(set(left_named) ^ set(right_named)):
        raise InputError(
            f"expected images of the same names in {left} and {right}; {len(odd)} are in one only, "
            f"such as {odd[0]}"
        )
    return [(image, right_named[name]) for name, image in left_named.items()], False


def listed_pairs(path: Path, columns: Columns | None = None) -> list[Pair]:
    """Return the pairs of a CSV file with the columns left and right, whatever else it holds.

    Raises:
        InputError: the file cannot be read, lacks a column, or has an empty path in one.
    """
    pairs = [(left, right) for left, right in _paths(path, [_SIDES], columns)]
    if not pairs:
        raise InputError(f"{path}: expected pairs below the header, received none")
    return pairs


def listed_images(path: Path, columns: Columns | None = None) -> Iterator[Path]:
    """Yield what the columns image, file, left and right of a CSV file name, row by row.

    Raises:
        InputError: the file cannot be read, has none of these columns, or an empty path in one.
    """
    for paths in _paths(path, [("image",), ("file",), _SIDES], columns):
        yield from paths


def _paths(
    path: Path, choices: Sequence[Sequence[str]], columns: Columns | None
) -> Iterator[list[Path]]:
    """Yield the paths of each row, in the columns of those choices that the file has."""
    columns = {name: own for name, own in (columns or {}).items() if name in _IMAGES}
    table = read_table(path, "pairs" if len(choices) == 1 else "images")
    header = next(table)[1]
    wanted = [[columns.get(name, name).strip().lower() for name in names] for names in choices]
    places = [header.index(n) for names in wanted if set(names) <= set(header) for n in names]
    missing = {own.strip().lower() for own in columns.values()} - set(header)
    if not places or missing:
        expected = sorted(missing) or [" and ".join(names) for names in choices]
        raise InputError(
            f"{path}: expected the columns {' or '.join(expected)}; received {', '.join(header)}; "
            "other headers are named by --columns left=...,right=..."
        )
    for number, cells in table:
        names = [cells[i] if i < len(cells) else "" for i in places]
        if not all(names) or "\0" in "".join(names):
            raise InputError(f"{path} row {number}: expected a path in each column, received none")
        yield [path.parent / name for name in names]


def _is_table(path: str | Path) -> bool:
    return str(path).lower().endswith(".csv")


def _images(place: Path, columns: Columns | None) -> Iterator[Path]:
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if _is_image(file.relative_to(place)))
        if not files:
            raise InputError(f"{place}: expected images ({', '.join(SUFFIXES)}), received none")
        yield from files
    elif _is_table(place):
        yield from listed_images(place, columns)
    else:
        yield place


def _in_folder(folder: Path) -> list[Path]:
    """List the images of a folder alone, of different names."""
    found = sorted(file for file in folder.iterdir() if _is_image(file.relative_to(folder)))
    if not found:
        raise InputError(f"{folder}: expected images ({', '.join(SUFFIXES)}), received none")
    if len({file.stem for file in found}) < len(found):
        raise InputError(f"{folder}: expected images of different names, endings aside")
    return found


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not any(p.startswith(".") for p in file.parts)
