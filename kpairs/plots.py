"""Every picture that kpairs draws, with matplotlib and no display."""

import io
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from kpairs.data.pairs import PairSet
from kpairs.errors import UsageError
from kpairs.files import atomic_path, write_text

# Okabe and Ito's colours, told apart by every eye: in this order where curves share a picture.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#f0e442")
BLUE, VERMILION, GREEN, _, SKY, ORANGE, BLACK, _ = PALETTE
OURS, REPORTED = BLUE, VERMILION
FORMATS = (".png", ".pdf", ".svg")
Histories = Sequence[Sequence[Mapping[str, float]]]  # by round, then by epoch
_COLUMNS, _MOST_DRAWN = 8, 32  # of a sheet of pairs
_NAMED = 50  # images that are named in a picture of scores
# Of a picture that stands alone; pages that take it in leave it out.
_ALONE = (
    "<style>@media (prefers-color-scheme: dark) "
    "{ :root { --ink: #d8dee6; --curve-0: #56b4e9; --curve-1: #f08b3e } }</style>"
)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure atomically, in the format of the path's suffix; see `check_picture_name`."""
    suffix = check_picture_name(path)
    undated = {"Date": None} if suffix == ".svg" else None  # the same bytes for the same figure
    with (
        atomic_path(path) as temporary,
        matplotlib.rc_context({"svg.hashsalt": "kpairs", "svg.fonttype": "none"}),  # text is text
    ):
        figure.savefig(temporary, dpi=120, format=suffix[1:], metadata=undated)


def svg(figure: Figure) -> str:
    """Return a figure as SVG: equal bytes for equal data, in the page's colours.

    Text and lines have the variable `--ink`, curves the palette's `--curve-0` and so on. A page
    sets them (tables.css); alone, the picture looks at the reader's colour scheme itself.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "kpairs", "svg.fonttype": "none"}):
        nothing = {"Date": None, "Creator": None}
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())
    for number, colour in enumerate(PALETTE):
        name = "--ink" if colour == BLACK else f"--curve-{number}"
        text = re.sub(rf"(stroke|fill): {colour}", rf"\1: var({name}, {colour})", text)
    text = re.sub(r'<text style="', '<text style="fill: var(--ink, #000); ', text)
    return text.replace("<defs>", f"{_ALONE}\n <defs>", 1)


def save_inked(figure: Figure, path: str | Path) -> None:
    """Write a figure as `save_figure` does, but SVG as `svg` gives it: without paper."""
    if check_picture_name(path) == ".svg":
        write_text(path, svg(figure))
    else:
        save_figure(figure, path)


def check_picture_name(path: str | Path) -> str:
    """Return the suffix of a picture's file name; refuse another than .png, .pdf or .svg."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"{path}: expected a picture's name that ends in {', '.join(FORMATS)}")
    return suffix


def draw_pair_sheet(pairs: PairSet, classes: Sequence[str], path: str | Path, title: str) -> None:
    """Draw the first pairs side by side with their classes and the target of `comparison`."""
    count = min(_MOST_DRAWN, len(pairs))
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    height, width = pairs.left.shape[1:3]
    tall = 1.6 * height / (2 * width + 1) + 0.3  # inches, with the line above
    figure = _titled(title, 1.6 * columns, tall * rows + 0.5)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    sides = pairs.take(slice(0, count)).inputs()
    no_higher = "≤" if pairs.probability is None else "<"  # people's ties are shown as such
    for i, axis in enumerate(axes[:count]):
        lefts, rights = sides["left"][i], sides["right"][i]
        both = np.hstack([lefts, np.ones_like(lefts[:, :1]), rights])
        axis.imshow(both, cmap="gray", vmin=0, vmax=1)  # colours have no map
        digits = {"left": pairs.left_digit[i], "right": pairs.right_digit[i]}
        left, right = (side if digit < 0 else classes[digit] for side, digit in digits.items())
        holds = pairs.comparison[i]  # 1/2 of a tie that people judged
        relation, color = (no_higher, GREEN) if holds > 0.5 else (">", VERMILION)
        relation, color = ("=", BLACK) if holds == 0.5 else (relation, color)
        axis.set_title(f"{left} {relation} {right}", fontsize=11, color=color, parse_math=False)
    save_figure(figure, path)


