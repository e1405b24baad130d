"""The page as one file that needs nothing else: the network runs in the reader's browser."""

from __future__ import annotations

import numpy as np
import onnx

from kpairs.data import PairSet
from kpairs.errors import UsageError
from kpairs.exports.runtime import PairModel
from kpairs.exports.web.graph import graph_of
from kpairs.exports.web.page import about, page
from kpairs.exports.web.server import samples_of

LARGEST = 2 * 2**20  # bytes of a page: what a phone loads at once
_PAIRS, _SAMPLE_BYTES = 20, 100_000


def standalone(proto: onnx.ModelProto, model: PairModel, pairs: PairSet) -> str:
    """Make the page of one network.

    It carries some of the test pairs, and what onnxruntime says of them: each browser that opens
    the page first sees whether it computes the same.

    Args:
        proto: the network.
        model: the same, run by onnxruntime.
        pairs: of which the first few go along, their pixels in 8 bits.

    Raises:
        UsageError: a network that network.js does not run, or a page of more than 2 MiB.
    """
    size = int(np.prod(model.pixels.shape))
    count = min(len(pairs), _PAIRS, max(1, _SAMPLE_BYTES // size))
    sides = [np.asarray(images[:count]) for images in (pairs.left, pairs.right)]
    levels = np.rint(255 * np.stack(sides, axis=1)).astype(np.uint8)  # (count, 2, *shape)
    asked = levels.astype(np.float32) / np.float32(255)
    values = model.compare(asked[:, 0], asked[:, 1])
    text = page(
        {
            "models": [about(model.arch, model.metadata, model.pixels)],
            "graph": graph_of(proto),
            "samples": samples_of(levels.reshape(-1, *model.pixels.shape)),
            "expected": {name: value.tolist() for name, value in values.items()},
        },
        title=f"{model.arch}: which one ranks higher?",
        footer="Made by kpairs. Everything is computed on this page; nothing is sent anywhere.",
    )
    if (received := len(text.encode())) > LARGEST:
        raise UsageError(
            f"html: expected a page of at most {LARGEST:,} bytes, received {received:,}; the "
            "network is too large for one"
        )
    return text
