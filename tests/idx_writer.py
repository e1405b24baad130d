"""Writing IDX files, the format that kpairs only reads."""

import struct

import numpy as np


def write_idx(path, array):
    """Write a uint8 or int32 array as an IDX file."""
    code, kind = (0x08, ">u1") if array.dtype == np.uint8 else (0x0C, ">i4")
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(kind).tobytes())
