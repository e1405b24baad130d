"""From a traced program to an ONNX file that a stranger can run."""

import logging

import onnx
import torch

from kpairs.errors import UsageError, first_line
from kpairs.exports.graph import simplify
from kpairs.exports.runtime import METADATA_KEY
from kpairs.exports.sealing import seal
from kpairs.exports.torch_files import quiet

OPSET = 20


def to_proto(program, names, opset=OPSET):
    """An ONNX model of a traced program.

    Args:
        program: as `kpairs.exports.torch_files.to_program` gives it.
        names: the outputs, in order.
        opset: version of the ONNX operators.

    Returns:
        An `onnx.ModelProto` with inputs left and right, and its weights inside.

    Raises:
        UsageError: torch's exporter does not write that opset.
    """
    proto = _to_proto(program, names, opset)
    written = {o.domain: o.version for o in proto.opset_import}
    if written != {"": opset}:  # asked for 9, the exporter writes 18 and says nothing
        raise UsageError(
            f"opset: expected one that torch {torch.__version__} writes, such as {OPSET}; asked "
            f"for {opset} it gave {written.get('', written)}"
        )
    return proto


def write_proto(proto, metadata, path):
    """Write a model with `metadata` under "kpairs", sealed. It replaces all metadata it had."""
    del proto.metadata_props[:]
    proto.metadata_props.add(key=METADATA_KEY, value=metadata)
    path.write_bytes(seal(proto.SerializeToString()))


def _to_proto(program, names, opset):
    logging.disable(logging.ERROR)  # the exporter's progress and attempts; failures are raised
    try:
        with quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["left", "right"],
                output_names=names,
                opset_version=opset,
                verbose=False,
            )
            exported.optimize()
            simplify(exported.model)
            proto = exported.model_proto
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"torch {torch.__version__} cannot write this network as ONNX of opset {opset}: "
            f"{first_line(error)}"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    return _tidied(proto)


def _tidied(proto):
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
