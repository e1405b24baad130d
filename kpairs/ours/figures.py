"""Pictures of the page of our own architecture."""

import statistics

from matplotlib.figure import Figure

from kpairs.ours.mistakes import to_image


def difference_bars(bars):
    """Differences with their intervals: `(name, mean, low, high)` from top to bottom."""
    figure = Figure(figsize=(7, 1 + 0.32 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, mean, low, high) in enumerate(reversed(bars)):
        axes.plot([low, high], [place, place], color="#0072b2", lw=2)
        axes.plot(mean, place, "o", color="#0072b2", ms=5)
    axes.set_yticks(range(len(bars)), [name for name, *_ in reversed(bars)])
    axes.axvline(0, color="0.4", lw=0.8)
    axes.set_xlabel("test error minus that of the whole recipe, points (95 % interval)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def scaling_lines(found):
    """Test errors over the number of training pairs: `{architecture: {pairs: errors}}`."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for colour, (arch, errors) in zip(
        ("#0072b2", "#d55e00", "#009e73"), found.items(), strict=False
    ):
        counts = sorted(errors)
        means = [statistics.fmean(errors[n]) for n in counts]
        spreads = [statistics.stdev(errors[n]) if len(errors[n]) > 1 else 0 for n in counts]
        axes.errorbar(counts, means, spreads, color=colour, marker="o", capsize=3, label=arch)
    axes.set(xscale="log", yscale="log", xlabel="training pairs", ylabel="test error (%)")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def wrong_sheet(rows):
    """Pairs of images with their true and seen digits, from rows of wrong pairs."""
    columns = 6
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(1.7 * columns, 1.45 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, row in zip(axes, rows, strict=False):
        for start, side in ((0, "left"), (15, "right")):
            extent = (start, start + 14, 14, 0)
            axis.imshow(to_image(row[side]), cmap="gray", vmin=0, vmax=1, extent=extent)
        axis.set(xlim=(0, 29), ylim=(14, 0))
        true = f"{row['left_digit']}, {row['right_digit']}"
        seen = f"{row['left_seen']}, {row['right_seen']}"
        axis.set_title(f"{true}\nseen {seen}  P {row['probability']:.2f}", fontsize=8)
    return figure
