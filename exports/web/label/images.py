"""A folder's images, by number: their names, their groups, and which of them pages may show."""

from __future__ import annotations

import logging
import os
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from kpairs.data.decode import SUFFIXES
from kpairs.data.groups import FOLDER, name_groups
from kpairs.data.listing import list_images
from kpairs.data.pixels import faintness, prepare
from kpairs.data.settings import DIGITS
from kpairs.errors import InputError
from kpairs.exports.web.label.answers import Answer
from kpairs.exports.web.label.pictures import Kept, Shown, check_readable, shown

log = logging.getLogger("kpairs.label")

_FEW = 5  # images that are looked at when a sitting begins


class Images:
    """The images of a folder that can be compared.

    Attributes:
        files, names: paths, and paths below the folder.
        cells: paths as the table of answers has them.
        groups, group: name of each image's group, and `(n,)` its number.
        notes: sentences about files that are left out, and about dark ones.
        dark: a sentence about images that look almost black, by a few of them; "" for none.
        unreadable: error by number of the image.
        white: level of 16-bit grey that is white.
    """

    def __init__(self, folder: str | Path, table: str | Path, group: str | None, white: int):
        listing = list_images(folder)
        said = listing.said().removeprefix(f"{folder}: ")
        self.notes = [said] if said else []
        base = os.path.realpath(Path(table).parent)
        cells = {os.fspath(file): _cell(file, base) for file in listing.files}
        self.files = [file for file, cell in cells.items() if cell.isprintable()]
        self.names = [os.path.relpath(file, folder) for file in self.files]
        if odd := len(cells) - len(self.files):
            self.notes.append(
                f"left out {odd} image{'s' * (odd > 1)} with control characters, or letters that "
                "are not UTF-8, in the name"
            )
        if len(self.files) < 2:
            raise InputError(
                f"{folder}: expected at least two images to compare ({', '.join(SUFFIXES)}), "
                + "; ".join([f"received {len(self.files)}", *self.notes])
            )
        self.cells = [cells[file] for file in self.files]
        self._number = {cell: number for number, cell in enumerate(self.cells)}
        self.groups = self._named_groups(group)
        self.group = np.unique(self.groups, return_inverse=True)[1]
        if np.bincount(self.group).max() < 2:
            raise InputError(f"{folder}: expected a group with at least two images, received none")
        self.unreadable = self._first_unreadable(folder)
        self.white, self._kept = white, Kept()
        self.dark = self._look_dark()
        self.notes += filter(None, [self.dark])

    def pair(self, answer: Answer) -> tuple[int, int] | None:
        """Return the numbers of an answer's images; None where one is gone."""
        left, right = self._number.get(answer.left), self._number.get(answer.right)
        return None if left is None or right is None or left == right else (left, right)

    def readable(self) -> list[int]:
        """Return the numbers of the images that are not known to be unreadable."""
        return [number for number in range(len(self.files)) if number not in self.unreadable]

    def shown(self, number: int, longest: int) -> Shown:
        """Return an image with at most `longest` pixels a side; raises InputError as `shown`."""
        file, name = self.files[number], self.names[number]
        return self._kept.get(number, longest, lambda: shown(file, name, longest, self.white))

    def leave_out(self, number: int, text: str) -> None:
        """Count an image among the unreadable ones."""
        if self.unreadable.setdefault(number, text) is text:
            log.warning("left out: %s", text)

    def _look_dark(self) -> str:
        numbers = self.readable()
        few = [
            numbers[i] for i in sorted({round(i) for i in np.linspace(0, len(numbers) - 1, _FEW)})
        ]
        settings, found = replace(DIGITS, white=self.white), list[int]()
        for number in few:
            with suppress(InputError):  # said when it is shown
                if prepare(self.files[number], settings, self.names[number]).faint.any():
                    found.append(number)
        if not found:
            return ""
        return faintness(len(found), len(few), self.names[found[0]], settings)

    def _named_groups(self, group: str | None) -> list[str]:
        """Return the name of each image's group; of an image without one, its own name."""
        if group is None:
            return [""] * len(self.names)
        if group == FOLDER:
            return [os.path.dirname(name) or "." for name in self.names]
        found = name_groups(self.names, group)
        return [one or name for one, name in zip(found, self.names, strict=True)]

    def _first_unreadable(self, folder: str | Path) -> dict[int, str]:
        """Read images until two of a group can be compared; return the errors of others."""
        bad: dict[int, str] = {}
        readable: Counter[int] = Counter()
        for number, file in enumerate(self.files):
            try:
                check_readable(file, self.names[number])
            except InputError as error:
                bad[number] = str(error)
                continue
            readable[self.group[number]] += 1
            if readable[self.group[number]] == 2:
                for text in bad.values():
                    log.warning("left out: %s", text)
                return bad
        raise InputError(
            f"{folder}: expected two images that can be compared; {len(bad):,} of the "
            f"{len(self.files):,} images cannot be read, such as {next(iter(bad.values()))}"
        )


def _cell(file: Path, base: str) -> str:
    """Return an image's path in the table: its folder is real; a link's own name stays."""
    text = os.path.relpath(os.path.join(os.path.realpath(file.parent), file.name), base)
    return text if text == text.strip() else os.path.join(os.curdir, text)  # cells are stripped
