"""Tables of unknown origin (CSV, TSV, JSON lines), read strictly, row by row, in bounded memory."""

from __future__ import annotations

import codecs
import csv
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

from kpairs.errors import InputError, first_line, missing

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
_LONGEST_LINE = 2**16
_LONGEST_OBJECT = 2**20  # characters of a line of JSON, which may hold a whole conversation
_MOST_COLUMNS = 1000
_EVERY = 10_000  # rows from one report of progress to the next
_UNREADABLE = "\ufffd"  # what a decoder gives for other bytes
_MARKS = (",", ";", "\t")
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, which it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Header(list[str]):
    """The column names of a table in lower case; two that differ by case alone stay as written.

    Attributes:
        written: the names as the file has them.
    """

    def __init__(self, written: Sequence[str]) -> None:
        times = Counter(name.lower() for name in written)
        super().__init__(n.lower() if times[n.lower()] == 1 else n for n in written)
        self.written = list(written)

    def find(self, name: str) -> int | None:
        """Return the number of the column that a user names, or None where there is none.

        A name as it is written counts first, then one in other case.
        """
        for names, wanted in ((self.written, name.strip()), (self, name.strip().lower())):
            if wanted in names:
                return names.index(wanted)
        return None


def is_table(path: str | Path) -> bool:
    """Return whether a path's ending is one that `read_table` reads."""
    return str(path).lower().endswith(ENDINGS)


def number(text: str) -> float | None:
    """Read a decimal number such as 3, -0.5 or 1e-3.

    Returns:
        The number; None for any other text, also where Python would read one: "1_5", "nan", "inf",
        "1e400", digits of other scripts, a decimal comma.
    """
    text = text.strip(" ")
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def read_table(
    path: str | Path, content: str, progress: Progress | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Read a table row by row; empty rows are passed over.

    Lines of JSON hold one object each; a nested object's keys become names such as `a.b`, and a
    key that a line lacks becomes an empty cell. Every other ending is read as CSV: separated by
    commas, semicolons or tabs, whichever gives the header most columns (.tsv: tabs; Excel's first
    line `sep=;` decides). The text is UTF-8, or UTF-16 or UTF-32 with its mark; bytes that are no
    UTF-8 at all are read as Windows-1252, as older spreadsheets write, and a warning is logged.

    Args:
        path: the file.
        content: what it should hold ("pairs"), for messages.
        progress: called now and then with how many bytes of how many are read, about.

    Yields:
        The row's number as a spreadsheet counts it (the header is row 1; of JSON the line), and its
        cells without space around them. The first is the `Header`; every other row has as many
        cells.

    Raises:
        InputError: no regular file, no header, no table or none in these encodings, a column that
            stands twice, a row that is longer or shorter than the header, or of unlikely length.
    """
    path = Path(path)
    lines_of_json = path.suffix.lower() in (".jsonl", ".ndjson")
    kind = "JSON-lines" if lines_of_json else "CSV"
    if not path.exists():
        raise missing(path)
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path}: expected a {kind} file of {content}, received none")
    try:
        encoding = _encoding(path)
        rows = (_objects if lines_of_json else _rows)(path, encoding, progress)
        header = _header(next(rows, (1, []))[1], path, f"{kind} file of {content}")
        yield 1, header
        if encoding == "cp1252":
            log.warning(
                "%s: its text is no UTF-8; read as Windows-1252. If names come out wrong, save the "
                "file as UTF-8",
                path,
            )
        for row, cells in rows:
            if len(cells) != len(header) and any(cells):
                advice = "; quote cells that hold the separator, and write decimals with a point"
                advice = advice if len(cells) > len(header) else ""
                raise InputError(
                    f"{path} row {row}: expected {len(header)} cells, received {len(cells)}{advice}"
                )
            if any(cells):
                yield row, cells
    except OSError as error:
        raise InputError(f"{path}: cannot read the {content}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: expected a {kind} file of {content}, received: {error}"
        ) from error


def _header(written: list[str], path: Path, kind: str) -> Header:
    if not any(written):
        raise InputError(f"{path}: expected a {kind}, received an empty file")
    if any("\0" in name for name in written):
        raise InputError(
            f"{path}: expected a {kind} in UTF-8, received zero bytes, as UTF-16 without its mark "
            "has; save the file as UTF-8"
        )
    twice = [name for name, times in Counter(written).items() if name and times > 1]
    if twice:
        raise InputError(f"{path}: expected each column once, received {twice[0]!r} twice")
    return Header(written)


def _encoding(path: Path) -> str:
    """Choose the encoding of a whole file, some bytes at a time.

    Raises:
        UnicodeDecodeError: some of its letters are UTF-8 and others are not: it is damaged.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    bad = good = False
    with open(path, "rb") as file:
        start = file.read(4)
        for mark, encoding in _BYTE_ORDER_MARKS.items():
            if start.startswith(mark):
                return encoding
        file.seek(0)
        while data := file.read(2**20):
            text = decoder.decode(data, final=len(data) < 2**20)
            if text.isascii():
                continue
            bad = bad or _UNREADABLE in text
            good = good or not text.replace(_UNREADABLE, "").isascii()
    return "cp1252" if bad and not good else "utf-8"


def _lines(file: IO[str], longest: int, size: int, progress: Progress | None) -> Iterator[str]:
    read, number = 0, 0
    while line := file.readline(longest):
        if len(line) == longest:
            raise csv.Error(f"a line of more than {longest:,} characters")
        read, number = read + len(line), number + 1
        if progress is not None and number % _EVERY == 0:
            progress(min(read, size), size)
        yield line


def _rows(path: Path, encoding: str, progress: Progress | None) -> Iterator[tuple[int, list[str]]]:
    with open(path, encoding=encoding, newline="") as file:
        lines = _lines(file, _LONGEST_LINE, path.stat().st_size, progress)
        first = next(lines, "")
        if said := re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE):
            mark, first = said[1], next(lines, "")
        elif path.suffix.lower() == ".tsv":
            mark = "\t"
        else:
            mark = max(_MARKS, key=lambda m: len(next(csv.reader([first], delimiter=m), [])))
        # strict: a quote that is never closed is an error, which csv meets at 131,072 characters.
        reader = csv.reader(chain([first] if first else [], lines), delimiter=mark, strict=True)
        for number, row in enumerate(reader, start=1):
            yield number, [cell.strip() for cell in row]


