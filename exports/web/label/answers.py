"""A table of answers that loses nothing: each is on disk before anybody is told that it is kept."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from filelock import FileLock, Timeout

from kpairs.data.columns import REASONS
from kpairs.data.table import read_table
from kpairs.errors import InputError, KpairsError, printable
from kpairs.files import atomic_path

LABELS = ("left", "right", "tie")
_LONGEST = 2**16  # bytes of a line that `read_table` reads


class Answer(NamedTuple):
    """One row of pairs.csv."""

    left: str  # an image, as its path from the table's folder
    right: str
    label: str  # which side ranks higher: left, right or tie; "" for a pair that the judge skipped
    judge: str  # name of who answered
    group: str  # folder of both images where pairs stay within folders, else ""
    time: str  # of the answer, UTC, as "2026-11-30T12:34:56Z"
    seconds: str  # for which the judge looked
    reason: str  # of asking, one of `kpairs.data.columns.REASONS`


class Answers:
    """The table of answers, made where there is none, and held by one process at a time.

    A row is appended by one write, and synced. A row is removed by an atomic rewrite. A last line
    that a crash left incomplete is cut off on opening; then `mended` is a sentence about it.

    Raises KpairsError where another process holds the table, or it cannot be written, InputError
    for a table of other columns, or a row that makes no sense.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = -1
        self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise KpairsError(
                f"{self.path}: another 'kpairs label' writes to it; end that one, or name another "
                "table: --out FILE.csv"
            ) from error
        except OSError as error:
            raise KpairsError(
                f"{self.path}: cannot be written ({error.strerror}); choose another: --out FILE.csv"
            ) from error
        try:
            self.mended = _mended(self.path) if self.path.exists() else ""
            if not self.path.exists():
                self._write([])
            self.rows = _read(self.path)
            self._open()
        except BaseException:
            self.close()
            raise

    def append(self, answer: Answer) -> None:
        """Add a row; it is on disk when this returns. After an OSError the table is as it was.

        Raises KpairsError where another program changed the table meanwhile.
        """
        self._check()
        try:
            data = _line(answer)
            written = os.write(self._file, data)
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)
        self.rows.append(answer)

    def remove(self, row: int) -> Answer:
        """Take back the answer in a row of `rows`, on disk, as `append` adds one."""
        self._check()
        kept = [*self.rows]
        removed = kept.pop(row)
        self._write(kept)
        self.rows = kept
        self._open()
        return removed

    def close(self) -> None:
        """Let other processes have the table."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, rows: Iterable[Answer]) -> None:
        with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
            file.write(_line(Answer._fields))
            file.writelines(map(_line, rows))
        folder = os.open(self.path.parent, os.O_RDONLY)  # the new name has to last, too
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _open(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self._size = os.fstat(self._file).st_size

    def _check(self) -> None:
        """Refuse to write beside another program, such as a spreadsheet that saved the table."""
        try:
            there = os.stat(self.path)
            same = os.path.samestat(there, os.fstat(self._file)) and there.st_size == self._size
        except FileNotFoundError as error:
            raise KpairsError(
                f"{self.path.name} is gone, or its folder was moved; put it back, end "
                "'kpairs label' and start it again"
            ) from error
        except OSError:
            same = False
        if not same:
            raise KpairsError(
                f"{self.path.name} was changed by another program; end 'kpairs label' and start it "
                "again to go on from the changed table"
            )


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _mended(path: Path) -> str:
    """Cut off an incomplete last line; complete one that lacks its end alone."""
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _LONGEST, 0))
        data = file.read()
        end = data.rstrip(b"\0")  # a crash of the machine may leave zeros
        tail = end[end.rfind(b"\n") + 1 :]
        if not tail and end == data:
            return ""
        cells = next(csv.reader([tail.decode(errors="replace")]), [])
        is_whole = len(cells) == len(Answer._fields) and Answer(*cells).reason in REASONS
        if is_whole or cells == list(Answer._fields):
            file.truncate(size - len(data) + len(end))
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
            said = ""
        else:
            file.truncate(size - len(data) + len(end) - len(tail))
            text = printable(tail.decode(errors="replace"))
            said = f"{path.name}: an incomplete last line was cut off: {text!r}"
        file.flush()
        os.fsync(file.fileno())
    return said


def _read(path: Path) -> list[Answer]:
    table = read_table(path, "answers")
    header = next(table)[1]
    if header != list(Answer._fields):
        raise InputError(
            f"{path}: expected a table that 'kpairs label' wrote, with the columns "
            f"{', '.join(Answer._fields)}; received {', '.join(header)}. Name another table: "
            "--out FILE.csv"
        )
    rows = []
    for number, cells in table:
        answer = Answer(*cells)
        if answer.label not in (*LABELS, ""):
            raise InputError(
                f"{path}, row {number}: unknown label {answer.label!r}; expected left, right, tie "
                "or nothing"
            )
        rows.append(answer)
    return rows
