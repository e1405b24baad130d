"""Images in folders, listed by one rule for every command, and copies among them."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kpairs.data.decode import SUFFIXES, missing_package
from kpairs.errors import InputError, missing

_ENDS = 2**16  # bytes at each end of a file that its fingerprint reads
_SHOWN = 6  # kinds of what is left out that one line names
HIDDEN, FOLDERS, BROKEN, LINKS, SPECIAL, NO_ENDING, SPACE = (
    *("hidden", "folder", "broken link", "second link", "special file"),
    *("file without ending", "file whose name ends in a space"),
)
_UNSAID = (HIDDEN, ".csv")  # tables of judgements and scores lie among their images


@dataclass(frozen=True)
class Listing:
    """The images of a folder.

    Attributes:
        folder: the folder as it was given.
        files: paths below it, in natural order of their names; each file once, by its real path.
        left_out: number of entries that are not listed, by lower-case ending (".txt") or kind:
            "hidden", "folder", "broken link", "second link", "special file", "file without ending",
            "file whose name ends in a space".
    """

    folder: Path
    files: tuple[Path, ...]
    left_out: Mapping[str, int]

    def said(self) -> str:
        """Return one line that says what is left out, except hidden entries and .csv tables."""
        counts = sorted(
            ((kind, n) for kind, n in self.left_out.items() if kind not in _UNSAID),
            key=lambda item: (item[0] not in SUFFIXES, -item[1], item[0]),
        )
        if not counts:
            return ""
        parts = [f"{n:,} {_in_words(kind, n)}" for kind, n in counts[:_SHOWN]]
        if more := sum(n for _, n in counts[_SHOWN:]):
            parts.append(f"{more:,} more")
        return f"{self.folder}: left out {', '.join(parts)}"


def _in_words(kind: str, count: int) -> str:
    if kind in SUFFIXES:
        return f"{kind} (install {missing_package(kind)})"
    if kind.startswith(".") or count == 1:
        return kind
    return re.sub("file|folder|link", r"\g<0>s", kind, count=1)


def list_images(folder: str | Path, *, recursive: bool = True) -> Listing:
    """List the images of a folder, by default with the folders in it; there may be none.

    Links to folders are followed, each folder once; a file that several paths lead to is listed
    once, by the path without a link where there is one. Hidden files and folders are left out.
    Raises InputError for no such folder, or one that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise missing(folder)
    left_out: Counter[str] = Counter()
    files: dict[str, str] = {}  # path by real path
    linked_files: list[str] = []
    waiting, linked, seen = [os.fspath(folder)], list[str](), set[str]()
    while waiting or linked:
        place = (waiting or linked).pop(0)
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        for entry in _entries(place):
            kind = _kind(entry)
            if kind == FOLDERS and recursive:
                (linked if entry.is_symlink() else waiting).append(entry.path)
            elif kind:
                left_out[kind] += 1
            elif entry.is_symlink():
                linked_files.append(entry.path)
            else:
                files[os.path.join(real, entry.name)] = entry.path
    for path in sorted(linked_files, key=natural):
        if files.setdefault(os.path.realpath(path), path) != path:
            left_out[LINKS] += 1
    ordered = sorted(files.values(), key=natural)
    return Listing(folder, tuple(map(Path, ordered)), dict(left_out))


def _entries(place: str) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(place), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise InputError(f"{place}: cannot list this folder: {error.strerror}") from error


def _kind(entry: os.DirEntry[str]) -> str:
    """Return the kind of an entry that is left out, "folder", or "" for an image."""
    if entry.name.startswith("."):
        return HIDDEN
    try:
        if entry.is_dir():
            return FOLDERS
        if not entry.is_file():
            return BROKEN if entry.is_symlink() else SPECIAL
    except OSError:  # a link that leads to itself
        return BROKEN
    ending = os.path.splitext(entry.name)[1].lower()
    if ending in SUFFIXES and not missing_package(ending):
        return ""
    if ending.rstrip() in SUFFIXES and ending not in SUFFIXES:
        return SPACE
    return ending or NO_ENDING


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a sort key by which "img2" comes before "img10"; names alike but for zeros differ."""
    parts = re.split(r"([0-9]+)", name)
    digits = [part.lstrip("0") if i % 2 else part for i, part in enumerate(parts)]
    return [(len(part) if i % 2 else 0, part) for i, part in enumerate(digits)], name


def stamp(file: str | Path) -> tuple[int, int, int, int]:
    """Return inode, size, and times of change of a file and its entry: other ones, other bytes."""
    try:
        status = os.stat(file)
    except OSError as error:
        raise InputError(f"{file}: no such image file ({error.strerror})") from error
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def fingerprint(file: str | Path) -> str:
    """Return the size of a file and a digest of its first and last 64 KiB: "1234-5f0c..."."""
    return _digest(file, 2 * _ENDS)


def find_copies(files: Iterable[str | Path]) -> list[tuple[Path, ...]]:
    """Find files of equal bytes: groups of at least two, in the order given.

    Two paths that lead to one file are copies too. Only files of equal size are read.
    """
    groups = [[Path(file) for file in dict.fromkeys(map(Path, files))]]
    for key in (lambda file: stamp(file)[1], fingerprint, lambda file: _digest(file, None)):
        parted: dict[tuple[int, object], list[Path]] = defaultdict(list)
        for number, group in enumerate(groups):
            for file in group:
                parted[number, key(file)].append(file)
        groups = [group for group in parted.values() if len(group) > 1]
    return [tuple(group) for group in groups]


def _digest(file: str | Path, most: int | None) -> str:
    """Return size and digest of a file: of all of it, or of its ends where it is larger."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            if most is None or size <= most:
                while data := opened.read(2**20):
                    digest.update(data)
            else:
                digest.update(opened.read(most // 2))
                opened.seek(-most // 2, os.SEEK_END)
                digest.update(opened.read(most // 2))
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    return f"{size}-{digest.hexdigest()}"
