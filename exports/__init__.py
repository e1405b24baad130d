"""Models that leave kpairs: the files, the check against Keras, and running them.

`kpairs.exports.predict` and `runtime`, and what they import, need neither keras nor torch.
"""
