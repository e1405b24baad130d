"""From a Keras model to an ONNX file that a stranger can run."""

import json
import logging
import warnings
from pathlib import Path

import keras
import onnx
import torch

import kpairs
from kpairs.archs import ARCHS
from kpairs.data import load_digits
from kpairs.data.images import SIDE
from kpairs.errors import UsageError
from kpairs.exports.graph import simplify
from kpairs.exports.parity import check_parity
from kpairs.exports.runtime import METADATA_KEY, PairModel
from kpairs.files import atomic_path
from kpairs.training.environment import compute
from kpairs.training.models import load_round
from kpairs.training.rounds import draw_round

OPSET = 20


class _Named(torch.nn.Module):
    """Takes the images by position and returns the outputs as a tuple, in the registered order.

    `model.export(format="onnx")` is no substitute: it loses the outputs' names and sorts them.
    """

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, left, right):
        outputs = self.model({"left": left, "right": right}, training=False)
        return tuple(outputs[name] for name in self.names)


def export_run(run, number=1, path=None, data_root=None):
    """Export the model of one round, checked on that round's test pairs.

    Args:
        run: a `kpairs.Run`.
        number: the round.
        path: the file to write; default `<run folder>/<arch>.onnx`.
        data_root: cache folder of the digit images.

    Returns:
        `(path, nodes, parity)`: the file, its number of graph nodes, and the check's `Parity`.

    Raises:
        InputError: no such round, or its model cannot be read.
        Others: see `export_onnx`.
    """
    recipe = run.recipe
    path = run.path / f"{recipe.arch}.onnx" if path is None else Path(path)
    if path.suffix != ".onnx":
        raise UsageError(f"{path}: expected a file name that ends in .onnx")
    splits = [load_digits(recipe.data, split, data_root) for split in ("train", "test")]
    classes = splits[0].classes
    with compute("cpu"):
        model = load_round(run, number, len(classes))
        _, pairs = draw_round(recipe, number, *splits, augment=False)
        nodes, parity = export_onnx(model, ARCHS[recipe.arch], classes, pairs, path)
    return path, nodes, parity


def export_onnx(model, architecture, classes, pairs, path):
    """Write an ONNX file and check it against the Keras model before it takes its name.

    The file has inputs `left` and `right`, `(batch, 14, 14, 1)` float32 pixels in [0, 1] with any
    batch, the architecture's outputs by name in registered order, and its weights inside. Its
    metadata holds, under "kpairs", JSON with the version, architecture, kind of each output, class
    names, input and label rule.

    Args:
        model: the trained Keras model, on the torch backend.
        architecture: its `kpairs.registry.Architecture`.
        classes: class names in rank order.
        pairs: a `PairSet` on which the file must agree with the model.
        path: the file to write.

    Returns:
        `(nodes, parity)`: the number of graph nodes, and the check's `Parity`.

    Raises:
        UsageError: another backend than torch.
        ParityError: the file disagrees with the model; nothing is written.
        OSError: the file cannot be written; an older one is left as it was.
    """
    if keras.backend.backend() != "torch":
        raise UsageError(
            f"export: expected KERAS_BACKEND=torch, received {keras.backend.backend()}; a run "
            "trained on another backend can be exported under torch"
        )
    proto = _to_proto(model, list(architecture.outputs))
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(_metadata(architecture, classes))
    with atomic_path(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        parity = check_parity(model, PairModel.load(temporary), pairs)
    return len(proto.graph.node), parity


def _to_proto(model, names):
    # A sample batch of 1 would be specialised to; the two images must not be one tensor either.
    left, right = (torch.rand(2, SIDE, SIDE, 1) for _ in range(2))
    batch = torch.export.Dim("batch")
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch, nothing a user can mend
            program = torch.onnx.export(
                _Named(model, names).eval(),
                (left, right),
                dynamo=True,
                input_names=["left", "right"],
                output_names=names,
                dynamic_shapes={"left": {0: batch}, "right": {0: batch}},
                opset_version=OPSET,
                verbose=False,
            )
            program.optimize()
            simplify(program.model)
    finally:
        exporter_log.setLevel(level)
    return _without_traces(program.model_proto)


def _without_traces(proto):
    """Drop the exporter's notes on every node and value: source lines and paths of this machine."""
    graph = proto.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]
    del graph.metadata_props[:]
    onnx.checker.check_model(proto)
    return proto


def _metadata(architecture, classes):
    return {
        "kpairs": kpairs.__version__,
        "arch": architecture.name,
        "report": architecture.report,
        "outputs": dict(architecture.outputs),
        "classes": list(classes),
        "input": f"float32 pixels in [0, 1], shape (batch, {SIDE}, {SIDE}, 1)",
        "label": "comparison class 1 means left <= right in the order of classes",
    }
