"""The page of the mini framework, from the rows of its trainings."""

import math
import statistics
from collections import Counter

import numpy as np
from scipy import stats

from kpairs.reports import REPORTS
from kpairs.reports.chassagne.disc import figures
from kpairs.reports.chassagne.disc.text import COLLAPSES, INTRODUCTION
from kpairs.reports.chassagne.disc.trainings import (
    CURVES,
    DIGITS,
    DISC,
    DRAWS,
    GRID,
    POINTS,
    SHOWN,
    rows_of,
)
from kpairs.reports.reported import reported
from kpairs.studies.rows import compared, difference_interval
from kpairs.studies.writer import RULE, number, table

_TESTED = 1000


def compare_mini(folder):
    """Every number that the report states of its framework beside our rows in a folder."""
    return compare_rows(rows_of(folder, DISC))


def compare_rows(rows):
    """The same for rows of the disc study: `Comparison`s in the report's order.

    The report's single training, at eta 0.1, stands beside ours with tanh at 0.1.
    """
    comparisons = []
    for stated in reported("chassagne"):
        if stated.table.startswith("framework"):
            activation = stated.table.split()[-1].replace("run", "tanh")
            key = activation, float(_rate(stated))
            mine = [r for r in rows if (r["activation"], r["learning_rate"]) == key]
            comparisons.append(compared(stated, tuple(r[stated.metric] for r in mine)))
    return comparisons


def framework_table(comparisons):
    """The framework's numbers as a Markdown table."""
    body = []
    for c in comparisons:
        stated = c.reported
        body.append(
            [
                f"{stated.table.removeprefix('framework ')}, {stated.setting}",
                stated.metric.removesuffix("_pct").replace("_", " ") + " (%)",
                number(stated.mean, stated.std, stated.rounds, 2),
                number(c.mean, c.std, len(c.values), 2) if c.values else "",
                "" if c.low is None else f"{c.low:+.2f} to {c.high:+.2f}",
                c.verdict,
                stated.note,
            ]
        )
    head = ["place", "number", "reported", "kpairs", "difference", "verdict", "note"]
    return table(head, body)


def mini_page(folder):
    """The page's Markdown, and its figures by key."""
    rows = rows_of(folder, DISC)
    comparisons = compare_rows(rows)
    drawn = {}
    report = REPORTS["chassagne"]
    parts = [
        "# A deep-learning framework from nothing but tensors\n",
        f"*Part 2 of [report {report.number}](002-chassagne.md): {report.authors} "
        f"({report.year})*\n",
        INTRODUCTION,
        _trainings(rows),
    ]
    if rows:
        parts += [f"{_counted(comparisons)} {RULE}\n", *_bars(comparisons, drawn)]
    parts.append(framework_table(comparisons))
    parts += _single_trainings(folder, drawn)
    parts += _judgement(comparisons, rows, rows_of(folder, DRAWS))
    parts += _digits(folder)
    return "\n".join(parts), drawn


def _link(key):
    return f"![{key.replace('-', ' ')}]({{{key}}})\n"


def _trainings(rows):
    if not rows:
        return "No training has been run yet.\n"
    machines = sorted({f"{r['backend']}, {r['hardware']}" for r in rows})
    return (
        f"{len(rows)} trainings ({'; '.join(machines)}), seed 0: round r draws its points and "
        "first weights from (0, r). Errors are those after the last epoch.\n"
    )


def _counted(comparisons):
    counts = Counter(c.verdict for c in comparisons)
    judged = counts["agrees"] + counts["differs"]
    return f"**{counts['agrees']} of {judged} reported means agree.**"


def _bars(comparisons, drawn):
    for activation in ("tanh", "relu"):
        place = f"framework figure {activation}"
        chosen = [c for c in comparisons if c.reported.table == place and c.values]
        if chosen:
            key = f"learning-rates-{activation}"
            drawn[key] = figures.rate_bars(chosen, f"{activation}, mean ± deviation")
            yield _link(key)


def _single_trainings(folder, drawn):
    curves, points, grid = (rows_of(folder, name) for name in (CURVES, POINTS, GRID))
    if not (curves and points and grid):
        return []
    places, classes, called = (
        np.array([[r[k] for k in keys] for r in points]).squeeze()
        for keys in (("x", "y"), ("inside",), ("tanh",))
    )
    drawn["predictions"] = figures.predictions(places, classes, called)
    history = [r for r in curves if r["activation"] == "tanh"]
    drawn["epochs"] = figures.errors_and_loss(history)
    side = math.isqrt(len(grid))
    x, y, *margins = (np.array([r[k] for r in grid]).reshape(side, side) for k in grid[0])
    names = [f"{activation}, {rate:g}" for activation, rate in SHOWN.items()]
    drawn["boundaries"] = figures.boundaries(x, y, dict(zip(names, margins, strict=True)))
    last = history[-1]
    return [
        "### One training\n",
        f"Round 1 with tanh at learning rate {SHOWN['tanh']:g} ends with "
        f"{last['train_error_pct']:.2f} % of the training points wrong and "
        f"{last['test_error_pct']:.2f} % of the test points (the report's run: 1.90 and 3.10 %). "
        f"The loss, summed over the batches, falls from {history[0]['train_loss']:.1f} to "
        f"{last['train_loss']:.2f} (the report's from 6.4 to about 0.9).\n",
        _link("predictions"),
        _link("epochs"),
        "Tanh bends smoothly and draws a round boundary, ReLU is linear in pieces and draws a "
        "polygon:\n",
        _link("boundaries"),
    ]


