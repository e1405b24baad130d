"""Pictures of the page of our own architecture. Each function returns a matplotlib figure."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kpairs.plots import OURS, PALETTE, tidy
from kpairs.studies.mistakes import to_image


def difference_dots(frame: pd.DataFrame, label: str) -> Figure:
    """Draw differences with their intervals, from top to bottom.

    Args:
        frame: with columns name, mean, low and high.
        label: of the horizontal axis.
    """
    figure = Figure(figsize=(7, 1 + 0.32 * len(frame)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(frame))[::-1]
    ends = [frame["mean"] - frame["low"], frame["high"] - frame["mean"]]
    axes.errorbar(frame["mean"], places, xerr=ends, fmt="o", ms=5, elinewidth=2, color=OURS)
    axes.set_yticks(places, frame["name"])
    axes.axvline(0, color="0.4", lw=0.8)
    axes.set_xlabel(label)
    tidy(axes)
    return figure


def scaling_lines(rows: pd.DataFrame) -> Figure:
    """Test errors over the number of training pairs.

    Args:
        rows: arch, pairs, and mean and std of the test error in percent.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for colour, (arch, mine) in zip(PALETTE, rows.groupby("arch", sort=False), strict=False):
        spread = mine["std"].fillna(0)
        axes.errorbar(
            mine["pairs"], mine["mean"], spread, color=colour, fmt="o-", capsize=3, label=arch
        )
    axes.set(xscale="log", yscale="log", xlabel="training pairs", ylabel="test error (%)")
    counts = sorted(rows["pairs"].unique())
    axes.set_xticks(counts, [f"{n:,}" for n in counts])
    errors = [0.5, 1, 2, 5, 10, 20]
    axes.set_yticks(errors, [f"{error:g}" for error in errors])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    tidy(axes)
    return figure


def time_lines(rows: pd.DataFrame) -> Figure:
    """Draw errors of all pairs over the time of a training, every round a dot.

    Args:
        rows: arch, epochs, seconds, mean and errors (a list of each round's) in percent.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for place, (arch, mine) in enumerate(rows.groupby("arch", sort=False)):
        colour, offset = PALETTE[place], 10 if place % 2 else -14
        mine = mine.sort_values("epochs")
        axes.plot(mine["seconds"], mine["mean"], color=colour, marker="o", label=arch)
        dots = mine[["seconds", "errors"]].explode("errors")
        axes.plot(dots["seconds"], dots["errors"], ".", color=colour, alpha=0.4)
        for row in mine.itertuples():
            axes.annotate(
                str(row.epochs),
                (row.seconds, row.mean),
                (offset, offset),
                textcoords="offset points",
                color=colour,
                fontsize=8,
            )
    label = "seconds a round, one core"
    axes.set(xscale="log", xlabel=label, ylabel="error of all pairs (%)", ylim=(0, None))
    ticks = [5, 10, 20, 30, 60, 120, 300, 600]
    axes.set_xlim(rows["seconds"].min() / 1.2, 1.6 * rows["seconds"].max())
    least, most = axes.get_xlim()
    shown = [tick for tick in ticks if least <= tick <= most]
    axes.set_xticks(shown, [str(tick) for tick in shown])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    tidy(axes)
    return figure


def wrong_sheet(rows: pd.DataFrame) -> Figure:
    """Draw pairs of images with their true and seen digits, from rows of wrong pairs."""
    columns = 4
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(1.75 * columns, 1.45 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, row in zip(panels, rows.itertuples(), strict=False):
        for start, side in ((0, "left"), (15, "right")):
            extent = (start, start + 14, 14, 0)
            axes.imshow(to_image(getattr(row, side)), cmap="gray", vmin=0, vmax=1, extent=extent)
        axes.set(xlim=(0, 29), ylim=(14, 0))
        right, wrong = ("≤", ">") if row.left_digit <= row.right_digit else (">", "≤")
        true = f"true {row.left_digit} {right} {row.right_digit}"
        seen = f"seen {row.left_seen} {wrong} {row.right_seen} ({row.probability:.0%})"
        axes.set_title(f"{true}\n{seen}", fontsize=8)
    return figure