def _objects(
    path: Path, encoding: str, progress: Progress | None
) -> Iterator[tuple[int, list[str]]]:
    """Read the file twice: for the names of all lines' keys, and for the cells."""
    names: dict[str, None] = {}
    for number, row in _parsed(path, encoding, None):
        names |= dict.fromkeys(row)
        if len(names) > _MOST_COLUMNS:
            raise InputError(f"{path} row {number}: expected at most {_MOST_COLUMNS:,} keys")
    yield 1, list(names)
    for number, row in _parsed(path, encoding, progress):
        yield number, [row.get(name, "") for name in names]


def _parsed(
    path: Path, encoding: str, progress: Progress | None
) -> Iterator[tuple[int, dict[str, str]]]:
    with open(path, encoding=encoding) as file:
        lines = _lines(file, _LONGEST_OBJECT, path.stat().st_size, progress)
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:  # numbers stay texts, as they are written
                value = _JSON.decode(line.strip())
                if not isinstance(value, dict):
                    raise ValueError(f"{line.strip():.60}")
                cells = list(_cells(value))
                _once(name for name, _ in cells)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path} row {number}: expected a JSON object, received: {first_line(error)}"
                ) from error
            yield number, dict(cells)


def _cells(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        name = prefix + key.strip()
        if isinstance(item, dict):
            yield from _cells(item, f"{name}.")
        elif isinstance(item, str):
            yield name, item.strip()
        else:
            yield name, "" if item is None else json.dumps(item)


def _once(names: Iterable[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f"{name!r} twice")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _once(name for name, _ in pairs)
    return dict(pairs)


_JSON = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=str, parse_int=str, parse_constant=str
)
