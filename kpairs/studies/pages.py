"""A page per report, one across them, one of our own: Markdown and self-contained HTML."""

import statistics
from collections import Counter
from pathlib import Path

from kpairs.models.registry import trainable_parameters
from kpairs.networks import ARCHS, build
from kpairs.ours.page import posterior_page
from kpairs.reports import RECIPES, REPORTS
from kpairs.reports.altunina.studies import count_parameters
from kpairs.reports.chassagne.disc.page import compare_mini, framework_table, mini_page
from kpairs.reports.chassagne.disc.trainings import DISC, rows_of
from kpairs.reports.reported import reported
from kpairs.studies import figures
from kpairs.studies.catalogue import STUDIES
from kpairs.studies.effects import NOTES, effects_of
from kpairs.studies.rows import compare, name_of, read_csv
from kpairs.studies.writer import RULE, number, table, write_page

_NAMES = {
    "test_error_pct": "test error (%)",
    "test_accuracy_pct": "test accuracy (%)",
    "train_accuracy_pct": "training accuracy (%)",
    "validation_accuracy": "validation accuracy",
    "best_epoch_train_accuracy_pct": "training accuracy of the best epoch (%)",
    "best_epoch_val_accuracy_pct": "accuracy of the best epoch (%)",
    "final_epoch_val_accuracy_pct": "accuracy of the last epoch (%)",
}


def write_pages(rows_folder, out, reports=None):
    """Write the pages of reports whose studies have rows, and the page across reports.

    Args:
        rows_folder: of the CSVs that `kpairs study` leaves.
        out: folder of the pages; figures go into `figures/` in it.
        reports: keys of `REPORTS`; default all, the page across them and that of our own. With
            chassagne comes the page of the mini framework.

    Returns:
        The files written.

    Raises:
        InputError: a CSV that cannot be read.
    """
    rows, curves, wrong = _read(Path(rows_folder))
    mini = compare_mini(rows_folder)
    pages = {key: _report_page(key, rows, curves, mini) for key in reports or REPORTS}
    if "chassagne" in pages:
        pages["mini"] = mini_page(rows_folder)
    if reports is None:
        pages["reports"] = _across_page(rows, mini, len(rows_of(rows_folder, DISC)))
        pages["posterior"] = posterior_page(rows, curves, wrong, _points(rows)[0])
    written = []
    for name, (text, drawn) in pages.items():
        title = f"{REPORTS[name].number}-{name}" if name in REPORTS else name
        written += write_page(Path(out), title, text, drawn)
    return written


def _read(folder):
    rows, curves, wrong = {}, {}, {}
    for name in STUDIES:
        for kept, suffix in ((rows, ""), (curves, "-curves"), (wrong, "-wrong")):
            file = folder / f"{name}{suffix}.csv"
            kept[name] = read_csv(file) if file.is_file() else []
    return rows, curves, wrong


def _report_page(key, rows, curves, mini):
    report = REPORTS[key]
    studies = [s for s in STUDIES.values() if s.report == key]
    drawn, parts, everything = {}, [], []
    for study in studies:
        comparisons = compare(study, rows[study.name])
        everything += comparisons
        figure_links = []
        for name, figure in _figures(study, comparisons, rows[study.name], curves[study.name]):
            drawn[name] = figure
            figure_links.append(f"![{name.replace('-', ' ')}]({{{name}}})")
        parts += [
            f"## {study.title}\n",
            _protocol(study, rows[study.name]),
            *(f"{link}\n" for link in figure_links),
            _comparison_table(comparisons) if comparisons else _own_table(rows[study.name]),
        ]
    if key == "chassagne":
        parts += [
            "## The mini deep-learning framework\n",
            "The second half of the report: a network without autograd that learns a disc. "
            "[A page of its own](mini.md) has its figures and what we make of them.\n",
            framework_table(mini),
        ]
        everything += mini
    head = [
        f"# Report {report.number}: {report.authors} ({report.year})\n",
        f"*{report.title}*\n",
        _machine([row for study in studies for row in rows[study.name]]),
        f"{_verdicts(everything)} {RULE}\n",
    ]
    return "\n".join([*head, *parts, _rest(key, studies)]), drawn


def _protocol(study, rows):
    counts = Counter(map(name_of, rows))
    planned = study.rounds
    run = sorted(counts.values())
    missing = len(study.settings) - len(counts)
    if not run:
        done = "not run yet"
    elif run[0] == run[-1] and not missing:
        done = f"{run[0]} of {planned} run" if run[0] < planned else f"all {planned} run"
    else:
        done = f"{run[0]} to {run[-1]} of {planned} run"
        done += f", {missing} settings not at all" if missing else ""
    kind = "folds" if study.settings[0].folds else "rounds"
    note = f" {study.note[0].upper()}{study.note[1:]}." if study.note else ""
    return f"`kpairs study {study.name}`: {planned} {kind} of each setting, {done}.{note}\n"


