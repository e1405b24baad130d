"""Models that leave kpairs: ONNX files, the check against Keras, and running them.

`kpairs.exports.runtime` imports neither keras nor torch.
"""
