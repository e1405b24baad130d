"""Checks before onnxruntime sees a file: it crashes on some files, and runs damaged ones.

The checks run in this order: size, seal, the digest in the JSON file beside it, structure, onnx's
own checker, the size of the computation. Nothing damaged is parsed, and nothing that makes onnx or
onnxruntime recurse reaches them.

The seal is a digest inside the file, so that the single file can be checked. Fields of a protobuf
message may come in any order, so the last bytes of a sealed file are one more metadata entry: the
SHA-256 of all bytes before it. Other ONNX tools read past it. It shows damage and is no signature:
anybody can compute it.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import onnx

from kpairs.errors import InputError, raised_as
from kpairs.exports.runtime.bounds import Size, size_of
from kpairs.files import read_bytes

SEAL_KEY = "kpairs_sha256"
MAX_BYTES = 256 * 2**20
_MAX_JSON_BYTES = 2**20
_DOMAINS = ("", "ai.onnx")
_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def sidecar_path(path: str | Path) -> Path:
    """Name the JSON file beside an exported file: `auxws.onnx` -> `auxws.onnx.json`."""
    path = Path(path)
    return path.with_name(f"{path.name}.json")


class Checked(NamedTuple):
    """A file that may be given to onnxruntime."""

    data: bytes
    size: Size  # how many numbers it computes for one pair


def read_onnx(path: str | Path) -> Checked:
    """Read an .onnx file that `kpairs export` wrote, and check that it is safe to run.

    Raises InputError for a file that is missing, larger than 256 MiB, damaged, not the one that the
    JSON beside it describes, or with anything that a pair model has no use for.
    """
    path = Path(path)
    data = read_bytes(path, "model", MAX_BYTES)
    if not is_sealed(data):
        raise InputError(
            f"{path}: expected an ONNX model as 'kpairs export' wrote it, with its SHA-256 at the "
            "end; received a file that was damaged, changed, or written by another program"
        )
    _check_sidecar(path, data)
    with raised_as(InputError, f"{path}: expected an ONNX model, received"):
        model = onnx.ModelProto.FromString(data)  # protobuf refuses messages nested over 100 deep
        _check_structure(model)
        onnx.checker.check_model(data)
        return Checked(data, size_of(model))


def _check_sidecar(path: Path, data: bytes) -> None:
    sidecar = sidecar_path(path)
    if not sidecar.exists():
        return
    text = f"{sidecar}: expected the description that 'kpairs export' writes beside {path.name}"
    with raised_as(InputError, f"{text}, received", "; remove it to load the model without"):
        expected = json.loads(read_bytes(sidecar, "description", _MAX_JSON_BYTES))["sha256"]
    if (received := hashlib.sha256(data).hexdigest()) != expected:
        raise InputError(
            f"{path}: expected SHA-256 {expected}, as {sidecar.name} says, received {received}"
        )


def _check_structure(model: onnx.ModelProto) -> None:
    """Refuse what no exported pair model has. Nothing here recurses: graphs in nodes are refused.

    onnxruntime ends the process on a chain of thousands of functions that call each other.
    """
    if model.functions:
        raise ValueError(f"{len(model.functions)} functions of its own")
    if model.training_info:
        raise ValueError("a training graph")
    if model.graph.sparse_initializer:
        raise ValueError("sparse weights")
    domains = {opset.domain for opset in model.opset_import}
    tensors = [*model.graph.initializer]
    for node in model.graph.node:
        domains.add(node.domain)
        for attribute in node.attribute:
            if attribute.type in _GRAPHS or attribute.HasField("g") or attribute.graphs:
                raise ValueError(f"a graph inside a node, {node.op_type}")
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise ValueError("sparse weights")
            tensors += [attribute.t, *attribute.tensors]
    if odd := domains - set(_DOMAINS):
        raise ValueError(f"operators outside the ONNX standard, {', '.join(sorted(odd))}")
    for tensor in tensors:
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError(f"weights in another file, {tensor.name}")


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
