"""ONNX files with 8-bit weights and values, by onnxruntime's static quantisation.

Smaller files; on the networks of kpairs not faster ones, which is why the comparison is measured at
every export.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from kpairs.data import PairSet
from kpairs.exports.runtime import PairModel
from kpairs.exports.writing.onnx import write_proto
from kpairs.exports.writing.parity import errors_pct, outputs_of
from kpairs.exports.writing.quiet import quiet
from kpairs.models.outputs import decisions
from kpairs.training.batches import evaluation_batch

_CALIBRATION_BATCH = 100
_TIMED_BATCHES = (1, 128)
_REPEATS = 30
# quantize_static logs that graphs could be prepared (these are) and that a bias has no channels.
_ADVICE = ("pre-processing before quantization", "out-of-range for weight")


@dataclass(frozen=True)
class Quantization:
    """Losses and gains of 8 bits."""

    bytes_before: int  # of the float32 file
    bytes_after: int
    error_pct_before: dict[str, float]  # on the test pairs, by output
    error_pct_after: dict[str, float]
    same_decisions_pct: dict[str, float]  # on the test pairs, with the float32 file, by output
    # Median time of the int8 file over the float32 file's, by batch size, measured in turns on one
    # thread; above 1 it is slower.
    time_ratio: dict[str, float]


def write_int8(
    path: Path, description: Mapping[str, Any], calibration: PairSet, pairs: PairSet
) -> tuple[dict[str, Any], Quantization]:
    """Replace a float32 ONNX file of our own by its int8 version; compare the two on test pairs.

    Weights and values between nodes become int8, with one scale per channel of a weight (QDQ
    format, which any ONNX runtime understands). Ranges are those of `calibration`. Returns the new
    file's metadata, with its own test errors, and the comparison.
    """
    size, model = path.stat().st_size, PairModel.load(path)
    proto = _quantized(path, calibration, ["Conv"] if model.has_features else None)
    method = f"int8, QDQ, calibrated on {len(calibration)} training pairs"
    description = {**description, "quantized": method}
    if model.has_features:  # which stay in the float32 file, as do standard errors
        del proto.metadata_props[:]
        description.pop("training_scores", None)
        description.pop("standard_errors", None)
    write_proto(proto, json.dumps(description), path)
    quantized = PairModel.load(path)
    before, after = (outputs_of(one, pairs) for one in (model, quantized))
    wrong_before, wrong_after = (errors_pct(v, model.outputs, pairs) for v in (before, after))
    same = {
        name: 100 * float(np.mean(decisions(after[name], kind) == decisions(before[name], kind)))
        for name, kind in model.outputs.items()
        if kind != "score"
    }
    times = {str(n): _time_ratio(model, quantized, pairs, n) for n in _TIMED_BATCHES}
    if "cross_validated" not in description:  # else these are pairs that it learned from
        description["test_error_pct"] = wrong_after
    write_proto(proto, json.dumps(description), path)
    quantization = Quantization(size, path.stat().st_size, wrong_before, wrong_after, same, times)
    return description, quantization


def _quantized(path: Path, calibration: PairSet, kinds: list[str] | None) -> onnx.ModelProto:
    """Quantise a file's operations, or those of some kinds.

    A linear head's file keeps all but its convolutions in float32. With its sums in 8 bits, 2 % of
    the decisions by statistics changed, and by EfficientNet-Lite0 every image had the same score.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    n = min(_CALIBRATION_BATCH, max(1, evaluation_batch(calibration) // 4))

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = (
                calibration.take(slice(i, i + n)).inputs() for i in range(0, len(calibration), n)
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._batches, None)

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        with quiet("", about=_ADVICE):
            quantize_static(
                path,
                target,
                Batches(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=kinds,
                per_channel=True,
            )
        return onnx.load(target)


def _time_ratio(model: PairModel, quantized: PairModel, pairs: PairSet, batch: int) -> float:
    few = pairs.take(slice(0, batch)).inputs()
    times: dict[PairModel, list[float]] = {model: [], quantized: []}
    for _ in range(_REPEATS):
        for one in times:  # in turns: whatever else the machine does meets both
            start = time.perf_counter()
            one.run(**few)
            times[one].append(time.perf_counter() - start)
    return statistics.median(times[quantized]) / statistics.median(times[model])