def draw_curves(histories: Histories, path: str | Path, title: str) -> None:
    """Draw losses per output and the comparison error per epoch: mean over rounds, shaded std."""
    rounds = len(histories)
    figure = _titled(title if rounds == 1 else f"{title}, mean ± std of {rounds} rounds", 11, 4)
    loss_axis, error_axis = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in max(histories, key=len)]
    names = [n.removeprefix("train_") for n in histories[0][0] if n.startswith("train_")]
    outputs = [n.removesuffix("_accuracy") for n in names if n.endswith("_accuracy")]
    several = any(n.endswith("_loss") for n in names)
    for number, output in enumerate(outputs):
        for split, style in (("train", "-"), ("test", "--")):
            look = f"{split} {output.replace('_', ' ')}", colour(number), style
            loss = f"{split}_{output}_loss" if several else f"{split}_loss"
            _band(loss_axis, epochs, _stack(histories, loss), *look)
            error = 100 * (1 - _stack(histories, f"{split}_{output}_accuracy"))
            _band(error_axis, epochs, error, *look)
    figure.supxlabel("train: running means in training mode; test: at the epoch's end", fontsize=8)
    loss_axis.set(xlabel="epoch", ylabel="loss", yscale="log")
    loss_axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss_axis.yaxis.set_major_formatter("{x:g}")
    loss_axis.yaxis.set_minor_formatter(NullFormatter())
    error_axis.set(xlabel="epoch", ylabel="error (%)", ylim=(0, None))
    for axis in (loss_axis, error_axis):
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
        tidy(axis)
    handles = error_axis.get_legend_handles_labels()
    figure.legend(*handles, loc="outside right upper", frameon=False, fontsize=8)
    save_figure(figure, path)


def draw_reliability(
    rounds: Sequence[Sequence[dict[str, float]]], path: str | Path, title: str
) -> None:
    """Draw how often left ranks no higher over the predicted probability, of each round."""
    figure = _titled(title, 5, 5)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="as often as predicted")
    most = max(b["pairs"] for bins in rounds for b in bins)
    for number, bins in enumerate(rounds):
        x, y = ([b[name] for b in bins] for name in ("predicted", "judged"))
        label = None if number else "a round; areas: numbers of pairs"
        axes.plot(x, y, color=OURS, alpha=0.6, linewidth=1, label=label)
        areas = [120 * b["pairs"] / most for b in bins]
        axes.scatter(x, y, areas, color=OURS, alpha=0.6, clip_on=False)
    axes.set(xlabel="predicted P(left ≤ right)", ylabel="share of pairs with left ≤ right")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.legend(frameon=False, fontsize=8)
    tidy(axes)
    save_figure(figure, path)


