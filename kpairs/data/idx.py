"""The IDX file format of MNIST and its relatives, read strictly.

torchvision reads the same files but accepts a flipped byte, an impossible label and mismatched
counts, so reading and checking are one step here.
"""

import gzip
import hashlib
import zlib
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.errors import InputError
from kpairs.files import read_bytes

_DTYPES: dict[int, np.dtype[Any]] = {0x08: np.dtype(np.uint8), 0x0C: np.dtype(">i4")}
_MOST_BYTES = 2**30  # as many as 1.3 million images of 28x28
_LONGEST_HEADER = 16


def find_idx(path: Path) -> Path | None:
    """Find a file as it is or as .gz; None where neither is there."""
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None


def read_idx(path: Path, md5: str | None = None, archive_md5: str | None = None) -> NDArray[Any]:
    """Read one IDX file (plain or .gz) into a uint8 or int32 array.

    `md5` is that of the uncompressed bytes, `archive_md5` that of a .gz; both are checked when
    given.

    Raises:
        InputError: the file is missing or unreadable, its MD5 is another, it is not IDX, or holds
            more or fewer bytes than its header declares, or more than 1 GiB.
    """
    packed = path.suffix == ".gz"
    file = read_bytes(path, "images or labels", _MOST_BYTES)
    if packed and archive_md5 is not None:
        _check_md5(file, archive_md5, path)
    try:
        data = _unpacked(file) if packed else file
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if md5 is not None:
        _check_md5(data, md5, path)
    header, dtype, shape = _parse(data, path)
    expected = header + prod(shape) * dtype.itemsize
    if len(data) != expected:
        more = "more" if packed and len(data) > expected else len(data)
        raise InputError(f"{path}: expected {expected} bytes for shape {shape}, received {more}")
    return np.frombuffer(data, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))


def _check_md5(data: bytes, md5: str, path: Path) -> None:
    if (received := hashlib.md5(data).hexdigest()) != md5:
        raise InputError(
            f"{path}: corrupt: expected MD5 {md5}, received {received} ({len(data)} bytes); "
            "delete the file and 'kpairs data' fetches it again"
        )


def _unpacked(file: bytes) -> bytes:
    """Unpack the bytes that the header inside declares, and one more where there are more."""
    with gzip.open(BytesIO(file)) as opened:
        data = opened.read(_LONGEST_HEADER)
        try:
            header, dtype, shape = _parse(data, Path())
        except InputError:
            return data  # which is refused with its name
        return data + opened.read(header + prod(shape) * dtype.itemsize - len(data) + 1)


def _parse(data: bytes, path: Path) -> tuple[int, np.dtype[Any], tuple[int, ...]]:
    """Return the length of the header, and the type and shape that it declares."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _DTYPES:
        raise InputError(f"{path}: expected an IDX file, received one that begins {data[:4]!r}")
    dtype, ndim = _DTYPES[data[2]], data[3]
    if not 1 <= ndim <= 3:
        raise InputError(f"{path}: expected 1 to 3 dimensions, received {ndim}")
    header = 4 + 4 * ndim
    if len(data) < header:
        raise InputError(f"{path}: expected an IDX header of {header} bytes, received {len(data)}")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", ndim, offset=4))
    if prod(shape) * dtype.itemsize > _MOST_BYTES:
        raise InputError(f"{path}: expected at most {_MOST_BYTES:,} bytes, received shape {shape}")
    return header, dtype, shape
