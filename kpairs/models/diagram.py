"""A network layer by layer, as rows and as a picture.

With matplotlib alone: `keras.utils.plot_model` needs the graphviz program.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import keras
from matplotlib.figure import Figure

from kpairs.models.pair import is_tower
from kpairs.models.registry import trainable_parameters
from kpairs.plots import BLUE, VERMILION, save_inked

# Settings of a layer that a reader would hold against a report.
_LABELLED = ("rate", "momentum", "epsilon", "scale", "offset")
_SIZES = ("filters", "units", "kernel_size", "pool_size", "padding")
_DETAILS = (*_SIZES, "rate", "activation", "momentum", "epsilon", "scale", "offset")
_WORDS = {
    "Conv2D": "convolution",
    "DepthwiseConv2D": "depthwise convolution",
    "MaxPooling2D": "max pooling",
    "GlobalAveragePooling2D": "mean over the image",
    "BatchNormalization": "batch normalisation",
    "Concatenate": "side by side",
    "Activation": "",
    "Add": "sum",
}
# These move numbers about.
_PLUMBING = ("Identity", "Stack", "Reshape", "GetItem", "Flatten", "ExpandDims")
_COLOURS = {  # edge and face by kind of box
    "image": ("0.2", "0.2"),
    "layers": ("0.4", "none"),
    "shared": (BLUE, (BLUE, 0.15)),
    "output": (VERMILION, (VERMILION, 0.15)),
}


def layer_rows(model: keras.Model) -> list[dict[str, Any]]:
    """Describe every layer of a functional Keras model, in order, as dicts.

    They have `name` (of a layer in a tower `<tower>/<layer>`), `type`, `details` (sizes and
    activation as text), `shape` (of its output for one pair, in a tower for one image),
    `parameters` (trainable ones), `reads` (for each call the names of the layers whose outputs it
    takes) and `output` (name of the model's output that it gives, or None).
    """
    config = model.get_config()
    outputs = config["output_layers"]
    output_of = {v[0]: k for k, v in outputs.items()} if isinstance(outputs, dict) else {}
    operations = {operation.name: operation for operation in model.operations}
    last: dict[str, str] = {}  # layer of each tower
    rows: list[dict[str, Any]] = []
    for layer in config["layers"]:
        name, nodes = layer["name"], layer["inbound_nodes"]
        operation = operations[name]
        reads = [[last.get(n, n) for n in _names(node)] for node in nodes] or [[]]
        if is_tower(operation):
            rows += _tower_rows(operation, reads)
            last[name] = rows[-1]["name"]
            continue
        rows.append(
            {
                "name": name,
                "type": layer["class_name"],
                "details": _details(layer),
                "shape": list(operation.output.shape[1:]),
                "parameters": trainable_parameters(operation),
                "reads": reads,
                "output": output_of.get(name),
            }
        )
    return rows


def _tower_rows(tower: keras.Model, reads: list[list[str]]) -> Iterator[dict[str, Any]]:
    """Describe the layers of a tower that reads these images, one by one or both at once."""
    prefix = tower.name
    if len(tower.inputs) == 2:
        (tower,) = filter(is_tower, tower.layers)
        reads = [[image] for image in reads[0]]
    image, *rows = layer_rows(tower)
    for row in rows:
        calls = [
            [side[0] if name == image["name"] else f"{prefix}/{name}" for name in call]
            for call in row["reads"]
            for side in (reads if image["name"] in call else reads[:1])
        ]
        yield {**row, "name": f"{prefix}/{row['name']}", "reads": calls}


def _names(value: Any) -> Iterator[str]:
    """List the layer of every tensor inside a node's serialised arguments."""
    if isinstance(value, dict):
        if "keras_history" in value:
            yield value["keras_history"][0]
            return
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _names(item)


def _details(layer: Mapping[str, Any]) -> str:
    if layer["class_name"] == "GetItem":  # x[:, 0] is the left one of two images
        key = layer["inbound_nodes"][0]["args"][1]
        return " ".join(str(index) for index in key if isinstance(index, int))
    parts = []
    for key in _DETAILS:
        value = layer["config"].get(key)
        if isinstance(value, (list, tuple)):
            value = "x".join(str(n[0]) if isinstance(n, (list, tuple)) else str(n) for n in value)
        if value not in (None, "linear", "valid") and not isinstance(value, bool):
            parts.append(f"{key} {value}" if key in _LABELLED else str(value))
    return " ".join(parts)


@dataclass
class Box:
    """Layers that follow each other, an image, or an output."""

    reads: list[str]  # names of the boxes above it
    # "image", "layers", "shared" (layers that see each image with the same weights) or "output".
    kind: str
    lines: list[str]  # text of the box
    shape: str = ""  # of the last layer's output, for one image

    @property
    def text(self) -> str:
        """The lines, with what is only seen: the shape, and that weights are shared."""
        head = ["the same weights for both images:"] if self.kind == "shared" else []
        return "\n".join([*head, *self.lines, *([f"({self.shape})"] if self.shape else [])])


def boxes_of(model: keras.Model, loss_weights: Mapping[str, float]) -> dict[str, Box]:
    """Join a network's layers to the boxes of a drawing, by the name of each one's first layer.

    Layers that only move numbers about are left out. Layers share their weights in a tower that
    both images go through, and on an axis of two images, (batch, 2, n).
    """
    rows = {row["name"]: row for row in layer_rows(model)}
    gives: dict[str, list[str]] = {}  # drawn layers whose outputs a layer gives or passes on
    drawn: dict[str, list[str]] = {}
    for name, row in rows.items():
        above = _unique(x for call in row["reads"] for n in call for x in gives[n])
        if row["type"] == "GetItem" and row["details"] and len(above) == 2:
            above = [above[int(row["details"])]]
        if row["type"] not in _PLUMBING:
            drawn[name] = above
        gives[name] = [name] if name in drawn else above
    outputs = {row["output"]: gives[name] for name, row in rows.items()}
    followers = Counter(chain(*drawn.values(), *(outputs[name] for name in model.output)))
    boxes: dict[str, Box] = {}
    home: dict[str, str] = {}
    for name, above in drawn.items():
        row, tower, two = rows[name], name.rpartition("/")[0], rows[name]["shape"][:-1] == [2]
        shared = two or (tower and not tower.startswith(("left_", "right_")))
        kind = "shared" if shared else "layers" if above else "image"
        home[name] = home[above[0]] if len(above) == 1 == followers[above[0]] else name
        if home[name] == name or boxes[home[name]].kind != kind:
            home[name] = name
            boxes[name] = Box(_unique(home[n] for n in above), kind, [])
        boxes[home[name]].lines.append(_line(row) if above else name)
        boxes[home[name]].shape = " x ".join(map(str, row["shape"][two:]))
    for name in model.output:
        weight = [f"loss × {loss_weights[name]:g}"] if name in loss_weights else []
        boxes[f"output {name}"] = Box(
            _unique(home[n] for n in outputs[name]), "output", [name, *weight]
        )
    return boxes


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _line(row: Mapping[str, Any]) -> str:
    details = row["details"] if row["type"] != "BatchNormalization" else ""
    word = _WORDS.get(row["type"], re.sub(r"(?<=[a-z])(?=[A-Z])", " ", row["type"]).lower())
    return f"{word} {details}".strip()


def draw_graph(
    model: keras.Model,
    path: str | Path,
    title: str,
    loss_weights: Mapping[str, float] | None = None,
) -> None:
    """Draw the way of the two images through a network, from the top to the outputs.

    Layers that follow each other share a box; those that see each image with the same weights are
    blue, and stand there once. The last line is the shape of the output, for one image.
    """
    boxes = boxes_of(model, loss_weights or {})
    places = _places(boxes)
    x, y = zip(*places.values(), strict=True)
    figure = Figure(figsize=(max(x) - min(x) + 3.2, max(y) + 1.2), layout="constrained")
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots()
    axes.set(xlim=(min(x) - 1.6, max(x) + 1.6), ylim=(max(y) + 0.4, -0.4))
    axes.axis("off")
    drawn = {}
    for name, box in boxes.items():
        edge, face = _COLOURS[box.kind]
        style = {"boxstyle": "round,pad=0.8", "edgecolor": edge, "facecolor": face}
        ink: dict[str, Any] = {"color": "white" if box.kind == "image" else "black"}
        ink |= {"ha": "center", "va": "center", "fontsize": 9, "linespacing": 1.4}
        drawn[name] = axes.text(*places[name], box.text, bbox=style, **ink).get_bbox_patch()
        for above in box.reads:
            ends = {"patchA": drawn[above], "patchB": drawn[name]}
            arrow = {"arrowstyle": "-|>", "color": "0.4", "shrinkA": 0, "shrinkB": 0, **ends}
            axes.annotate("", places[name], places[above], arrowprops=arrow)
    save_inked(figure, path)


def _places(boxes: Mapping[str, Box]) -> dict[str, tuple[float, float]]:
    """Place the centre of each box, in inches: below all that it reads, near their middle."""
    level: dict[str, int] = {}
    for name, box in boxes.items():  # Keras lists a layer after those that it reads
        level[name] = 1 + max((level[n] for n in box.reads), default=-1)
    places: dict[str, tuple[float, float]] = {}
    top = 0.0
    for number in range(max(level.values()) + 1):
        here = {n: b for n, b in boxes.items() if level[n] == number}
        half = {n: 0.3 + 0.037 * max(map(len, b.text.split("\n"))) for n, b in here.items()}
        height = max(0.178 * b.text.count("\n") for b in here.values())
        wish = {n: fmean([places[p][0] for p in b.reads] or [0]) for n, b in here.items()}
        order = sorted(here, key=wish.__getitem__)
        x = {order[0]: wish[order[0]]}
        for before, n in pairwise(order):  # side by side, from the left
            x[n] = max(wish[n], x[before] + half[before] + half[n])
        shift = fmean(x[n] - wish[n] for n in here)  # to both sides of what is above
        places |= {n: (x[n] - shift, top + height / 2) for n in here}
        top += height + 0.8
    return places
