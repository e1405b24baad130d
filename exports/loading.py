"""What is refused before onnxruntime sees a file: it crashes on some, and runs damaged ones.

In this order: size, seal, the digest in the JSON file beside it, structure, onnx's own checker.
Each comes before whatever it protects: nothing is parsed that was damaged on its way, and nothing
that makes onnx or onnxruntime recurse reaches them.
"""

import hashlib
import json
from pathlib import Path

import onnx

from kpairs.errors import InputError, first_line
from kpairs.exports.sealing import is_sealed

MAX_BYTES = 256 * 2**20
_MAX_JSON_BYTES = 2**20
_DOMAINS = ("", "ai.onnx")
_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def sidecar_path(path: str | Path) -> Path:
    """Name the JSON file beside an exported file: `auxws.onnx` -> `auxws.onnx.json`."""
    path = Path(path)
    return path.with_name(f"{path.name}.json")


def read_onnx(path: str | Path) -> bytes:
    """Read an .onnx file that `kpairs export` wrote: bytes that are safe to give to onnxruntime.

    Raises:
        InputError: missing, larger than 256 MiB, damaged, another file than the JSON beside it
            describes, or with anything that a pair model has no use for: external data, functions,
            graphs inside nodes, operators outside the ONNX standard.
    """
    path = Path(path)
    data = _read(path, MAX_BYTES, "model")
    if not is_sealed(data):
        raise InputError(
            f"{path}: expected an ONNX model as 'kpairs export' wrote it, with its SHA-256 at the "
            "end; received a file that was damaged, changed, or written by another program"
        )
    _check_sidecar(path, data)
    try:
        model = onnx.ModelProto.FromString(data)  # protobuf refuses messages nested over 100 deep
        _check_structure(model)
        onnx.checker.check_model(data)
    except Exception as error:  # protobuf's, the checker's and our own
        raise InputError(
            f"{path}: expected an ONNX model, received: {first_line(error)}"
        ) from error
    return data


def _read(path: Path, limit: int, what: str) -> bytes:
    if not path.is_file():
        raise InputError(f"{path}: cannot read the {what}: no such file")
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


def _check_sidecar(path: Path, data: bytes) -> None:
    sidecar = sidecar_path(path)
    if not sidecar.exists():
        return
    try:
        expected = json.loads(_read(sidecar, _MAX_JSON_BYTES, "description"))["sha256"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{sidecar}: expected the description that 'kpairs export' writes beside {path.name}, "
            f"received {first_line(error)}; remove it to load the model without"
        ) from error
    if (received := hashlib.sha256(data).hexdigest()) != expected:
        raise InputError(
            f"{path}: expected SHA-256 {expected}, as {sidecar.name} says, received {received}"
        )


def _check_structure(model: onnx.ModelProto) -> None:
    """Refuse what no exported pair model has. Nothing here recurses: graphs in nodes are refused.

    onnxruntime ends the process on a chain of thousands of functions that call each other.
    """
    if model.functions:
        raise InputError(f"{len(model.functions)} functions of its own")
    if model.training_info:
        raise InputError("a training graph")
    domains = {opset.domain for opset in model.opset_import}
    tensors = [*model.graph.initializer]
    for sparse in model.graph.sparse_initializer:
        tensors += [sparse.values, sparse.indices]
    for node in model.graph.node:
        domains.add(node.domain)
        for attribute in node.attribute:
            if attribute.type in _GRAPHS or attribute.HasField("g") or attribute.graphs:
                raise InputError(f"a graph inside a node, {node.op_type}")
            tensors += [attribute.t, *attribute.tensors]
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                tensors += [sparse.values, sparse.indices]
    if odd := domains - set(_DOMAINS):
        raise InputError(f"operators outside the ONNX standard, {', '.join(sorted(odd))}")
    for tensor in tensors:
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise InputError(f"weights in another file, {tensor.name}")