def _machine(rows):
    if not rows:
        return "No training has been run yet.\n"
    backends = sorted({f"keras {r['keras']} on {r['backend']}, {r['hardware']}" for r in rows})
    return (
        f"{len(rows)} trainings by kpairs ({'; '.join(backends)}), seed 0: round r draws its "
        "pairs, weights, order and dropout from (0, r).\n"
    )


def _verdicts(comparisons):
    counts = Counter(c.verdict for c in comparisons)
    judged = counts["agrees"] + counts["differs"]
    text = (
        f"**{counts['agrees']} of {judged} reported numbers agree**"
        if judged
        else "Nothing to judge"
    )
    others = [f"{counts[v]} {v}" for v in ("not run", "no interval") if counts[v]]
    return f"{text}{'; ' + ', '.join(others) if others else ''}."


def _comparison_table(comparisons):
    head = [
        "architecture",
        "setting",
        "metric",
        "reported",
        "kpairs",
        "difference",
        "verdict",
        "note",
    ]
    body = []
    for c in comparisons:
        n = c.reported
        digits = 4 if n.metric == "validation_accuracy" else 2
        there = number(n.mean, n.std, n.rounds, digits)
        ours = number(c.mean, c.std, len(c.values), digits) if c.values else ""
        interval = "" if c.low is None else f"{c.low:+.{digits}f} to {c.high:+.{digits}f}"
        metric = _NAMES.get(n.metric, n.metric)
        body.append([f"`{n.arch}`", n.setting, metric, there, ours, interval, c.verdict, n.note])
    return table(head, body)


def _own_table(rows):
    groups = {}
    for row in rows:
        groups.setdefault((row["arch"], row["setting"]), []).append(row["test_error_pct"])
    body = [
        [
            f"`{arch}`",
            setting,
            number(statistics.fmean(v), statistics.stdev(v) if len(v) > 1 else None, len(v), 2),
        ]
        for (arch, setting), v in groups.items()
    ]
    return table(["architecture", "setting", "test error (%)"], body)


def _rest(key, studies):
    """The reported numbers that no study stands for, each with what becomes of it."""
    covered = {(t, m) for s in studies for t in s.tables for m in s.metrics}
    body = []
    for n in reported(key):
        what = f"`{n.arch}`" if n.arch else n.model
        if n.metric == "parameters" and n.arch in ARCHS:
            ours = trainable_parameters(build(n.arch, **RECIPES[n.arch].build_options))
            verdict = "agrees" if ours == n.mean else "differs"
            counts = f"{n.mean:,.0f}", f"{ours:,}"
            body.append([n.table, what, n.metric, *counts, verdict, n.note])
        elif (n.table, n.metric) not in covered and not n.table.startswith("framework"):
            verdict = _UNMEASURED.get((n.table, n.metric)) or _UNMEASURED.get(n.metric, "not run")
            stated = number(n.mean, n.std, n.rounds, 2)
            body.append([n.table, what, f"{n.metric} {n.setting}", stated, "", verdict, n.note])
    text = "## Everything else that the report states\n\n"
    text += table(["place", "what", "number", "reported", "kpairs", "verdict", "note"], body)
    return text


_UNMEASURED = {
    "seconds_per_epoch": "not comparable: another machine",
    "train_seconds": "not comparable: another machine",
    "param_reduction_pct": "follows from the parameters above",
    ("Table 2 (unrounded)", "test_error_pct"): "Table 2 before rounding",
    ("text", "test_error_pct"): "a remark on the table",
    ("abstract", "test_accuracy_pct"): "Table III's last row",
    ("text", "mean_val_accuracy_pct"): "a remark on Figure 1",
    ("text", "gap_pct"): "a remark on Figure 1",
}


def _figures(study, comparisons, rows, curve_rows):
    """`(name, figure)` of what the report draws, and of its tables."""
    if not rows:
        return
    if study.name == "altunina-figure-1":
        best = [c for c in comparisons if c.reported.metric == "best_epoch_val_accuracy_pct"]
        yield "figure-1", figures.configurations(best)
        yield "parameters", figures.by_parameters(_sized(best))
    elif study.name == "altunina-figure-2":
        for label, prefix, scale in (
            ("learning rate", "learning_rates", True),
            ("batch size", "batch_sizes", True),
        ):
            values = {
                s.name: float(s.setting.split()[1])
                for s in study.settings
                if s.setting.startswith(prefix)
            }
            yield (
                f"figure-2-{prefix.replace('_', '-')}",
                figures.scan(rows, values, label, "test error (%)", logarithmic=scale),
            )
    elif study.name == "kong-dropout":
        values = {s.name: s.recipe.arch_options["dropout"] for s in study.settings}
        yield "dropout", figures.scan(rows, values, "dropout rate", "validation error (%)")
    else:
        for metric in dict.fromkeys(c.reported.metric for c in comparisons):
            chosen = [c for c in comparisons if c.reported.metric == metric and c.values]
            if chosen:
                name = f"{study.name.split('-', 1)[1]}-{metric.replace('_', '-')}"
                yield name, figures.bars(chosen, _NAMES[metric])
    if curve_rows and study.name == "piguet-table-2":
        halves = {
            "C4L2, no weight sharing": study.curves[:3],
            "C4L2, weight sharing": study.curves[3:],
        }
        yield "figure-1", figures.curves(curve_rows, halves, "test_error_pct", "test error (%)")
    elif curve_rows and study.name == "haidinger-figure-2":
        panels = {"test error per epoch": study.curves}
        yield "epochs", figures.curves(curve_rows, panels, "test_error_pct", "test error (%)")
    elif curve_rows and study.name == "kong-table-2":
        yield "figure-4", figures.losses(curve_rows, study.curves[0])


