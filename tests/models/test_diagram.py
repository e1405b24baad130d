"""The drawing of a network: what is shared is seen to be, and nothing but plumbing is left out."""

import pytest

from kpairs.models.diagram import boxes_of, draw_graph
from kpairs.models.pair import layers_of
from kpairs.networks import ARCHS, build


def drawn(name):
    weights = {"comparison": 0.5}
    return [
        (box.kind, box.lines[-1], [boxes[n].lines[-1] for n in box.reads])
        for boxes in [boxes_of(build(name), weights)]
        for box in boxes.values()
    ]


def test_one_tower_with_weights_of_its_own_and_one_that_is_shared():
    boxes = drawn("c4l2_ws")
    tower = ("shared", "convolution 72 2x2 relu", ["left", "right"])
    assert tower in boxes
    assert ("shared", "dense 10 softmax", [tower[1]]) in boxes
    assert ("layers", "dense 2 softmax", [tower[1]]) in boxes
    assert ("output", "loss × 0.5", ["dense 2 softmax"]) in boxes

    boxes = drawn("c4l2")
    assert ("layers", "convolution 72 2x2 relu", ["left"]) in boxes
    assert ("layers", "convolution 72 2x2 relu", ["right"]) in boxes
    assert not any(kind == "shared" for kind, *_ in boxes)


def test_a_tower_that_is_called_on_each_image_is_drawn_once():
    (first, *_) = [box for box in drawn("a_w_net") if box[0] == "shared"]
    assert first == ("shared", "max pooling 2x2", ["left", "right"])


@pytest.mark.parametrize("name", [*sorted(ARCHS)[::9], "ranker", "posterior_s"])
def test_every_layer_with_weights_is_drawn(name, tmp_path):
    model = build(name)
    draw_graph(model, tmp_path / "graph.svg", name)
    boxes = boxes_of(model, {})
    lines = [line for box in boxes.values() for line in box.lines]
    layers = [layer for layer in layers_of(model) if layer.trainable_weights]
    words = ("convolution", "dense", "batch")
    assert sum(line.startswith(words) for line in lines) == len(layers)
    assert {box.lines[0] for box in boxes.values() if box.kind == "output"} == set(model.output)
