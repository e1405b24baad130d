"""The images that paths on the command line stand for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from kpairs.data.decode import SUFFIXES
from kpairs.data.listing import list_images
from kpairs.data.table import read_table
from kpairs.errors import InputError

log = logging.getLogger(__name__)

_COLUMNS = ("image", "file", "left", "right")


def find_images(places: Sequence[str | Path]) -> list[Path]:
    """List the images of folders, CSV files and image files, in order and each once.

    Args:
        places: folders, which are searched with all that is in them; .csv files with a column
            image or file, or with left and right, whose paths are relative to them; image files.

    Raises:
        InputError: no image, a folder without one, or a CSV file that cannot be read.
    """
    found = {os.path.abspath(file): file for place in places for file in _images(Path(place))}
    if not found:
        raise InputError("expected images, a folder of them or a .csv file; received none")
    return list(found.values())


def _images(place: Path) -> Iterator[Path]:
    if place.is_dir():
        listing = list_images(place)
        if said := listing.said():
            log.warning("%s", said)
        if not listing.files:
            raise InputError(f"{place}: expected images ({', '.join(SUFFIXES)}), received none")
        yield from listing.files
    elif place.suffix.lower() == ".csv":
        yield from listed_images(place)
    else:
        yield place


def listed_images(path: Path) -> Iterator[Path]:
    """Yield what the columns image, file, left and right of a CSV file name, row by row.

    Raises:
        InputError: the file cannot be read, has none of these columns, or an empty path in one.
    """
    table = read_table(path, "images")
    header = next(table)[1]
    columns = [i for i, name in enumerate(header) if name in _COLUMNS]
    if not columns:
        raise InputError(
            f"{path}: expected a column image or file, or left and right; received "
            f"{', '.join(header)}"
        )
    for number, cells in table:
        for i in columns:
            if len(cells) <= i or not cells[i] or "\0" in cells[i]:
                raise InputError(f"{path} row {number}: expected an image, received none")
            yield path.parent / cells[i]
