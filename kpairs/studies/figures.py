"""The reports' figures, redrawn from our trainings. Each function returns a matplotlib figure."""

import statistics
from collections import defaultdict

import numpy as np
from matplotlib.figure import Figure

from kpairs.studies.rows import name_of

_OURS, _THEIRS = "#0072b2", "#d55e00"  # told apart by every eye (Okabe and Ito)
_COLOURS = (_OURS, _THEIRS, "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


def bars(comparisons, label):
    """Reported and our means as pairs of bars with their deviations.

    Args:
        comparisons: `Comparison`s of one metric.
        label: of the metric, on the axis.
    """
    shown = [c for c in comparisons if c.values]
    figure = Figure(figsize=(8, 1.2 + 0.34 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(shown))[::-1]
    for shift, colour, name, pick in (
        (0.19, _THEIRS, "reported", _reported),
        (-0.19, _OURS, "kpairs", _mine),
    ):
        means, stds = _numbers(shown, pick)
        axes.barh(places + shift, means, 0.36, xerr=stds, color=colour, label=name, capsize=2)
    names = [f"{c.reported.arch} {c.reported.setting}".strip() for c in shown]
    axes.set_yticks(places, names)
    axes.set_xlabel(label)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _reported(comparison):
    return comparison.reported.mean, comparison.reported.std


def _mine(comparison):
    return comparison.mean, comparison.std


def _numbers(comparisons, pick):
    pairs = [pick(c) for c in comparisons]
    return [mean for mean, _ in pairs], [std or 0 for _, std in pairs]


def curves(rows, panels, metric, label):
    """Mean over rounds per epoch, with the deviation shaded.

    Args:
        rows: of a study's curves.
        panels: title of each panel to the names of its settings.
        metric: column of the rows.
        label: of the metric, on the axis.
    """
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, names) in zip(all_axes, panels.items(), strict=True):
        for colour, name in zip(_COLOURS, names, strict=False):
            _band(axes, [r for r in rows if name_of(r) == name], metric, name, colour)
        axes.set(title=title, xlabel="epoch")
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].set_ylabel(label)
    return figure


def losses(rows, name):
    """Comparison and digit loss per epoch, training and test, of one setting."""
    rows = [r for r in rows if name_of(r) == name]
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    all_axes = figure.subplots(1, 2)
    for axes, kind in zip(all_axes, ("comparison", "digit"), strict=True):
        for colour, split in zip(_COLOURS, ("train", "test"), strict=False):
            _band(axes, rows, f"{split}_{kind}_loss", split, colour)
        axes.set(title=f"{kind} loss", xlabel="epoch", ylim=(0, None))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _band(axes, rows, metric, name, colour):
    epochs = defaultdict(list)
    for row in rows:
        epochs[row["epoch"]].append(row[metric])
    if not epochs:
        return
    numbers = sorted(epochs)
    means = np.array([statistics.fmean(epochs[n]) for n in numbers])
    stds = np.array([np.std(epochs[n], ddof=1) if len(epochs[n]) > 1 else 0 for n in numbers])
    axes.plot(numbers, means, color=colour, label=f"{name} ({len(epochs[numbers[0]])})")
    axes.fill_between(numbers, means - stds, means + stds, color=colour, alpha=0.2, lw=0)


def scan(rows, values, label, axis, logarithmic=False):
    """Test error over a number that is scanned.

    Args:
        rows: of a study.
        values: name of a setting to its number.
        label: of the number, on the horizontal axis.
        axis: label of the vertical axis.
        logarithmic: the horizontal axis.
    """
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    errors = defaultdict(list)
    for row in rows:
        if name_of(row) in values:
            errors[values[name_of(row)]].append(row["test_error_pct"])
    numbers = sorted(errors)
    means = [statistics.fmean(errors[n]) for n in numbers]
    stds = [statistics.stdev(errors[n]) if len(errors[n]) > 1 else 0 for n in numbers]
    axes.errorbar(numbers, means, stds, color=_OURS, marker="o", capsize=3)
    axes.set(xlabel=label, ylabel=axis, xscale="log" if logarithmic else "linear")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def configurations(comparisons):
    """Accuracy of every configuration, in the reported order of merit.

    Args:
        comparisons: of one metric, an accuracy in percent.
    """
    shown = [c for c in comparisons if c.values]
    archs = list(dict.fromkeys(c.reported.arch for c in shown))
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    panels = figure.subplots(2, 2, sharey=True).ravel()
    for axes, arch in zip(panels, archs, strict=False):
        mine = sorted((c for c in shown if c.reported.arch == arch), key=lambda c: c.reported.mean)
        places = np.arange(len(mine))
        for shift, colour, name, means, stds in (
            (
                -0.15,
                _THEIRS,
                "reported",
                *_numbers(mine, lambda c: (c.reported.mean, c.reported.std)),
            ),
            (0.15, _OURS, "kpairs", *_numbers(mine, lambda c: (c.mean, c.std))),
        ):
            axes.errorbar(
                places + shift, means, stds, fmt="o", ms=3, lw=1, color=colour, label=name
            )
        axes.set_xticks(
            places, [c.reported.setting.split()[-1] for c in mine], rotation=90, fontsize=6
        )
        axes.set_title(arch)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    figure.supylabel("best accuracy on the test pairs (%)")
    return figure


def by_parameters(points):
    """Mean accuracy of every configuration against its parameters.

    Args:
        points: `(parameters, accuracy)` by architecture.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for colour, (arch, values) in zip(_COLOURS, points.items(), strict=False):
        axes.scatter(*zip(*values, strict=True), s=18, color=colour, label=arch)
    axes.set(xlabel="trainable parameters", ylabel="best accuracy on the test pairs (%)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def against_parameters(points):
    """Test error against parameters, every architecture of every report.

    Args:
        points: `(architecture, parameters, error)` by report.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for colour, (group, values) in zip(_COLOURS, points.items(), strict=False):
        axes.scatter(
            [p for _, p, _ in values], [e for *_, e in values], s=22, color=colour, label=group
        )
        for name, count, error in values:
            axes.annotate(
                name, (count, error), fontsize=6, xytext=(3, 3), textcoords="offset points"
            )
    axes.set(xscale="log", xlabel="trainable parameters", ylabel="test error (%)", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def effect_bars(effects):
    """Differences of test error with their intervals, by ingredient; the widest are cut off."""
    rows = [(name, e) for name, group in effects.items() for e in group]
    figure = Figure(figsize=(8.4, 1 + 0.26 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    colours = dict(zip(effects, _COLOURS, strict=False))
    for place, (name, e) in enumerate(reversed(rows)):
        axes.plot([e.low, e.high], [place, place], color=colours[name], lw=2)
        axes.plot(e.difference, place, "o", color=colours[name], ms=4)
    labels = [f"{e.without}  →  {e.with_}" for _, e in reversed(rows)]
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.axvline(0, color="0.4", lw=0.8)
    reach = 1.3 * max(abs(e.difference) for _, e in rows)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("test error with minus without, points (95 % interval)")
    for name, colour in colours.items():
        axes.plot([], [], color=colour, lw=2, label=name)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
