"""A check that a PNG file holds all of its rows: Pillow gives black for those that are missing."""

import struct
import zlib
from collections.abc import Iterator
from typing import IO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# Adam7's passes: first column and row, and steps between them.
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_AT_ONCE = 2**16


def check_rows(file: IO[bytes]) -> None:
    """Refuse a PNG file whose compressed data end before its last row; others pass.

    Args:
        file: an open file; it is read from its beginning.

    Raises:
        ValueError: it is such a file.
        OSError: it cannot be read.
        struct.error: it is cut.
        zlib.error: its data are damaged.
    """
    file.seek(0)
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        return
    length, kind = struct.unpack(">I4s", file.read(8))
    if kind != b"IHDR" or length != 13:
        raise ValueError("a PNG file without a header")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", file.read(13))
    file.read(4)
    sizes = [(width, height)]
    if interlaced:
        sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in _PASSES]
    row_bits = bits * _CHANNELS[colour]
    missing = sum(h * (1 + -(-w * row_bits // 8)) for w, h in sizes if w > 0 and h > 0)
    for piece in _inflated(file):
        missing -= len(piece)
        if missing <= 0:
            return
    raise ValueError(f"its data end {missing:,} bytes early")


def _inflated(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the image's bytes, some at a time."""
    inflate = zlib.decompressobj()
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind != b"IDAT":
            file.seek(length + 4, 1)
            continue
        while length > 0 and (data := file.read(min(length, _AT_ONCE))):
            length -= len(data)
            while data and not inflate.eof:
                yield inflate.decompress(data, 16 * _AT_ONCE)
                data = inflate.unconsumed_tail
        file.seek(4, 1)
