"""The page that shows what weight sharing and auxiliary losses are, on report 001's networks."""

from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kpairs.numbers import interval_of
from kpairs.plots import GREEN, OURS, REPORTED
from kpairs.studies.figures import figure_of
from kpairs.studies.page import Page
from kpairs.studies.results import Results

_NETWORKS = ("simple", "ws", "auxws")


def pages(results: Results) -> list[Page]:
    """Return the page of weight sharing."""
    return [WeightSharingPage("weight-sharing", "reports/haidinger/weight_sharing.md.j2", results)]


class WeightSharingPage(Page):
    """The page of weight sharing, its answer first."""

    def errors(self) -> dict[str, dict[str, Any]]:
        """Return by network the mean test error of 20 rounds, its interval, and their range."""
        rows = self.results.rows("haidinger-figure-2")
        rows = rows[rows["round"] <= 20]
        groups: dict[Any, pd.Series] = dict(list(rows.groupby("arch")["test_error_pct"]))
        return {
            name: {
                "mean": groups[name].mean(),
                "ends": interval_of(groups[name]),
                "range": (groups[name].min(), groups[name].max()),
            }
            for name in _NETWORKS
            if name in groups
        }

    def schemes(self) -> Markup:
        """Draw the three networks side by side."""
        words = (
            "simple: one tower sees both images; ws: the same tower sees each image; "
            "auxws: it also says which digit each image shows"
        )
        caption = (
            "Blue: the weights that see an image; = the same ones. Orange: outputs with a loss."
        )
        return self.picture("schemes", _schemes(), words, caption)


def _schemes() -> Figure:
    figure, panes = figure_of(2.5, ncols=3)
    for axes, name in zip(panes, _NETWORKS, strict=True):
        axes.set(xlim=(0, 10), ylim=(0, 10))
        axes.axis("off")
        axes.set_title(name, fontsize=11, family="monospace")
        for x, side in ((2.4, "left"), (7.6, "right")):
            _box(axes, x, 0.8, side, "0.5")
            if name == "simple":
                _arrow(axes, (x, 1.7), (5 + (x - 5) / 4, 3.2))
                continue
            _arrow(axes, (x, 1.7), (x, 3.2))
            _box(axes, x, 4.1, "tower", OURS)
            _arrow(axes, (x, 5.0), (5 + (x - 5) / 4, 7.8))
            if name == "auxws":
                edge = x + (x - 5) * 0.42
                _arrow(axes, (edge, 5.0), (edge, 5.6))
                _box(axes, edge, 6.4, "digit", REPORTED)
        if name == "simple":
            _box(axes, 5, 4.1, "one tower", OURS)
            _arrow(axes, (5, 5.0), (5, 7.8))
        else:
            axes.text(5, 4.1, "=", ha="center", va="center", fontsize=13, color=GREEN)
        _box(axes, 5, 8.7, "left ≤ right?", REPORTED)
    return figure


def _box(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    style = {"boxstyle": "round,pad=0.3", "fc": "none", "ec": colour, "lw": 1.4}
    axes.text(x, y, text, ha="center", va="center", fontsize=9.5, bbox=style)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "0.5"})
