"""From a traced program to an ONNX file that a stranger can run."""

from collections.abc import Sequence
from pathlib import Path

import onnx
import torch

from kpairs.errors import UsageError, raised_as
from kpairs.exports.runtime import METADATA_KEY, REFERENCE_KEY
from kpairs.exports.runtime.loading import seal
from kpairs.exports.writing.formats import OPSET
from kpairs.exports.writing.graph import simplify
from kpairs.exports.writing.quiet import quiet
from kpairs.models.onnx_network import joined

# These log attempts at other opsets; failures are raised anyway.
_TALKERS = ("onnxscript.version_converter", "torch.onnx._internal.exporter._compat")


def to_proto(
    program: torch.export.ExportedProgram, names: Sequence[str], opset: int = OPSET
) -> onnx.ModelProto:
    """Write a program of `to_program` down in ONNX, with named outputs and its weights inside.

    Raises UsageError where torch's exporter does not write that opset.
    """
    proto = _to_proto(program, names, opset)
    written = {o.domain: o.version for o in proto.opset_import}
    if written != {"": opset}:  # asked for 9, the exporter writes 18 and says nothing
        raise UsageError(
            f"opset: expected one that torch {torch.__version__} writes, such as {OPSET}; asked "
            f"for {opset} it gave {written.get('', written)}"
        )
    return proto


def write_proto(
    proto: onnx.ModelProto, metadata: str, path: Path, reference: str | None = None
) -> None:
    """Write a model, sealed: with `metadata` as "kpairs", and a reference, by default its own."""
    kept = {entry.key: entry.value for entry in proto.metadata_props}
    reference = reference or kept.get(REFERENCE_KEY)
    del proto.metadata_props[:]
    proto.metadata_props.add(key=METADATA_KEY, value=metadata)
    if reference:
        proto.metadata_props.add(key=REFERENCE_KEY, value=reference)
    path.write_bytes(seal(proto.SerializeToString()))


def _to_proto(
    program: torch.export.ExportedProgram, names: Sequence[str], opset: int
) -> onnx.ModelProto:
    text = f"torch {torch.__version__} cannot write this network as ONNX of opset {opset}"
    with quiet(*_TALKERS), raised_as(UsageError, text, kinds=(RuntimeError, ValueError)):
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["left", "right"],
            output_names=names,
            opset_version=opset,
            verbose=False,
        )
        if exported is None:
            raise RuntimeError("the exporter gave nothing")
        exported.optimize()
        simplify(exported.model)
        proto = joined(exported.model_proto)
    return _tidied(proto)


def _tidied(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Name the batch, and drop the exporter's notes: source lines and paths of this machine."""
    graph = proto.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == symbol:
                dim.dim_param = "batch"
            elif dim.dim_param:
                dim.dim_param = dim.dim_param.replace(symbol, "batch")
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]
    del graph.metadata_props[:]
    onnx.checker.check_model(proto)
    return proto
