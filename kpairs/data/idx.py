"""The IDX file format of MNIST and its relatives, read strictly.

torchvision reads the same files but accepts a flipped byte, an impossible label and mismatched
counts, so reading and checking are one step here.
"""

import gzip
import hashlib
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpairs.errors import InputError

_DTYPES: dict[int, np.dtype[Any]] = {0x08: np.dtype(np.uint8), 0x0C: np.dtype(">i4")}


def find_idx(path: Path) -> Path | None:
    """Find a file as it is or as .gz; None where neither is there."""
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None


def read_idx(path: Path, md5: str | None = None) -> NDArray[Any]:
    """Read one IDX file (plain or .gz) into a NumPy array.

    Args:
        path: the file.
        md5: the expected MD5 of the uncompressed bytes, checked when given.

    Returns:
        A uint8 or int32 array with the dimensions that the file declares.

    Raises:
        InputError: the file is missing or unreadable, its MD5 is another, it is not IDX, or holds
            more or fewer bytes than its header declares.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if md5 is not None and (received := hashlib.md5(data).hexdigest()) != md5:
        raise InputError(
            f"{path}: corrupt: expected MD5 {md5}, received {received} ({len(data)} bytes); "
            "delete the file and 'kpairs data' fetches it again"
        )
    return _parse(data, path)


def _parse(data: bytes, path: Path) -> NDArray[Any]:
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _DTYPES:
        raise InputError(f"{path}: expected an IDX file, received one that begins {data[:4]!r}")
    dtype, ndim = _DTYPES[data[2]], data[3]
    if not 1 <= ndim <= 3:
        raise InputError(f"{path}: expected 1 to 3 dimensions, received {ndim}")
    header = 4 + 4 * ndim
    if len(data) < header:
        raise InputError(f"{path}: expected an IDX header of {header} bytes, received {len(data)}")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", ndim, offset=4))
    expected = header + prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise InputError(
            f"{path}: expected {expected} bytes for shape {shape}, received {len(data)}"
        )
    return np.frombuffer(data, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))
