"""Reading of unknown files in bounded memory, and writing that never damages a file.

A write that a crash, a full disk or Ctrl-C stops leaves what was there before.
"""

from __future__ import annotations

import csv
import errno
import glob
import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kpairs.errors import InputError, KpairsError, first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

try:
    import fcntl
except ImportError as error:
    raise ImportError("kpairs runs on Linux and macOS; on Windows run it inside WSL") from error

FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)  # what a full disk says
MAX_JSON_BYTES = 2**26  # a history of 100,000 epochs takes half of it
_TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson")
_QUESTIONS = ("left", "right", "image", "file", "judge", "reason")  # columns without answers


def read_bytes(path: str | Path, what: str, limit: int) -> bytes:
    """Read a regular file: a pipe would be waited for, and a device may never end.

    Raises InputError, which calls the content `what`, for no regular file, an unreadable one, or
    one of more than `limit` bytes.
    """
    path = Path(path)
    if not path.is_file():
        kind = "no regular file" if path.exists() else "no such file"
        raise InputError(f"{path}: cannot read the {what}: {kind}")
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)  # not by its stated size: the file may be growing
    except OSError as error:
        raise InputError(f"{path}: cannot read the {what}: {error.strerror}") from error
    if len(data) > limit:
        raise InputError(
            f"{path}: expected a {what} of at most {limit:,} bytes, "
            f"received {path.stat().st_size:,}"
        )
    return data


def read_json(path: str | Path, what: str, limit: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file as `read_bytes`; what the value must look like is the caller's to check."""
    data = read_bytes(path, what, limit)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: expected the {what} in JSON, received: {first_line(error)}"
        ) from error


def read_arrays(file: str | Path | IO[bytes], most: int, *names: str) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz file, by default all, that unpack to so many bytes at most.

    Raises:
        Exception: it cannot be read: zipfile, zlib and NumPy each raise their own kinds.
    """
    import numpy as np

    if isinstance(file, str | Path) and not Path(file).is_file():  # a pipe would be waited for
        raise ValueError("no regular file")
    with zipfile.ZipFile(file) as archive:  # a small file can unpack to any size
        members = [archive.getinfo(f"{name}.npy") for name in names] or archive.infolist()
        if sum(member.file_size for member in members) > most:
            raise ValueError(f"expected at most {most:,} bytes of arrays")
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in names or arrays}


def refuse_links(folder: Path) -> None:
    """Refuse a folder that is a link, or has folders that are, before it is written to.

    A stranger's run may hold one, and files of another folder would be replaced.
    """
    for place in (folder, *folder.rglob("*")):
        if place.is_symlink() and not place.is_file():
            raise InputError(f"{place}: expected a folder to write to, received a link")


def check_output(
    path: str | Path, inputs: Iterable[str | Path] = (), *, force: bool = False
) -> None:
    """Refuse to write over a user's work, by a KpairsError. Call it before any computation.

    An existing file needs `force`. Files that the command reads, and tables that hold answers, are
    never replaced.
    """
    path = Path(path)
    if not path.exists():
        return
    own = path.stat()
    for given in inputs:
        if os.path.exists(given) and os.path.samestat(own, os.stat(given)):
            raise KpairsError(f"{path}: this command reads that file; name another one to write")
    if path.suffix.lower() in _TABLES and path.is_file() and (row := _answered(path)):
        raise KpairsError(
            f"{path}, row {row}: holds answers, which are never replaced; name another file to "
            "write, or move this one"
        )
    if not force:
        raise KpairsError(
            f"{path}: exists already; add --force to replace it, or name another file"
        )


def _answered(path: Path) -> int | None:
    """Return the first row that holds an answer; 1 for a table that is no CSV."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            header = file.readline()
            mark = next((mark for mark in ",;\t" if mark in header), ",")
            names = [name.strip().lower() for name in header.split(mark)]
            for number, row in enumerate(csv.reader(file, delimiter=mark), start=2):
                answers = (
                    c
                    for i, c in enumerate(row)
                    if not names[i : i + 1] or names[i] not in _QUESTIONS
                )
                if any(cell.strip() for cell in answers):
                    return number
    except csv.Error:
        return 1
    return None


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it only if the block succeeds.

    The temporary file has the same suffix, because Keras and matplotlib choose their format by
    it. It is flushed to disk before the rename; if the block raises, it is removed and `path` is
    as it was. What killed processes left of earlier such files of this name is removed too.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; it names `path`.
    """
    path = Path(path)
    if not path.parent.is_dir():  # named here, because mkstemp would name its own file
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    _sweep(path)
    handle, temporary = _temporary(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL and error.filename in (None, str(temporary)):
            said = f"{error.strerror}; nothing of the new file is kept, an older one is as it was"
            raise OSError(error.errno, said, str(path)) from error
        raise
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> tuple[int, Path]:
    """Make a file beside `path`, locked as long as it is open; the system frees it."""
    while True:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
        if _locked(handle) and os.path.exists(name):
            return handle, Path(name)
        os.close(handle)  # another process swept it before it was locked


def _sweep(path: Path) -> None:
    """Remove temporary files of `path` that no process holds."""
    pattern = f".{glob.escape(path.stem)}-{'[a-z0-9_]' * 8}{glob.escape(path.suffix)}"
    for left in path.parent.glob(pattern):
        try:
            handle = os.open(left, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # gone, or somebody else's
            continue
        try:
            if _locked(handle):
                left.unlink(missing_ok=True)
        except OSError:
            pass
        finally:
            os.close(handle)


def _locked(handle: int) -> bool:
    """Lock a file; return False where another process holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Write a value of finite numbers as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_rows(path: str | Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write dicts with the same keys as a CSV file, atomically."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