def draw_confusion(
    counts: Sequence[Sequence[int]], classes: Sequence[str], path: str | Path, title: str
) -> None:
    """Draw which classes images of each true class were taken for, in percent."""
    table = np.array(counts)
    share = 100 * table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.5 * len(classes)
    figure = _titled(title, side, side)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(share):
        color = "white" if value > 50 else "black"
        if table[row, column]:
            text = f"{value:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    numbers = range(len(classes))
    upright = max(map(len, classes)) > 3  # else neighbours would touch
    axes.set_xticks(numbers, classes, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(numbers, classes, parse_math=False)
    axes.set(xlabel="decided (percent of the row)", ylabel="true")
    save_figure(figure, path)


def draw_intervals(rows: Sequence[Mapping[str, Any]], path: str | Path, title: str) -> None:
    """Draw images' scores with their intervals, the highest first; few images with their names."""
    named = len(rows) <= _NAMED
    figure = _titled(title, 7, 1.2 + 0.22 * len(rows) if named else 7)
    axes = figure.subplots()
    place = np.arange(1, len(rows) + 1)
    low, score, high = (np.array([row[name] for row in rows]) for name in ("low", "score", "high"))
    axes.hlines(place, low, high, color=OURS, alpha=0.4, linewidth=2 if named else 0.6)
    axes.plot(score, place, ".", color=OURS, markersize=6 if named else 2)
    axes.set(xlabel="score and 95 % interval", ylim=(len(rows) + 0.5, 0.5))
    if named:
        axes.set_yticks(place, [Path(row["file"]).name for row in rows], parse_math=False)
    else:
        axes.set_ylabel("images, the highest first")
    axes.grid(axis="x", alpha=0.3)
    tidy(axes)
    save_figure(figure, path)


def draw_inference(result: Mapping[str, Any], path: str | Path) -> None:
    """Draw latency and throughput over the batch size, as `bench_inference` measured them."""
    rows = result["rows"]
    peaks = {peak["threads"]: peak["gflops"] for peak in result["peaks"]}
    flops = {model["model"]: model["flops_per_pair"] for model in result["models"]}
    places = list(dict.fromkeys((row["model"], row["threads"]) for row in rows))
    figure = Figure(figsize=(12, 0.6 + 4.4 * len(places)), layout="constrained")
    axes = figure.subplots(len(places), 2, squeeze=False)
    runners = list(dict.fromkeys(row["runner"] for row in rows))
    for (latency, throughput), (model, threads) in zip(axes, places, strict=True):
        for number, runner in enumerate(runners):
            place = model, threads, runner
            here = [r for r in rows if (r["model"], r["threads"], r["runner"]) == place]
            batches = [row["batch"] for row in here]
            style = {"color": colour(number), "marker": ".", "label": runner}
            latency.plot(batches, [row["p50_us"] for row in here], **style)
            throughput.plot(batches, [row["pairs_per_s"] for row in here], **style)
        limit = 1e9 * peaks[threads] / flops[model]
        throughput.axhline(limit, color="0.5", linestyle="--", label="matrix product's speed")
        title = f"{model}, {threads} thread{'s' * (threads > 1)}"
        latency.set(title=title, ylabel="microseconds per call (median)")
        throughput.set(title=title, ylabel="pairs per second")
        for axis in (latency, throughput):
            axis.set(xlabel="batch", yscale="log")
            axis.set_xscale("log", base=2)
            axis.set_xticks(batches, batches)
            axis.grid(alpha=0.3)
        throughput.legend(fontsize=8)
    save_figure(figure, path)


def _titled(title: str, width: float, height: float) -> Figure:
    """Return a figure, so many inches large, whose title is shown as it is."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, parse_math=False)
    return figure


def colour(number: int) -> str:
    """Return the colour of a picture's curve, counted from 0."""
    return PALETTE[number % len(PALETTE)]


def tidy(axes: Axes) -> None:
    """Draw no lines above and to the right of the axes."""
    axes.spines[["top", "right"]].set_visible(False)


def _stack(histories: Histories, column: str) -> NDArray[np.float64]:
    """Return (rounds, epochs) values of one history column; NaN after a round has stopped."""
    columns = ([row[column] for row in history] for history in histories)
    return np.array(list(zip_longest(*columns, fillvalue=np.nan))).T


def band(
    axes: Axes, x: Any, mean: Any, spread: Any, label: str, colour: str, style: str = "-"
) -> None:
    """Draw a curve, and what lies within its spread to each side in a lighter colour."""
    marker = "." if len(mean) == 1 else None
    axes.plot(x, mean, style, color=colour, label=label, marker=marker)
    axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)


def _band(
    axes: Axes,
    epochs: Sequence[float],
    values: NDArray[np.float64],
    label: str,
    colour: str,
    style: str,
) -> None:
    """Return mean and deviation over rounds of the epochs at which all were evaluated."""
    evaluated = ~np.isnan(values).any(axis=0)
    shown, values = np.array(epochs)[evaluated], values[:, evaluated]
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else 0
    band(axes, shown, values.mean(axis=0), spread, label, colour, style)
