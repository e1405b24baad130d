"""Figures of the pages, made to be read at 400 pixels too. Each function returns a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from kpairs.plots import OURS, PALETTE, REPORTED, band, tidy
from kpairs.studies.effects import Effect

_WIDE = 4.8  # inches: 460 pixels, of which 370 leave letters of 8 points
MOST = 40  # rows, from which on settings stand side by side without names


def figure_of(tall: float, **options: Any) -> tuple[Figure, Any]:
    """Return a figure of a page's width and its axes; options as `Figure.subplots` takes them."""
    figure = Figure(figsize=(_WIDE, tall), layout="constrained")
    return figure, figure.subplots(**options)


def numbers(frame: pd.DataFrame, label: str) -> Figure:
    """Draw reported and our means on one axis, both with 95 % intervals.

    `frame` is as `kpairs.studies.page.shown` gives it, and group; a row for each number, from top
    to bottom, or, where they are many, from left to right without names.
    """
    beside = len(frame) > MOST
    figure, axes = figure_of(4.2 if beside else 0.9 + 0.21 * len(frame))
    places = np.arange(len(frame)) if beside else -np.arange(len(frame))
    shift = 0.0 if beside else 0.16
    for sign, colour, name, mean, half in (
        (1, REPORTED, "reported", "mean", "half"),
        (-1, OURS, "kpairs", "ours", "ours_half"),
    ):
        ends = frame[half].fillna(0)
        style: dict[str, Any] = {"color": colour, "label": name, "fmt": "o", "lw": 0}
        style |= {"ms": 2.5, "elinewidth": 0.7} if beside else {"ms": 4, "elinewidth": 1.3}
        if beside:
            axes.errorbar(places, frame[mean], yerr=ends, **style)
        else:
            axes.errorbar(frame[mean], places + sign * shift, xerr=ends, **style)
    (axes.set_ylabel if beside else axes.set_xlabel)(label)
    axes.grid(axis="y" if beside else "x", alpha=0.3)
    unexpected = (frame["as_expected"] == "no").to_numpy()
    if beside:
        axes.plot(
            places[unexpected], frame.loc[unexpected, "ours"], "kx", ms=6, label="not as expected"
        )
        starts = np.flatnonzero(frame["group"] != frame["group"].shift())
        middles = (starts + np.append(starts[1:], len(frame)) - 1) / 2
        for start in starts[1:]:
            axes.axvline(start - 0.5, color="0.6", lw=0.8)
        axes.set_xticks(middles, frame["group"].iloc[starts])
        axes.tick_params(axis="x", length=0)
    else:
        varies = "metric_label" if frame["metric"].nunique() > 1 else "table"
        more = ", " + frame[varies].str.partition(" (")[0]
        names = frame["name"] + more.where(frame["name"].duplicated(keep=False), "")
        axes.set_yticks(places, np.where(unexpected, "✗ ", "") + names)
        axes.set_ylim(places[-1] - 0.7, 0.7)
    tidy(axes)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def forest(groups: Mapping[str, Sequence[tuple[str, Effect, Sequence[float]]]]) -> Figure:
    """Draw effects with their intervals by heading: name, effect, and the means of single networks.

    The last row of a group is that over all.
    """
    count = sum(len(rows) + 1.4 for rows in groups.values())
    figure, axes = figure_of(0.9 + 0.25 * count)
    place, ticks = 0.0, {}
    for heading, rows in groups.items():
        axes.text(
            0.01, place, heading, transform=axes.get_yaxis_transform(), weight="bold", va="center"
        )
        for number, (name, effect, networks) in enumerate(rows, 1):
            whole = number == len(rows) and len(rows) > 1
            at, colour = place - number, PALETTE[1] if whole else OURS
            axes.plot(networks, np.full(len(networks), at), "|", color="0.55", ms=7, mew=0.9)
            axes.plot([effect.low, effect.high], [at, at], color=colour, lw=2.6 if whole else 1.6)
            axes.plot(effect.mean, at, "D" if whole else "o", color=colour, ms=6)
            ticks[at] = name
        place -= len(rows) + 1.4
    axes.axvline(0, color="0.4", lw=0.8)
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set_ylim(place + 0.6, 0.6)
    axes.grid(axis="x", alpha=0.3)
    axes.xaxis.set_major_locator(MultipleLocator(5))
    axes.set_xlabel("test error, points (← helps)")
    tidy(axes)
    return figure


def lines(panels: Mapping[str, Mapping[str, pd.DataFrame]], label: str) -> Figure:
    """Draw means over rounds per epoch, by title and name, their standard deviations shaded."""
    figure, panes = figure_of(
        0.5 + 2.3 * len(panels), nrows=len(panels), sharex=True, squeeze=False
    )
    for axes, (title, curves) in zip(panes[:, 0], panels.items(), strict=True):
        for colour, (name, epochs) in zip(PALETTE, curves.items(), strict=False):
            band(axes, epochs.index, epochs["mean"], epochs["std"].fillna(0), name, colour)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=title, ylabel=label, ylim=(0, None))
        axes.legend(frameon=False)
        tidy(axes)
    panes[-1, 0].set_xlabel("epoch")
    return figure


def against_parameters(points: pd.DataFrame, named: Sequence[str]) -> Figure:
    """Draw test errors against parameters, by report; some architectures have their names."""
    figure, axes = figure_of(4.2)
    for colour, (group, rows) in zip(PALETTE, points.groupby("group", sort=False), strict=False):
        axes.scatter(rows["parameters"], rows["error"], s=26, color=colour, label=group)
    axes.set(xscale="log", yscale="log", xlabel="trainable parameters", ylabel="test error (%)")
    axes.set_xticks([5e3, 20e3, 100e3, 500e3], ["5k", "20k", "100k", "500k"])
    axes.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    for row in points[points["arch"].isin(named)].itertuples():
        axes.annotate(
            row.arch, (row.parameters, row.error), xytext=(5, 4), textcoords="offset points"
        )
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    tidy(axes)
    return figure


def intervals(frame: pd.DataFrame, label: str) -> Figure:
    """Draw differences with their intervals, from top to bottom: name, mean, low and high."""
    figure, axes = figure_of(0.7 + 0.21 * len(frame))
    places = -np.arange(len(frame))
    ends = [frame["mean"] - frame["low"], frame["high"] - frame["mean"]]
    axes.errorbar(frame["mean"], places, xerr=ends, fmt="o", ms=4, elinewidth=1.6, color=OURS)
    axes.set_yticks(places, frame["name"])
    axes.axvline(0, color="0.4", lw=0.8)
    axes.set_xlabel(label)
    tidy(axes)
    return figure


def one_to_one(x: pd.Series, y: pd.Series, label: str) -> Figure:
    """Draw a dot for each training over the diagonal, the axes labelled by the series' names."""
    figure, axes = figure_of(4.4)
    ends = min(x.min(), y.min()) - 1, max(x.max(), y.max()) + 1
    axes.plot(ends, ends, "--", color="0.5", lw=1)
    axes.plot(x, y, "o", color=OURS, ms=4, alpha=0.6)
    axes.set(xlabel=f"{x.name}: {label}", ylabel=f"{y.name}: {label}", aspect="equal")
    axes.grid(alpha=0.3)
    tidy(axes)
    return figure
