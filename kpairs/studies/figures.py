"""The reports' figures, redrawn from our trainings. Each function returns a matplotlib figure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kpairs.plots import GREEN, OURS, PALETTE, REPORTED, band, tidy
from kpairs.studies.effects import Finding
from kpairs.studies.rows import name_of

MOST = 40  # rows of dots in one figure


def dots(compared: pd.DataFrame, label: str) -> Figure:
    """Draw reported and our means in one row each, with their deviations.

    Args:
        compared: of one metric, as `kpairs.studies.compare.beside` gives it; what was not run is
            left out. Of more than `MOST` rows see `agreement`.
        label: of the metric.
    """
    shown = compared[compared["ours_rounds"] > 0]
    figure = Figure(figsize=(8, 1.4 + 0.22 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(shown))[::-1]
    for shift, colour, name, mean, std in (
        (0.14, REPORTED, "reported", "mean", "std"),
        (-0.14, OURS, "kpairs", "ours", "ours_std"),
    ):
        style: dict[str, Any] = {"fmt": "o", "ms": 4, "elinewidth": 1.3, "label": name}
        xerr = shown[std].fillna(0)
        axes.errorbar(shown[mean], places + shift, xerr=xerr, color=colour, **style)
    names = shown["variant"].where(shown["variant"] != "", shown["setting"])
    axes.set_yticks(places, (shown["arch"] + " " + names).str.strip(), fontsize=9)
    axes.set(ylim=(-0.6, len(shown) - 0.4))
    axes.set_xlabel(f"{label}: mean ± standard deviation", fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    tidy(axes)
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    return figure


def agreement(compared: pd.DataFrame, label: str) -> Figure:
    """Draw our means over the reported ones, a panel per architecture.

    Args:
        compared: as in `dots`.
        label: of the metric.
    """
    shown = compared[compared["ours_rounds"] > 0]
    groups = list(shown.groupby("arch", sort=False))
    figure = Figure(figsize=(0.4 + 2.4 * len(groups), 3), layout="constrained")
    panels = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
    ends = [shown[["mean", "ours"]].min().min() - 2, shown[["mean", "ours"]].max().max() + 2]
    for axes, (arch, rows) in zip(panels, groups, strict=True):
        axes.plot(ends, ends, "--", color="0.5", lw=1)
        spread = {"xerr": rows["std"].fillna(0), "yerr": rows["ours_std"].fillna(0)}
        axes.errorbar(
            rows["mean"], rows["ours"], **spread, fmt="o", ms=4, color=OURS, elinewidth=0.7
        )
        axes.set(title=f"{arch} ({len(rows)})", xlim=ends, ylim=ends, aspect="equal")
        axes.grid(alpha=0.3)
        tidy(axes)
    figure.supxlabel(f"reported {label}", fontsize=10)
    figure.supylabel(f"kpairs' {label}", fontsize=10)
    return figure


def curves(
    rows: pd.DataFrame, panels: Mapping[str, Sequence[str]], column: str, label: str
) -> Figure:
    """Draw means over rounds per epoch, with their deviations shaded.

    Args:
        rows: of a study's curves.
        panels: title of each panel to the names of its settings.
        column: of the rows.
        label: of the column, on the axis.
    """
    figure = Figure(figsize=(4.2 * len(panels) + 0.6, 3.8), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, names) in zip(all_axes, panels.items(), strict=True):
        for colour, name in zip(PALETTE, names, strict=False):
            _epochs(axes, rows[name_of(rows) == name], column, name, colour)
        axes.set(title=title, xlabel="epoch")
        _legend_below(axes)
        tidy(axes)
    all_axes[0].set_ylabel(label)
    return figure


def losses(rows: pd.DataFrame, name: str) -> Figure:
    """Draw comparison and digit loss per epoch, training and test, of one setting."""
    rows = rows[name_of(rows) == name]
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2), ("comparison", "digit"), strict=True):
        for colour, split in zip(PALETTE, ("train", "test"), strict=False):
            _epochs(axes, rows, f"{split}_{kind}_loss", split, colour)
        axes.set(title=f"{kind} loss", xlabel="epoch", ylim=(0, None))
        axes.legend(frameon=False)
        tidy(axes)
    return figure


def _epochs(axes: Axes, rows: pd.DataFrame, column: str, name: str, colour: str) -> None:
    epochs = rows.groupby("epoch")[column].agg(["mean", "std", "count"])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(epochs):
        label = f"{name} ({epochs['count'].max()})"
        band(axes, epochs.index, epochs["mean"], epochs["std"].fillna(0), label, colour)


def _legend_below(axes: Axes) -> None:
    """Put the legend below the axes; draw none where nothing was trained yet."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def scan(rows: pd.DataFrame, values: Mapping[str, float], label: str, axis: str) -> Figure:
    """Test error over a number that is scanned, its axis logarithmic where it spans decades.

    Args:
        rows: of a study.
        values: name of a setting to its number.
        label: of the number, on the horizontal axis.
        axis: label of the vertical axis.
    """
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    numbers = name_of(rows).map(values)
    errors = rows.groupby(numbers)["test_error_pct"].agg(["mean", "std"])
    axes.errorbar(errors.index, errors["mean"], errors["std"].fillna(0), color=OURS, fmt="o-")
    least = min(values.values())
    axes.set(xlabel=label, ylabel=axis)
    if least > 0 and max(values.values()) >= 10 * least:
        axes.set_xscale("log")
    axes.set_xticks(sorted(values.values()), [f"{v:g}" for v in sorted(values.values())])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    tidy(axes)
    return figure


