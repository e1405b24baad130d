"""A digest inside an ONNX file, so that the single file can be checked.

onnxruntime runs many a damaged file without a word, with other weights. Fields of a protobuf
message may come in any order, so the last bytes of a sealed file are one more metadata entry: the
SHA-256 of all bytes before it. Every ONNX tool reads the file as before. The seal shows damage; it
is no signature, anybody can compute it.
"""

import hashlib

import onnx

SEAL_KEY = "kpairs_sha256"


def seal(body: bytes) -> bytes:
    """Append the seal to a serialised ONNX model."""
    return body + _seal_of(body)


def is_sealed(data: bytes) -> bool:
    """Tell whether bytes end with the seal of all that stands before it."""
    size = len(_seal_of(b""))
    return len(data) > size and data[-size:] == _seal_of(data[:-size])


def _seal_of(body: bytes) -> bytes:
    entry = onnx.StringStringEntryProto(key=SEAL_KEY, value=hashlib.sha256(body).hexdigest())
    return onnx.ModelProto(metadata_props=[entry]).SerializeToString()
