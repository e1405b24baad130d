"""Run exported models with onnxruntime alone: no keras, no torch.

>>> from kpairs.exports.runtime import PairModel
>>> model = PairModel.load("runs/2026-11-21-auxws/auxws.onnx")  # doctest: +SKIP
>>> model.predict(left, right)["comparison"]  # doctest: +SKIP
"""

from kpairs.exports.runtime.metadata import METADATA_KEY, REFERENCE_KEY
from kpairs.exports.runtime.model import PairModel

__all__ = ["METADATA_KEY", "REFERENCE_KEY", "PairModel"]