def against_parameters(points: pd.DataFrame) -> Figure:
    """Test error against parameters, by report.

    Args:
        points: group, arch, parameters and error (%) of each architecture.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for colour, (group, rows) in zip(PALETTE, points.groupby("group", sort=False), strict=False):
        axes.scatter(rows["parameters"], rows["error"], s=22, color=colour, label=group)
    axes.set(xscale="log", yscale="log", xlabel="trainable parameters", ylabel="test error (%)")
    axes.set_xticks([20e3, 50e3, 100e3, 200e3], ["20k", "50k", "100k", "200k"])
    axes.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    for row in _apart(points):
        style: dict[str, Any] = {"xytext": (4, -3), "textcoords": "offset points"}
        axes.annotate(row.arch, (row.parameters, row.error), fontsize=8, **style)
    axes.legend(frameon=False, fontsize=8)
    tidy(axes)
    return figure


def _apart(points: pd.DataFrame, wide: float = 1.3, high: float = 1.09) -> list[Any]:
    """Return the points whose names have room: no point of a lesser error is near."""
    chosen: list[Any] = []
    for row in points.sort_values("error").itertuples():
        near = [
            c
            for c in chosen
            if max(c.parameters, row.parameters) < wide * min(c.parameters, row.parameters)
            and row.error < high * c.error
        ]
        if not near:
            chosen.append(row)
    return chosen


def effects(findings: Iterable[Finding]) -> Figure:
    """Draw a row per ingredient: its effect with the interval, and a dot per network."""
    findings = list(findings)[::-1]
    figure = Figure(figsize=(8, 1.2 + 0.5 * len(findings)), layout="constrained")
    axes = figure.add_subplot()
    for place, found in enumerate(findings):
        spread = found.networks["mean"]
        axes.plot(spread, np.full(len(spread), place - 0.22), "|", ms=7, color="0.6")
        for shift, colour, effect in ((0.1, OURS, found.overall), (-0.04, GREEN, found.sound)):
            if effect:
                axes.plot([effect.low, effect.high], [place + shift] * 2, color=colour, lw=2)
                axes.plot(effect.mean, place + shift, "o", color=colour, ms=5)
    axes.axvline(0, color="0.4", lw=0.8)
    reach = 1.15 * max(abs(f.networks["mean"]).max() for f in findings)
    _cut(axes, findings, reach)
    axes.set_yticks(range(len(findings)), [f"{f.name} ({f.overall.networks})" for f in findings])
    axes.set_xlabel("test error with minus without, points (95 % interval); below 0 it helps")
    for colour, marker, name in (
        (OURS, "o-", "all trainings"),
        (GREEN, "o-", "without collapsed ones"),
        ("0.6", "|", "one network"),
    ):
        axes.plot([], [], marker, color=colour, label=name)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    tidy(axes)
    return figure


def _cut(axes: Axes, findings: Sequence[Finding], reach: float) -> None:
    """End the axis at the networks; arrows where an interval goes on."""
    axes.set_xlim(-reach, reach)
    for place, found in enumerate(findings):
        for shift, colour, effect in ((0.1, OURS, found.overall), (-0.04, GREEN, found.sound)):
            ends = () if effect is None else ((effect.low, "<"), (effect.high, ">"))
            for end, marker in ends:
                if abs(end) > reach:
                    side = np.copysign(reach, end)
                    axes.plot(side, place + shift, marker, color=colour, clip_on=False)
