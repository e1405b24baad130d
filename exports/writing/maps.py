"""The maps inside a graph whose means over places are the features of a linear score.

Then each place's contribution to the score is known exactly, which `kpairs.exports.runtime.explain`
computes: class activation maps (Zhou et al., Learning deep features for discriminative
localization, 2016).
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import numpy_helper

_SCORE = "left_score"
_MOVED = ("Gather", "Identity", "Reshape", "Slice", "Squeeze", "Flatten")  # numbers stay the same
_MEANS = ("ReduceMean", "GlobalAveragePool")


def maps_of(graph: onnx.GraphProto) -> dict[str, Any] | None:
    """Find the maps behind the score of a graph's left image.

    Returns None where there is no such score, or a feature that is no mean over places; else a
    JSON-ready dict:

    - `values`: names of maps, whose channels are the features in their order.
    - `axes`: of each map the two axes of its places, (2, 3) or (1, 2).
    - `weights`: name of the head's `(features, 1)` weights.
    - `offset`: name of what is added to every score, or None.
    - `mirrored`: True where each image is followed by its mirror image.
    """
    producers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def source(name: str) -> onnx.NodeProto | None:
        """Return the node that computes a value, past those that only move its numbers."""
        node = producers.get(name)
        while node is not None and node.op_type in _MOVED:
            node = producers.get(node.input[0])
        return node

    def axes(node: onnx.NodeProto) -> list[int]:
        """Return what a mean is taken over; of a global pooling, the places."""
        if node.op_type == "GlobalAveragePool":
            return [2, 3]
        if len(node.input) < 2 or node.input[1] not in constants:
            return []
        found: list[int] = numpy_helper.to_array(constants[node.input[1]]).tolist()
        return found

    head, offset = source(_SCORE), None
    if head is not None and head.op_type == "Add" and head.input[1] in constants:
        offset = head.input[1]
        head = source(head.input[0])
    if head is None or head.op_type != "MatMul" or head.input[1] not in constants:
        return None
    features = source(head.input[0])
    mirrored = features is not None and features.op_type == "ReduceMean" and axes(features) == [1]
    if mirrored and features is not None:
        features = source(features.input[0])
    if features is None:
        return None
    parts = features.input if features.op_type == "Concat" else features.output
    means = [source(part) for part in parts]
    places = [axes(mean) if mean and mean.op_type in _MEANS else [] for mean in means]
    if any(place not in ([2, 3], [1, 2]) for place in places):
        return None
    return {
        "values": [mean.input[0] for mean in means if mean is not None],
        "axes": places,
        "weights": head.input[1],
        "offset": offset,
        "mirrored": mirrored,
    }
