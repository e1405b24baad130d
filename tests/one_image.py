"""Export of networks of one image, as kpairs writes them: ONNX and TorchScript."""

import keras
import onnxruntime
import torch

from kpairs.exports.writing.graph import simplify
from kpairs.exports.writing.quiet import quiet
from kpairs.models.onnx_network import joined


def exported(model: keras.Model, torchscript: bool = True):
    """Return functions that compute a model's output by onnxruntime and by TorchScript."""
    sample = torch.rand(2, *model.input_shape[1:])
    shapes = (({0: torch.export.Dim("batch")},),)
    with quiet(), torch.no_grad():
        program = torch.export.export(model.eval(), (sample,), dynamic_shapes=shapes, strict=False)
        written = torch.onnx.export(program, dynamo=True, opset_version=20, verbose=False)
        written.optimize()
        simplify(written.model)
        traced = torch.jit.trace(model, sample, check_trace=False) if torchscript else None
    session = onnxruntime.InferenceSession(joined(written.model_proto).SerializeToString())
    name = session.get_inputs()[0].name
    return (
        lambda images: session.run(None, {name: images})[0],
        lambda images: traced(torch.tensor(images)).detach().numpy(),
    )
