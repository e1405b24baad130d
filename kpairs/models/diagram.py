"""A network layer by layer, as rows and as a picture.

With matplotlib alone: `keras.utils.plot_model` needs the graphviz program.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from kpairs.models.registry import trainable_parameters
from kpairs.plots import BLUE, VERMILION, save_inked

# What of a layer's configuration a reader would hold against a report.
_LABELLED = ("rate", "momentum", "epsilon", "scale", "offset")
_SIZES = ("filters", "units", "kernel_size", "pool_size", "padding")
_DETAILS = (*_SIZES, "rate", "activation", "momentum", "epsilon", "scale", "offset")
Call = tuple[str, int]  # of a layer: its name, and which of its calls


def layer_rows(model: keras.Model) -> list[dict[str, Any]]:
    """Describe every layer of a functional Keras model, in order.

    A layer that is itself a functional model, as a tower is, is given by its own layers, named
    such as `tower/conv2d`; its inputs stand for what it is called on.

    Returns:
        A list of dicts: `name`, `type`, `details` (sizes and activation as text), `shape` (of its
        output for one pair), `parameters` (the trainable ones), `reads` (for each time it
        is called, the layers whose outputs it takes; two times where both images go through it
        one by one) and `output` (name of the model's output that it gives, or None).
    """
    output_of = {layer: name for name, (layer, *_) in model.get_config()["output_layers"].items()}
    rows, ends = _rows(model)
    names = {ends.get(layer, layer): output for layer, output in output_of.items()}
    return [{**row, "output": names.get(row["name"])} for row in rows]


def _rows(model: keras.Model) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the layers' rows, and for each inner model the name of the layer that it ends in."""
    operations = {operation.name: operation for operation in model.operations}
    rows: list[dict[str, Any]] = []
    ends: dict[str, str] = {}
    for layer in model.get_config()["layers"]:
        name, operation = layer["name"], operations[layer["name"]]
        calls = [list(_calls_read(node)) for node in layer["inbound_nodes"]] or [[]]
        reads = [[(ends.get(other, other), number) for other, number in call] for call in calls]
        if isinstance(operation, keras.Model):
            inner = _inner_rows(operation, name, reads)
            rows += inner
            ends[name] = inner[-1]["name"]
            continue
        rows.append(
            {
                "name": name,
                "type": layer["class_name"],
                "details": _details(layer["config"]),
                "shape": list(operation.output.shape[1:]),
                "parameters": trainable_parameters(operation),
                "reads": reads,
            }
        )
    return rows, ends


def _inner_rows(model: keras.Model, name: str, calls: list[list[Call]]) -> list[dict[str, Any]]:
    """Return the rows of a model inside another, each layer called as often as the model is."""
    rows, _ = _rows(model)
    inputs = [row["name"] for row in rows if row["type"] == "InputLayer"]
    given = [dict(zip(inputs, call, strict=True)) for call in calls]

    def outer(read: Call, number: int) -> Call:
        return given[number].get(read[0]) or (f"{name}/{read[0]}", read[1] + number)

    return [
        {
            **row,
            "name": f"{name}/{row['name']}",
            "reads": [
                [outer(read, number) for read in call]
                for number in range(len(calls))
                for call in row["reads"]
            ],
        }
        for row in rows
        if row["name"] not in inputs
    ]


def _details(config: dict[str, Any]) -> str:
    parts = []
    for key in _DETAILS:
        value = config.get(key)
        if isinstance(value, (list, tuple)):
            value = "x".join(str(n[0]) if isinstance(n, (list, tuple)) else str(n) for n in value)
        if value not in (None, "linear", "valid") and not isinstance(value, bool):
            parts.append(f"{key} {value}" if key in _LABELLED else str(value))
    return " ".join(parts)


def _calls_read(value: Any) -> Iterator[Call]:
    """The (layer name, call number) of every tensor inside a node's serialised arguments."""
    if isinstance(value, dict):
        if "keras_history" in value:
            name, number, _ = value["keras_history"]
            yield name, number
            return
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _calls_read(item)


def draw_graph(
    model: keras.Model,
    path: str | Path,
    title: str,
    loss_weights: Mapping[str, float] | None = None,
) -> None:
    """Draw what happens to the two images, from the top to the outputs.

    Layers that follow each other share a box; one that sees each image with the same weights is
    blue, and stands there once. Arrows and lines say the shape of what comes out, for one image.

    Args:
        model: a functional Keras model.
        path: the image file to write.
        title: heading.
        loss_weights: weight of each output's loss, for its box.
    """
    boxes = boxes_of(model, loss_weights or {})
    place, size = _places(boxes)
    figure = Figure(figsize=(size[0], size[1] + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots()
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    axes.axis("off")
    for name, box in boxes.items():
        x, y = place[name]
        for above in box.reads:
            start = place[above][1] + boxes[above].height / 2
            ends: dict[str, Any] = {
                "xy": (x, y - box.height / 2),
                "xytext": (place[above][0], start),
            }
            axes.annotate("", **ends, arrowprops={"arrowstyle": "-|>", "color": "0.4"})
            middle = (x + place[above][0]) / 2, (y - box.height / 2 + start) / 2
            side = -1 if place[above][0] < x else 1  # outside of arrows that meet
            label: dict[str, Any] = {"fontsize": 8, "va": "center", "textcoords": "offset points"}
            label |= {"xytext": (6 * side, 0), "ha": "right" if side < 0 else "left"}
            axes.annotate(boxes[above].shape, middle, **label)
        _draw_box(axes, box, x, y)
    save_inked(figure, path)


def _draw_box(axes: Any, box: Box, x: float, y: float) -> None:
    colours = {"image": ("0.15", "0.4"), "output": ((VERMILION, 0.15), VERMILION)}
    fill, edge = colours.get(box.kind, ((BLUE, 0.15), BLUE) if box.shared else ("none", "0.4"))
    corner = (x - box.width / 2, y - box.height / 2)
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch(corner, box.width, box.height, style, facecolor=fill, edgecolor=edge)
    )
    text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9, "linespacing": 1.45}
    weight, colour = ("bold", "white") if box.kind == "image" else ("normal", "black")
    axes.text(x, y, "\n".join(box.lines), color=colour, weight=weight, **text)


@dataclass
class Box:
    """Layers that follow each other, an image, or an output.

    Attributes:
        kind: "image", "layers" or "output".
        lines: what the box says.
        reads: names of the boxes above it.
        shape: of what comes out, for one image.
        shared: whether it sees each image with the same weights.
    """

    kind: str
    lines: list[str]
    reads: list[str]
    shape: str = ""
    shared: bool = False

    @property
    def width(self) -> float:
        """In inches."""
        return 0.4 + 0.085 * max(map(len, self.lines))

    @property
    def height(self) -> float:
        """In inches."""
        return 0.75 if self.kind == "image" else 0.24 + 0.19 * len(self.lines)


def boxes_of(model: keras.Model, loss_weights: Mapping[str, float]) -> dict[str, Box]:
    """Join a network's layers to the boxes of a drawing, by the name of each one's first layer.

    What only moves numbers about (stacking the images, reshaping) is left out.
    """
    rows = {row["name"]: row for row in layer_rows(model)}
    shared, side = _shared(rows), _sides(model)
    reads = {name: [n for call in row["reads"] for n, _ in call] for name, row in rows.items()}

    def seen(name: str) -> list[str]:
        """The layers above that are drawn, those of a hidden one in its place."""
        found = [x for n in reads[name] for x in (seen(n) if _is_hidden(rows[n]) else [n])]
        found = list(dict.fromkeys(found))
        return [found[side[name]]] if name in side and len(found) == 2 else found

    drawn = {name: seen(name) for name, row in rows.items() if not _is_hidden(row)}
    outputs: dict[str, list[str]] = {
        row["output"]: seen(name) if _is_hidden(row) else [name]
        for name, row in rows.items()
        if row["output"]
    }
    followers = Counter(n for above in [*drawn.values(), *outputs.values()] for n in above)
    boxes: dict[str, Box] = {}
    home: dict[str, str] = {}
    for name, above in drawn.items():
        row, first = rows[name], above[0] if above else ""
        joins = len(above) == 1 == followers[first] and shared[first] == shared[name]
        if joins and rows[first]["type"] != "InputLayer":
            home[name] = home[first]
        else:
            home[name] = name
            places = list(dict.fromkeys(home[n] for n in above))
            kind = "layers" if above else "image"
            boxes[name] = Box(kind, [], places, shared=shared[name])
            if shared[name]:
                boxes[name].lines.append("the same weights for both images:")
        box = boxes[home[name]]
        box.lines.append(row["name"] if box.kind == "image" else _line(row))
        box.shape = _shape(row, shared[name])
    for name in model.output:
        weight = f"loss × {loss_weights[name]:g}" if name in loss_weights else ""
        above = list(dict.fromkeys(home[n] for n in outputs[name]))
        boxes[f"output {name}"] = Box("output", [x for x in (name, weight) if x], above)
    return boxes


def _sides(model: keras.Model) -> dict[str, int]:
    """Which of two stacked images a layer takes, 0 or 1, of those that take one: `x[:, 0]`."""
    taken: dict[str, int] = {}
    for layer in model.get_config()["layers"]:
        if layer["class_name"] == "GetItem":
            _, key = layer["inbound_nodes"][0]["args"]
            indices = [part for part in key if isinstance(part, int)]
            taken |= {layer["name"]: indices[0]} if indices else {}
    return taken


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
_HIDDEN = ("Stack", "Reshape", "GetItem", "Flatten", "ExpandDims")


def _is_hidden(row: Mapping[str, Any]) -> bool:
    return row["type"] in _HIDDEN


def _line(row: Mapping[str, Any]) -> str:
    details = row["details"] if row["type"] != "BatchNormalization" else ""
    word = _WORDS.get(row["type"], re.sub(r"(?<=[a-z])(?=[A-Z])", " ", row["type"]).lower())
    return f"{word} {details}".strip()


def _shape(row: Mapping[str, Any], shared: bool) -> str:
    sizes = row["shape"]
    return " x ".join(map(str, sizes[1:] if shared and sizes[0] == 2 else sizes))


def _shared(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    """Which layers see each image on its own, with the same weights.

    One that is called twice does, and so does one between the stacking of both and where their
    features come together: the images lie along an axis of length two, or in the batch.
    """
    shared: dict[str, bool] = {}
    folded: dict[str, bool] = {}  # into the batch
    for name, row in rows.items():
        above = [n for call in row["reads"] for n, _ in call]
        last = above[0] if above else ""
        both, in_batch = shared.get(last, False), folded.get(last, False)
        if len(row["reads"]) > 1 or row["type"] == "Stack":
            both, in_batch = True, False
        elif len(above) > 1 or row["type"] == "GetItem":
            both = in_batch = False
        elif both and row["type"] in ("Reshape", "Flatten"):
            before, after = (math.prod(rows[n]["shape"]) for n in (last, name))
            if len(rows[last]["reads"]) < 2 and before == after and len(row["shape"]) == 1:
                both = in_batch
            in_batch = both and (after * 2 == before or (in_batch and after == before))
        shared[name], folded[name] = both, in_batch
    return shared


_GAP = 0.55  # inches between boxes


def _places(boxes: Mapping[str, Box]) -> tuple[dict[str, tuple[float, float]], tuple[float, float]]:
    """The centre of each box, below all that it reads, and the size of the whole, in inches."""
    level: dict[str, int] = {}
    for name, box in boxes.items():  # Keras lists a layer after those that it reads
        level[name] = 1 + max((level[n] for n in box.reads), default=-1)
    x: dict[str, float] = {}
    y: dict[str, float] = {}
    top = 0.1
    for number in range(max(level.values()) + 1):
        here = [name for name in boxes if level[name] == number]
        wish = {n: _mean([x[p] for p in boxes[n].reads], 1.6 * here.index(n)) for n in here}
        edge = -math.inf
        for name in sorted(here, key=wish.__getitem__):
            x[name] = max(wish[name], edge + _GAP / 2 + boxes[name].width / 2)
            edge = x[name] + boxes[name].width / 2
        middle = _mean([x[n] - wish[n] for n in here], 0.0)
        x |= {n: x[n] - middle for n in here}  # spread to both sides of what is above
        height = max(boxes[n].height for n in here)
        y |= dict.fromkeys(here, top + height / 2)
        top += height + _GAP
    left = min(x[n] - boxes[n].width / 2 for n in boxes) - 0.1
    right = max(x[n] + boxes[n].width / 2 for n in boxes) + 0.1
    return {n: (x[n] - left, y[n]) for n in boxes}, (right - left, top - _GAP + 0.1)


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default