def _sized(comparisons):
    points = {}
    for c in comparisons:
        if c.values:
            widths = tuple(map(int, c.reported.setting.split()[1].split("-")))
            count = count_parameters(c.reported.arch, widths)
            points.setdefault(c.reported.arch, []).append((count, c.mean))
    return points


def _across_page(rows, mini, trainings):
    effects = effects_of(rows)
    points, body = _points(rows)
    agreement = [
        [f"{REPORTS[key].number} {key}", f"[page]({REPORTS[key].number}-{key}.md)", *counts]
        for key, counts in ((key, _judged(key, rows)) for key in REPORTS)
    ]
    agreement.append(["002 mini framework", "[page](mini.md)", *_counts(mini), trainings])
    parts = [
        "# What weight sharing and auxiliary losses bring\n",
        "Across the five reports: the same networks with and without each ingredient, trained by "
        "kpairs with the reports' own recipes. Every number is generated from the rows in "
        "`docs/rows`.\n",
        "## Agreement with the reports\n",
        table(["report", "", "agree", "differ", "not run or no interval", "trainings"], agreement),
        RULE + "\n",
        "## What each ingredient brings\n",
        "Test error with the ingredient minus without, in points: below 0 it helps. Size is "
        "Cohen's d, the difference in standard deviations. The figure cuts the widest intervals.\n",
        "![effects]({effects})\n" if effects else "Too few trainings yet.\n",
    ]
    for name, group in effects.items():
        mean = statistics.fmean(e.difference for e in group)
        parts += [
            f"### {name[0].upper()}{name[1:]}\n",
            f"On average {mean:+.2f} points over {len(group)} comparisons. {NOTES.get(name, '')}\n",
            table(
                ["without", "with", "difference", "95 % interval", "size", "trainings"],
                [
                    [
                        e.without,
                        e.with_,
                        f"{e.difference:+.2f}",
                        f"{e.low:+.2f} to {e.high:+.2f}",
                        f"{e.size:+.1f}",
                        " + ".join(map(str, e.counts)),
                    ]
                    for e in group
                ],
            ),
        ]
    parts += [
        "## Error against parameters\n",
        "![error against parameters]({error-against-parameters})\n",
        table(["report", "architecture", "parameters", "test error (%)"], body),
    ]
    drawn = {"error-against-parameters": figures.against_parameters(points)}
    if effects:
        drawn["effects"] = figures.effect_bars(effects)
    return "\n".join(parts), drawn


def _judged(key, rows):
    comparisons = [c for s in STUDIES.values() if s.report == key for c in compare(s, rows[s.name])]
    trainings = sum(len(rows[s.name]) for s in STUDIES.values() if s.report == key)
    return [*_counts(comparisons), trainings]


def _counts(comparisons):
    """How many agree, differ, and are neither."""
    counts = Counter(c.verdict for c in comparisons)
    rest = len(comparisons) - counts["agrees"] - counts["differs"]
    return [counts["agrees"], counts["differs"], rest]


_BY_RECIPE = (
    "piguet-table-2",
    "haidinger-figure-2",
    "chassagne-table",
    "kong-table-3",
    "altunina-figure-1",
)


def _points(rows):
    """Test error of each architecture by its report's own recipe, beside its parameters."""
    points, body = {}, []
    for study in (STUDIES[name] for name in _BY_RECIPE):
        for setting in study.settings:
            recipe = setting.recipe
            own = RECIPES[recipe.arch]
            if (recipe.loss_weights, recipe.arch_options) != (own.loss_weights, own.arch_options):
                continue
            errors = [r["test_error_pct"] for r in rows[study.name] if name_of(r) == setting.name]
            if errors:
                count = trainable_parameters(build(recipe.arch, **recipe.build_options))
                mean = statistics.fmean(errors)
                points.setdefault(study.report, []).append((recipe.arch, count, mean))
                std = statistics.stdev(errors) if len(errors) > 1 else None
                label = f"{REPORTS[study.report].number} {study.report}"
                body.append(
                    [label, f"`{recipe.arch}`", f"{count:,}", number(mean, std, len(errors), 2)]
                )
    return points, body
