"""The report's pictures of the disc. Each function returns a matplotlib figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from kpairs.plots import BLACK, BLUE, ORANGE, SKY, VERMILION, tidy
from kpairs.reports.chassagne.disc.disc import RADIUS, DiscRun

Floats = NDArray[np.floating[Any]]
Classes = NDArray[np.int64]
_WRONG, _INSIDE, _OUTSIDE = BLACK, ORANGE, SKY


def draw_run(run: DiscRun, title: str) -> Figure:
    """Draw one training: predictions with the decision boundary, error and loss per epoch."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    figure.suptitle(title)
    square, errors, loss = figure.subplots(1, 3)
    points, classes, predicted = (t.numpy() for t in (run.points, run.classes, run.predictions()))
    draw_predictions(square, points, classes, predicted)
    x, y, margins = (t.numpy() for t in run.margins(201))
    draw_boundary(square, x, y, margins)
    square.set_title(f"{len(points):,} test points")
    draw_errors(errors, run.history)
    draw_loss(loss, run.history)
    return figure


def draw_predictions(axes: Axes, points: Floats, classes: Classes, predicted: Classes) -> None:
    """Draw `(n, 2)` test points by predicted class, with the true circle; cross wrong ones."""
    for number, colour, name in ((1, _INSIDE, "inside"), (0, _OUTSIDE, "outside")):
        chosen = points[predicted == number]
        axes.plot(*chosen.T, "o", ms=2.5, mew=0, color=colour, label=f"called {name}")
    wrong = points[predicted != classes]
    axes.plot(*wrong.T, "x", ms=5, mew=1.1, color=_WRONG, label=f"wrong ({len(wrong)})")
    draw_circle(axes)
    # Under the square, where no point is hidden by it.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, frameon=False, fontsize=8)


def draw_circle(axes: Axes) -> None:
    """Draw the true circle in the unit square."""
    axes.add_patch(Circle((0.5, 0.5), RADIUS, fill=False, ec="0.35", ls="--"))
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[], yticks=[])


def draw_boundary(
    axes: Axes, x: Floats, y: Floats, margins: Floats, colour: str = VERMILION
) -> None:
    """Draw the line on which a network's two outputs are equal; see `DiscRun.margins`."""
    if margins.min() < 0 < margins.max():
        axes.contour(x, y, margins, [0.0], colors=[colour], linewidths=1.5)


def draw_errors(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    """Draw training and test error per epoch."""
    epochs = [row["epoch"] for row in history]
    for split, colour in (("train", BLUE), ("test", VERMILION)):
        values = [row[f"{split}_error_pct"] for row in history]
        axes.plot(epochs, values, color=colour, label=f"{split}, {values[-1]:.2f} % at the end")
    axes.set(title="error", xlabel="epoch", ylabel="error (%)", ylim=(0, None))
    axes.legend(frameon=False)
    tidy(axes)


def draw_loss(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    """Draw the squared error per epoch, summed over the batches."""
    values = [row["train_loss"] for row in history]
    axes.plot([row["epoch"] for row in history], values, color=BLUE, label="train")
    axes.set(title="loss", xlabel="epoch", ylabel="MSE, summed over the batches", ylim=(0, None))
    axes.legend(frameon=False)
    tidy(axes)


def learned(
    points: Floats, classes: Classes, predicted: Classes, edges: tuple[Floats, Floats, Any]
) -> Figure:
    """Draw predicted test points, and the decision boundaries of several networks over them.

    `edges` are x and y as in `draw_boundary`, and a mapping of networks' names to their margins.
    """
    figure = Figure(figsize=(5.2, 5.4), layout="constrained")
    axes = figure.add_subplot()
    draw_predictions(axes, points, classes, predicted)
    x, y, margins = edges
    for colour, (name, values) in zip((BLUE, VERMILION), margins.items(), strict=False):
        draw_boundary(axes, x, y, values, colour)
        axes.plot([], [], color=colour, label=name)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, frameon=False)
    return figure
