"""ONNX files with 8-bit weights and values, by onnxruntime's static quantisation.

Smaller files; on the networks of kpairs not faster ones, which is why the comparison is measured at
every export.
"""

import json
import logging
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from kpairs.exports.onnx import write_proto
from kpairs.exports.parity import errors_pct
from kpairs.exports.runtime import PairModel
from kpairs.models.outputs import decisions

_CALIBRATION_BATCH = 100
_TIMED_BATCHES = (1, 128)
_REPEATS = 30


@dataclass(frozen=True)
class Quantization:
    """What 8 bits cost and bring.

    Attributes:
        bytes_before, bytes_after: sizes of the float32 and the int8 file.
        error_pct_before, error_pct_after: errors on the test pairs by output, in percent.
        same_decisions_pct: share of the test pairs with the float32 file's decision, by output.
        time_ratio: median time of the int8 file over the float32 file's, by batch size, measured
            in turns on one thread; above 1 it is slower.
    """

    bytes_before: int
    bytes_after: int
    error_pct_before: dict[str, float]
    error_pct_after: dict[str, float]
    same_decisions_pct: dict[str, float]
    time_ratio: dict[str, float]


def write_int8(path, description, calibration, pairs):
    """Replace a float32 ONNX file by its int8 version, and compare the two.

    Weights and values between nodes become int8, with one scale per channel of a weight
    (QDQ format: QuantizeLinear and DequantizeLinear pairs, which any ONNX runtime understands).

    Args:
        path: an .onnx file of our own.
        description: its metadata; the int8 file's has its own test errors.
        calibration: a `PairSet` of training pairs, from whose values the ranges are taken.
        pairs: the test `PairSet`.

    Returns:
        `(description, quantization)`: the int8 file's metadata, and the `Quantization`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Batches(CalibrationDataReader):
        def __init__(self):
            inputs, n = calibration.inputs(), _CALIBRATION_BATCH
            self._batches = iter(
                {side: images[i : i + n] for side, images in inputs.items()}
                for i in range(0, len(calibration), n)
            )

        def get_next(self):
            return next(self._batches, None)

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        logging.disable(logging.WARNING)  # advice to pre-process, which these graphs do not need
        try:
            quantize_static(path, target, Batches(), quant_format=QuantFormat.QDQ, per_channel=True)
        finally:
            logging.disable(logging.NOTSET)
        proto = onnx.load(target)
    model, size = PairModel.load(path), path.stat().st_size
    method = f"int8, QDQ, calibrated on {len(calibration)} training pairs"
    description = {**description, "quantized": method}
    write_proto(proto, json.dumps(description), path)
    quantized = PairModel.load(path)
    before, after = (m.run(**pairs.inputs()) for m in (model, quantized))
    errors = [errors_pct(values, model.outputs, pairs) for values in (before, after)]
    same = {
        name: 100 * float(np.mean(decisions(after[name], kind) == decisions(values, kind)))
        for (name, values), kind in zip(before.items(), model.outputs.values(), strict=True)
        if kind != "score"
    }
    times = {str(n): _time_ratio(model, quantized, pairs, n) for n in _TIMED_BATCHES}
    description |= {"test_error_pct": errors[1]}
    write_proto(proto, json.dumps(description), path)
    return description, Quantization(size, path.stat().st_size, *errors, same, times)


def _time_ratio(model, quantized, pairs, batch):
    few = pairs.take(slice(0, batch)).inputs()
    times = {model: [], quantized: []}
    for _ in range(_REPEATS):
        for one in times:  # in turns: whatever else the machine does meets both
            start = time.perf_counter()
            one.run(**few)
            times[one].append(time.perf_counter() - start)
    return statistics.median(times[quantized]) / statistics.median(times[model])
