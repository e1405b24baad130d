"""The page of the mini framework, from the rows of its trainings."""

import math
import statistics
from collections import Counter

import numpy as np

from kpairs.mini import figures
from kpairs.reports import REPORTS
from kpairs.results import reported
from kpairs.studies.mini import CURVES, DIGITS, DISC, DRAWS, GRID, POINTS, SHOWN, rows_of
from kpairs.studies.mini_text import COLLAPSES, INTRODUCTION
from kpairs.studies.results import compared
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
            key = activation, float(stated.setting.split()[0].removeprefix("eta="))
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
    tanh = [c.reported for c in comparisons if c.reported.table == "framework figure tanh"]
    body = []
    for stated in tanh:
        p = stated.mean / 100
        least = 100 * math.sqrt(p * (1 - p) / _TESTED)
        cells = [stated.setting.removeprefix("eta="), f"{least:.2f}", f"{stated.std:.2f}"]
        mine = [r for r in draws if r["learning_rate"] == float(cells[0])]
        groups = {}
        for row in mine:
            groups.setdefault(row["points"], []).append(row["test_error_pct"])
        groups = [v for v in groups.values() if len(v) > 1]
        if groups:
            within = math.sqrt(statistics.fmean(statistics.variance(v) for v in groups))
            means = [statistics.fmean(v) for v in groups]
            reached = f"{min(means):.2f} to {max(means):.2f}"
            cells += [f"{within:.2f}", reached, f"{stated.mean:.2f}"]
        body.append(cells)
    yield (
        "**With tanh.** The report does not say whether its 50 runs share their points, and its "
        "published code trains only once. Its deviations tell. A test of 1,000 new points counts "
        "errors with a binomial deviation, whatever the network; three of the four reported "
        "deviations are at or below it, which leaves nothing for the training. So its runs very "
        "likely shared one draw of points, and its means are those of that draw. Ours draw points "
        "anew for each run.\n"
    )
    head = ["learning rate", "binomial deviation", "reported deviation"]
    if len(body[0]) > len(head):
        count = len({r["points"] for r in draws})
        each = len(draws) // (count * len(tanh))
        yield (
            f"That can be tried: {count} draws of points, {each} networks on each "
            "(`kpairs mini study --shared-points`). The deviation within a draw is what a report "
            "with one draw would state, and the mean of a draw is what it would report.\n"
        )
        head += ["deviation within a draw", "means of the draws", "reported mean"]
    yield table(head, body)


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
        "**With ReLU** in the last layer too, an output that is 0 for every point passes no "
        "gradient back: it is dead, and stays so. With one dead output the other decides alone; "
        "with two the network gives one answer, and half of the points are wrong. Trainings and "
        "their mean error by dead outputs:\n"
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
        "`kpairs train --arch simple --no-augment`, which Keras computes. The first weights and "
        "the dropout are other draws, and biases begin at 0 here. A test copies weights from one "
        "to the other: outputs and gradients are the same.\n"
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