def _judgement(comparisons, rows, draws):
    if not rows:
        return []
    return ["### Why the numbers differ\n", *_points_drawn_once(comparisons, draws), *_dead(rows)]


def _points_drawn_once(comparisons, draws):
    """The reported deviations against those that test points alone bring."""
    yield (
        "**With tanh.** The report does not say whether its 50 runs share their points, and the "
        "code published with it trains once. Its deviations tell. (The text gives 0.1 the least of "
        "them, the figure 0.05.) Where each run is tested on "
        f"{_TESTED:,} new points, their luck alone gives the errors a binomial deviation, "
        "whatever the network. The last column is how often 50 runs would then deviate as little "
        "as reported, or less:\n"
    )
    tanh = [c.reported for c in comparisons if c.reported.table == "framework figure tanh"]
    body = []
    for stated in tanh:
        p = stated.mean / 100
        least = 100 * math.sqrt(p * (1 - p) / _TESTED)
        freedom = stated.rounds - 1
        chance = stats.chi2.cdf(freedom * (stated.std / least) ** 2, freedom)
        body.append([_rate(stated), f"{least:.2f}", f"{stated.std:.2f}", f"{chance:.2g}"])
    yield table(["learning rate", "binomial deviation", "reported deviation", "chance"], body)
    yield (
        "At 0.05 that is out of the question. So the reported runs shared one draw of points, and "
        "the reported means are those of that draw; ours draw points anew for each run.\n"
    )
    groups = {}
    for row in draws:
        key = row["learning_rate"], row["points"]
        groups.setdefault(key, []).append(row["test_error_pct"])
    body = []
    for stated in tanh:
        errors = [v for (rate, _), v in groups.items() if rate == float(_rate(stated))]
        if len(errors) > 1 and min(map(len, errors)) > 1:
            means, stds = map(statistics.fmean, errors), map(statistics.stdev, errors)
            pairs = (sorted(means), stated.mean), (sorted(stds), stated.std)
            cells = [c for v, own in pairs for c in (f"{v[0]:.2f} to {v[-1]:.2f}", f"{own:.2f}")]
            body.append([_rate(stated), *cells])
    if body:
        count = len({row["points"] for row in draws})
        yield (
            f"We drew points {count} times and trained {len(draws) // len(groups)} networks on "
            "each draw (`kpairs mini study --shared-points`). The draw alone moves the mean "
            "by several percent, and the reported numbers are such as some draw gives:\n"
        )
        head = ["learning rate", "means of the draws", "reported mean"]
        yield table([*head, "deviations within a draw", "reported deviation"], body)


def _rate(stated):
    return stated.setting.split()[0].removeprefix("eta=")


def _dead(rows):
    """ReLU's errors by how many outputs are dead."""
    rates = sorted({r["learning_rate"] for r in rows})
    body = []
    for rate in rates:
        cells = [f"{rate:g}"]
        for dead in (0, 1, 2):
            errors = [
                r["test_error_pct"]
                for r in rows
                if (r["activation"], r["learning_rate"], r["dead_outputs"]) == ("relu", rate, dead)
            ]
            shown = f"{len(errors)}: {statistics.fmean(errors):.1f} %" if errors else "0"
            cells.append(shown)
        body.append(cells)
    yield (
        "**With ReLU** the intervals are wide, because a few trainings fail altogether. ReLU "
        "passes no gradient where it is 0. A unit that is 0 for every point therefore never "
        "changes again: it is dead. ReLU stands after the last layer too, so an output can die, "
        "or a whole layer before it. Our trainings by how many outputs are the same for every "
        "test point, with their mean error:\n"
    )
    yield table(["learning rate", "none", "one", "both"], body)
    yield COLLAPSES


def _digits(folder):
    rows = rows_of(folder, DIGITS)
    theirs = rows_of(folder, "haidinger-plain")
    yield "## Real digits\n"
    yield (
        "`simple` of [report 001](001-haidinger.md), two convolutions and three linear layers with "
        "58,380 parameters, trained by this framework on 1,000 pairs of MNIST digits without "
        "augmentation (`kpairs mini digits`): the recipe, the pairs and their order are those of "
        "`kpairs train --arch simple --no-augment`, which Keras computes. Only the first "
        "weights and the dropout are other draws. A test copies weights from one to the other: "
        "outputs, loss and gradients are the same.\n"
    )
    if not rows:
        yield "No training has been run yet.\n"
        return
    body = []
    for row in rows:
        keras = [
            r["test_error_pct"]
            for r in theirs
            if (r["arch"], r["round"], r["epochs"]) == ("simple", row["round"], row["epochs"])
        ]
        cells = [row["round"], row["epochs"], f"{row['train_error_pct']:.2f}"]
        cells += [f"{row['test_error_pct']:.2f}", *(f"{e:.2f}" for e in keras or [math.nan])]
        body.append([*cells, f"{row['seconds']:.0f}"])
    head = ["round", "epochs", "training error (%)", "test error (%)", "Keras' test error (%)"]
    yield table([*head, "seconds"], body)
    samples = [[float(cells[k]) for cells in body] for k in (3, 4)]
    if len(body) > 1 and not any(map(math.isnan, samples[1])):
        low, high = difference_interval(
            *(f(v) for v in samples for f in (statistics.fmean, statistics.stdev, len))
        )
        means = [statistics.fmean(v) for v in samples]
        yield (
            f"The mean is {means[0]:.2f} %, Keras' {means[1]:.2f} %; the difference lies between "
            f"{low:+.2f} and {high:+.2f} (95 %, Welch).\n"
        )
