"""Pictures of the page of our own architecture. Each function returns a matplotlib figure."""

import pandas as pd
from matplotlib.figure import Figure

from kpairs.plots import PALETTE, tidy
from kpairs.studies.figures import figure_of
from kpairs.studies.mistakes import to_image


def scaling_lines(rows: pd.DataFrame) -> Figure:
    """Draw test errors over the number of training pairs, from their mean and std in percent."""
    figure, axes = figure_of(3.8)
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


def wrong_sheet(rows: pd.DataFrame) -> Figure:
    """Draw pairs of images with their true and seen digits, from rows of wrong pairs."""
    columns = 3
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(5.2, 1.25 * lines), layout="constrained")
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
        axes.set_title(f"{true}\n{seen}", fontsize=9)
    return figure
