"""A network layer by layer, as rows and as a picture.

With matplotlib alone: `keras.utils.plot_model` needs the graphviz program.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
from matplotlib.figure import Figure

from kpairs.models.registry import trainable_parameters
from kpairs.plots import save_figure

_ROW, _COLUMN = 0.8, 2.3  # inches per level and per call of a layer
# What of a layer's configuration a reader would hold against a report.
_LABELLED = ("rate", "momentum", "epsilon", "scale", "offset")
_SIZES = ("filters", "units", "kernel_size", "pool_size", "padding")
_DETAILS = (*_SIZES, "rate", "activation", "momentum", "epsilon", "scale", "offset")
Call = tuple[str, int]  # of a layer: its name, and which of its calls


def layer_rows(model: keras.Model) -> list[dict[str, Any]]:
    """Describe every layer of a functional Keras model, in order.

    Returns:
        A list of dicts: `name`, `type`, `details` (sizes and activation as text), `shape` (of its
        output for one pair), `parameters` (the trainable ones), `reads` (for each time it
        is called, the layers whose outputs it takes; two times where both images go through it
        one by one) and `output` (name of the model's output that it gives, or None).
    """
    config = model.get_config()
    output_of = {layer: name for name, (layer, *_) in config["output_layers"].items()}
    operations = {operation.name: operation for operation in model.operations}
    rows = []
    for layer in config["layers"]:
        operation = operations[layer["name"]]
        nodes = layer["inbound_nodes"]
        rows.append(
            {
                "name": layer["name"],
                "type": layer["class_name"],
                "details": _details(layer["config"]),
                "shape": list(operation.output.shape[1:]),
                "parameters": trainable_parameters(operation),
                "reads": [list(_calls_read(node)) for node in nodes] or [[]],
                "output": output_of.get(layer["name"]),
            }
        )
    return rows


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


def draw_graph(model: keras.Model, path: str | Path, title: str) -> None:
    """Draw every call of every layer, from the inputs at the top to the outputs.

    A layer that is called for each image appears twice, in blue: its weights are shared. Boxes
    say what the layer is and the shape of its output for one pair.

    Args:
        model: a functional Keras model.
        path: the image file to write.
        title: heading.
    """
    rows = {row["name"]: row for row in layer_rows(model)}
    parents = {
        (name, number): calls
        for name, row in rows.items()
        for number, calls in enumerate(row["reads"])
    }
    place = _places(parents)
    width = max(x for x, _ in place.values()) + 1
    height = max(y for _, y in place.values()) + 1
    size = (max(_COLUMN * width, 4), _ROW * height + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    axis = figure.subplots()
    axis.set(xlim=(-0.55, width - 0.45), ylim=(height - 0.4, -0.6))
    axis.axis("off")
    for (name, number), (x, y) in place.items():
        shared = len(rows[name]["reads"]) > 1
        for above in parents[name, number]:
            axis.annotate(
                "",
                xy=(x, y - 0.34),
                xytext=(place[above][0], place[above][1] + 0.34),
                arrowprops={"arrowstyle": "->", "color": "0.6", "linewidth": 0.8},
            )
        axis.text(
            x,
            y,
            _label(rows[name]),
            ha="center",
            va="center",
            fontsize=7,
            weight="bold" if rows[name]["output"] else "normal",
            bbox={
                "boxstyle": "round",
                "facecolor": "white",
                "edgecolor": "tab:blue" if shared else "0.5",
            },
        )
    save_figure(figure, path)


def _label(row: dict[str, Any]) -> str:
    title = row["name"] if row["type"] == "InputLayer" else row["type"]
    lines = [title, row["details"], " x ".join(map(str, row["shape"])), row["output"]]
    return "\n".join(line for line in lines if line)


def _places(parents: dict[Call, list[Call]]) -> dict[Call, tuple[float, int]]:
    """Column and row of each call: below all that it reads, calls of one level side by side."""
    depth: dict[Call, int] = {}
    for call, above in parents.items():  # Keras lists a layer after those that it reads
        depth[call] = 1 + max((depth[p] for p in above), default=-1)
    place: dict[Call, tuple[float, int]] = {}
    for level in range(max(depth.values()) + 1):
        calls = [call for call in parents if depth[call] == level]
        wish = {c: _mean([place[p][0] for p in parents[c]], calls.index(c)) for c in calls}
        column = -1.0
        for call in sorted(calls, key=wish.__getitem__):
            column = max(wish[call], column + 1)
            place[call] = (column, level)
    return place


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default
