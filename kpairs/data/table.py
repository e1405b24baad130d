"""Rows of a CSV file of unknown origin, one at a time, in bounded memory."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO

from kpairs.errors import InputError

Progress = Callable[[int, int], None]
_LONGEST_LINE = 2**16
_EVERY = 10_000  # rows from one report of progress to the next


def read_table(
    path: str | Path, content: str, progress: Progress | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Read a CSV file row by row; empty rows are passed over.

    Args:
        path: the file, UTF-8. Its cells are parted by commas, or by semicolons or tabs, as some
            spreadsheets write, where the header has no comma.
        content: what it should hold ("pairs"), for messages.
        progress: called now and then with how many bytes of how many are read, about.

    Yields:
        The row's number as a spreadsheet counts it (the header is row 1), and its cells without
        space around them. The header comes first, in lower case.

    Raises:
        InputError: no regular file, no header, not CSV or not UTF-8, or a row of unlikely length.
    """
    path = Path(path)
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path}: expected a CSV file of {content}, received none")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from _rows(file, path, content, progress)
    except OSError as error:
        raise InputError(f"{path}: cannot read the {content}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a CSV file of {content}, received: {error}") from error


def _rows(
    file: IO[str], path: Path, content: str, progress: Progress | None
) -> Iterator[tuple[int, list[str]]]:
    size, read = path.stat().st_size, 0

    def lines() -> Iterator[str]:
        nonlocal read
        while line := file.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE:
                raise csv.Error(f"a line of more than {_LONGEST_LINE:,} characters")
            read += len(line)
            yield line

    first = next(rest := lines(), "")
    mark = next((mark for mark in ",;\t" if mark in first), ",")
    # strict: a quote that is never closed is an error, which csv meets at 131,072 characters.
    reader = csv.reader(chain([first] if first else [], rest), delimiter=mark, strict=True)
    header = next(reader, None)
    if header is None:
        raise InputError(f"{path}: expected a CSV file of {content}, received an empty file")
    yield 1, [name.strip().lower() for name in header]
    for number, row in enumerate(reader, start=2):
        cells = [cell.strip() for cell in row]
        if any(cells):
            yield number, cells
        if progress is not None and number % _EVERY == 0:
            progress(min(read, size), size)
