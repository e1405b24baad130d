"""Tables of questions for people to fill in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kpairs.errors import InputError
from kpairs.files import write_rows
from kpairs.judging.choice import Proposal


def write_questions(
    path: Path, files: Sequence[str], proposals: Sequence[Proposal], judge: str | None = None
) -> None:
    """Write a CSV file for people to fill in and every command to read.

    Its columns are left, right, an empty label, judge where one is named, and reason; paths are
    relative to the file. Probabilities are left out: they would lead people.

    Args:
        path: the file to write.
        files: paths of all images.
        proposals: at least one.
        judge: who is asked.

    Raises:
        OSError: the file cannot be written.
    """
    folder = path.parent.absolute()
    named = {} if judge is None else {"judge": judge}
    rows = [
        {
            **{
                side: os.path.relpath(files[getattr(p, side)], folder) for side in ("left", "right")
            },
            **{"label": "", **named, "reason": p.reason},
        }
        for p in proposals
    ]
    write_rows(path, rows)


def check_names(files: Sequence[str]) -> None:
    """Refuse images whose names a CSV file cannot hold: `write_questions` would fail at the end.

    Raises:
        InputError: a name that is no UTF-8; Python keeps its bytes as surrogates.
    """
    for file in files:
        try:
            str(file).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{file}: this name is no UTF-8, and no CSV file can hold it; rename the image"
            ) from error
