"""Run an exported model with onnxruntime alone: no keras, no torch.

>>> from kpairs.exports.runtime import PairModel
>>> model = PairModel.load("runs/2026-11-21-auxws/auxws.onnx")  # doctest: +SKIP
>>> model.predict(left, right)["comparison"]  # doctest: +SKIP
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from kpairs.data.images import SIDE, to_pixels
from kpairs.errors import InputError
from kpairs.outputs import OUTPUT_KINDS, probabilities

METADATA_KEY = "kpairs"
# Pairs per call of onnxruntime: what the layers of so many pairs hand to each other stays in a
# core's cache, so that a larger batch runs faster in such pieces than whole.
CHUNK = 32
_MAX_BYTES = 256 * 2**20


class PairModel:
    """An exported pair model.

    Attributes:
        outputs: kind of each output by name, in the file's order; see
            `kpairs.outputs.OUTPUT_KINDS`.
        classes: class names in rank order.
        arch: name of the architecture.
    """

    def __init__(self, session, metadata):
        self._session = session
        self.outputs = metadata["outputs"]
        self.classes = tuple(metadata["classes"])
        self.arch = metadata["arch"]

    @classmethod
    def load(cls, path, threads=1):
        """Load an .onnx file that `kpairs export` wrote.

        Args:
            path: the file.
            threads: onnxruntime's threads; one is fastest for these small networks.

        Raises:
            InputError: missing, larger than 256 MiB, corrupt, refused by onnx's checker, or
                without the metadata that says what its outputs mean.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: cannot read the model: no such file")
        try:
            if (size := path.stat().st_size) > _MAX_BYTES:
                raise InputError(
                    f"{path}: expected a model of at most {_MAX_BYTES} bytes, received {size}"
                )
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot read the model: {error.strerror}") from error
        try:
            # onnxruntime crashes on files that the checker refuses, so the checker comes first.
            onnx.checker.check_model(data)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.log_severity_level = 4  # errors come as exceptions
            session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
        except Exception as error:  # each library raises kinds of its own, protobuf's among them
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: expected an ONNX model, received: {first}") from error
        return cls(session, _read_metadata(session, path))

    def predict(self, left, right):
        """Compute every output.

        Args:
            left, right: images as `to_pixels` takes them: `(batch, 14, 14, 1)` float32 in [0, 1],
                or uint8 or larger squares. Any batch size; onnxruntime gets 32 pairs at a time,
                which is faster than all at once.

        Returns:
            `{output name: (batch, n) float32}`, of the kinds in `outputs`.

        Raises:
            InputError: images that `to_pixels` refuses, or batches that differ.
        """
        left, right = to_pixels(left, "left"), to_pixels(right, "right")
        if len(left) != len(right):
            raise InputError(f"expected as many right as left images, {len(left)} != {len(right)}")
        return self.run(left, right)

    def run(self, left, right):
        """As `predict`, without its checks: `(batch, 14, 14, 1)` float32 pixels in [0, 1]."""
        names = list(self.outputs)
        if len(left) <= CHUNK:
            values = self._session.run(names, {"left": left, "right": right})
            return dict(zip(names, values, strict=True))
        starts = range(0, len(left), CHUNK)
        parts = [self.run(left[i : i + CHUNK], right[i : i + CHUNK]) for i in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def predict_probabilities(self, left, right):
        """As `predict`, turned into probabilities: `{output name: (batch, n) float64}`.

        Column 1 of `comparison` is P(left <= right).
        """
        values = self.predict(left, right)
        return {name: probabilities(values[name], kind) for name, kind in self.outputs.items()}


def _read_metadata(session, path):
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    try:
        metadata = json.loads(text)
        good = _describes(metadata, session)
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError):
        good = False
    if not good:
        raise InputError(
            f"{path}: expected a pair model written by 'kpairs export' (inputs left and right, "
            "metadata that names its outputs), received another ONNX model"
        )
    return metadata


def _describes(metadata, session):
    """Whether the metadata fits the file: names, kinds, types and shapes of inputs and outputs."""
    classes, outputs = metadata["classes"], metadata["outputs"]
    widths = {name: len(classes) for name in outputs}
    widths["comparison"] = 1 if outputs["comparison"] == "sigmoid" else 2
    given = {value.name: value for value in (*session.get_inputs(), *session.get_outputs())}
    shapes = {name: [SIDE, SIDE, 1] for name in ("left", "right")}
    shapes |= {name: [width] for name, width in widths.items()}
    return (
        isinstance(metadata["arch"], str)
        and len(classes) > 1
        and all(isinstance(name, str) for name in classes)
        and all(kind in OUTPUT_KINDS for kind in outputs.values())
        and [value.name for value in session.get_inputs()] == ["left", "right"]
        and [value.name for value in session.get_outputs()] == list(outputs)
        and all(v.type == "tensor(float)" for v in given.values())
        and all(list(given[name].shape[1:]) == shape for name, shape in shapes.items())
    )
