"""Tables on the terminal. Imports rich, so commands import this inside their bodies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from kpairs.errors import UsageError, printable
from kpairs.numbers import plus_minus, span, summary

if TYPE_CHECKING:  # these import pandas or more, which not every table needs
    import pandas as pd

    from kpairs.recipes import Study
    from kpairs.studies.search import Ranked

Row = Mapping[str, Any]  # JSON-ready, as commands print it with --json

_SPLITS = {
    "train": "train",
    "test": "test",
    "best_epoch": "best epoch's test",
    "all_pairs": "all test pairs'",
}
_METRICS = {
    "comparison_error_pct": "comparison",
    "digit_error_pct": "digit",
    "grade_error_pct": "grade",
}
# Names, with a line of explanation where a name alone does not say it.
_MEASURES = (
    ("pairs", "test pairs", 0),
    ("ties", "ties among them", 0),
    ("images", "images whose true value is known", 0),
    ("accuracy_pct", "pairs in the right order (%)\n  without ties", 2),
    ("accuracy_low_pct", "  95 % interval: from (%)", 2),
    ("accuracy_high_pct", "  95 % interval: to (%)", 2),
    ("within_groups.accuracy_pct", "pairs within a group in the right order (%)", 2),
    ("across_groups.accuracy_pct", "pairs across groups in the right order (%)", 2),
    ("auc", "AUC of P(left <= right)\n  0.5 is chance, 1 is perfect", 4),
    ("kendall_tau_b", "Kendall's tau-b of scores and true values", 4),
    ("spearman", "Spearman's correlation of scores and true values (SRCC)", 4),
    ("pearson", "Pearson's correlation of scores and true values", 4),
    ("mapped.pearson", "Pearson's correlation after a logistic map (PLCC)", 4),
    ("mapped.rmse", "root mean square error after that map", 4),
    ("kappa", "quadratic weighted kappa of grades\n  0 is chance, 1 is perfect", 4),
    ("grade_mae", "mean absolute error of grades", 4),
    ("groups.groups", "groups of images", 0),
    ("groups.ndcg", "NDCG within groups\n  1 if each group is in the true order", 4),
    ("groups.best_pct", "groups whose best image has the highest score (%)", 2),
    (
        "calibration_error",
        "calibration error\n  mean distance of a probability from the share of right answers",
        4,
    ),
    ("calibrated_error", "calibration error with the temperature", 4),
    ("temperature", "temperature\n  below 1: answers are more often right than it says", 3),
    ("standard_error", "median standard error of a score", 3),
    ("coverage_pct", "true scores within 95 % intervals (%)\n  meant to be 95", 1),
    ("tie_margin", "distance of the probability from 0.5, mean over ties", 3),
    ("margin", "distance of the probability from 0.5, mean over other pairs", 3),
)


def console(stderr: bool = False) -> Console:
    """Make a console that keeps tables whole where the output is a file or a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    known = os.environ.get("COLUMNS", "").isdigit() or (stream is not None and stream.isatty())
    # Names of files and classes are shown as they are, brackets and all.
    return Console(stderr=stderr, width=None if known else 120, markup=False, highlight=False)


def report_title(report: str) -> str:
    """Return a report as "000 piguet"; our own and users' architectures by their name alone."""
    from kpairs.reports import REPORTS

    return f"{REPORTS[report].number} {report}" if report in REPORTS else report


def layer_table(rows: Iterable[Row]) -> Table:
    """Make the table of a network's layers from `kpairs.models.diagram.layer_rows`."""
    table = Table("layer", "what", "output shape")
    table.add_column("parameters", justify="right")
    table.add_column("reads")
    tower = ""
    for row in rows:
        within, _, name = row["name"].rpartition("/")
        if within != tower:
            table.add_section()
        if within not in ("", tower):
            table.add_row(f"{within}:")
        tower = within
        reads = " and ".join(", ".join(n.rpartition("/")[2] for n in call) for call in row["reads"])
        gives = f" = {row['output']}" if row["output"] else ""
        shape = " x ".join(map(str, row["shape"])) + gives
        count = f"{row['parameters']:,}" if row["parameters"] else ""
        table.add_row(name, f"{row['type']} {row['details']}", shape, count, reads)
    return table


def error_table(
    rows: Sequence[Row],
    summary: Row,
    title: str,
    best_epoch: bool = False,
    cross_validated: bool = False,
) -> Table:
    """Print the errors of each round, on demand of the best epoch too; their mean and deviation."""
    names = {**_SPLITS, "test": "cross-validated" if cross_validated else _SPLITS["test"]}
    splits = [s for s in _SPLITS if s != "best_epoch" or best_epoch]
    columns = [(s, m) for s in splits for m in _METRICS if m in rows[0].get(s, ())]
    table = Table(title=title, title_justify="left")
    table.add_column("round", justify="right")
    for split, metric in columns:
        table.add_column(f"{names[split]} {_METRICS[metric]}\nerror (%)", justify="right")
    for row in rows:
        values = [f"{row[s][m]:.2f}" for s, m in columns]
        if row.get("collapsed"):
            values.append("collapsed")  # in a column of its own
        table.add_row(str(row["round"]), *values)
    if len(rows) > 1:
        table.add_section()
        cells = [summary[s][m] for s, m in columns]
        table.add_row("mean ± std", *(plus_minus(c["mean"], c["std"], digits=2) for c in cells))
    return table


def print_cross_validated(screen: Console, rows: Iterable[Row], only: bool) -> None:
    """Print each round's cross-validated error with its interval, where it has one.

    Args:
        screen: console.
        rows: rounds.
        only: whether the table of errors shows the same error, since nothing else was tested.
    """
    for row in rows:
        if found := row.get("cross_validated"):
            other = "" if only else "; the test error above is of other images"
            screen.print(
                "error on pairs of left-out training images: "
                f"{found['comparison_error_pct']:.1f} % (95 % interval {found['low_pct']:.1f} to "
                f"{found['high_pct']:.1f} %, {found['pairs']:,} pairs, cross-validated){other}",
                soft_wrap=True,
            )


def comparison_table(rows: Iterable[Row]) -> Table:
    """Make the table of runs beside each other."""
    table = Table("run", "what differs")
    for column in ("rounds", "test error (%)", "difference, 95 %"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        recipe = "\n".join(f"{name.replace('_', ' ')}: {v}" for name, v in row["recipe"].items())
        error = row["test"]["comparison_error_pct"]
        cells = [str(row["rounds"]), plus_minus(error["mean"], error["std"], digits=2)]
        cells[1] += "\ncross-validated" if row["cross_validated"] else ""
        table.add_row(row["run"], recipe, *cells, _shown(row.get("difference")))
        table.add_section()
    return table


def _shown(difference: Row | None) -> str:
    """Return a difference of two runs as text."""
    if difference is None or difference["mean"] is None:
        return "" if difference is None else "no common round"
    low, high = difference["low"], difference["high"]
    interval = "" if low is None else f" ({span(low, high)})"
    paired = "" if difference["paired"] else "\nof other pairs"
    return f"{difference['mean']:+.2f}{interval}{paired}"


def all_pairs_line(rows: Sequence[Row]) -> str:
    """Say how many pairs were measured, and how sure that makes the error of all."""
    found = [row["measures"]["all_pairs"] for row in rows]
    count = f"{found[0]['pairs']:,}"
    if all(f["exact"] for f in found):
        return f"all {count} ordered pairs of the test images, exactly"
    largest = max(f.get("standard_error", 0.0) for f in found)
    return (
        f"{count} of all ordered pairs of the test images, drawn at random: the network looks at "
        f"both images at once (standard error {largest:.2f} points)"
    )


def measures_table(rows: Sequence[Row], title: str) -> Table:
    """Make the table of each round's measures, see `kpairs.training.measures`."""
    found = [row["measures"] for row in rows]
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    table.add_column("mean ± std" if len(rows) > 1 else "value", justify="right")
    for name, text, digits in _MEASURES:
        values = [value for f in found if (value := _value(f, name)) is not None]
        if values:
            table.add_row(
                text, summary(values, digits) if len(rows) > 1 else f"{values[0]:,.{digits}f}"
            )
    return table


def agreement_table(rows: Sequence[Row]) -> Table | None:
    """Make the table of agreement with each judge and between judges; None without judges.

    Of several rounds the first is shown.
    """
    judges = rows[0]["measures"].get("judges")
    if not judges:
        return None
    table = Table(title="share of answers that agree", title_justify="left")
    table.add_column("judge", no_wrap=True)
    for who in ("network and judge", "other judges and judge"):
        table.add_column(who, justify="right")
    for judge in judges:
        cells = [
            "-"
            if found is None
            else f"{found['share_pct']:.1f} % "
            f"({found['low_pct']:.1f} to {found['high_pct']:.1f} %, {found['of']:,} answers)"
            for found in (judge.get("network"), judge.get("others"))
        ]
        table.add_row(printable(judge["judge"]) or "no name", *cells)
    return table


def _value(measures: Row, name: str) -> float | None:
    """Return a measure by its name, or by two names where it has parts."""
    group, _, part = name.rpartition(".")
    value = (measures.get(group, {}) if group else measures).get(part)
    return None if value is None else float(value)


_RUNNERS = {"engine": "kpairs", "tuned": "tuned PyTorch", "torch": "PyTorch", "keras": "Keras"}
_SHOWN = 12  # operations of a profile


def bench_tables(result: Row) -> tuple[Table, ...]:
    """Print the tables of `kpairs bench train`."""
    others = [kind for kind in _RUNNERS if kind != "engine"]
    steps = Table(title="milliseconds per training step", title_justify="left")
    for column in ("", *_RUNNERS.values(), *(f"kpairs/{_RUNNERS[kind]}" for kind in others)):
        steps.add_column(column, justify="right" if column else "left")
    for row in result["cases"]:
        ratios = (f"{row[f'engine_over_{kind}']:.2f}" for kind in others)
        times = (f"{row[f'{kind}_ms']:.2f}" for kind in _RUNNERS)
        steps.add_row(row["case"], *times, *ratios)
    if result["memory"]:
        memory = (result["memory"][kind] for kind in _RUNNERS)
        steps.add_section()
        steps.add_row("peak memory, auxws", *(f"{m:,.0f} MiB" if m else "-" for m in memory))
    row = result["rounds"]
    rounds = Table(title=f"seconds for {row['case']}", title_justify="left")
    measured = [kind for kind in _RUNNERS if f"{kind}_s" in row]
    for kind in measured:
        rounds.add_column(_RUNNERS[kind] + f", {row['jobs']} jobs" * (kind == "engine"))
    for kind in measured[1:]:
        rounds.add_column(f"kpairs/{_RUNNERS[kind]}")
    ratios = (f"{row[f'engine_over_{kind}']:.2f}" for kind in measured[1:])
    rounds.add_row(*(f"{row[f'{kind}_s']:.1f}" for kind in measured), *ratios)
    profiles = [_profile_table(row) for row in result["cases"] if "profile" in row]
    return steps, rounds, *profiles


def _profile_table(case: Row) -> Table:
    table = Table(title=f"where a step goes: {case['case']}, profiled", title_justify="left")
    for column in ("operation", "ms", "calls"):
        table.add_column(column, justify="left" if column == "operation" else "right")
    for row in case["profile"][:_SHOWN]:
        table.add_row(row["operation"], f"{row['ms']:.3f}", f"{row['calls']:.1f}")
    rest = case["profile"][_SHOWN:]
    sums = (sum(row[name] for row in rest) for name in ("ms", "calls"))
    table.add_row("all others", *(f"{value:.{n}f}" for value, n in zip(sums, (3, 1), strict=True)))
    return table


def rank_bench_table(result: Row) -> Table:
    """Print the table of `kpairs bench rank`."""
    table = Table(title="images per second of one core", title_justify="left")
    table.add_column("")
    names = list(result["runners"])
    others = [name for name in names if name != "kpairs"]
    for column in (*names, *(f"kpairs/{name}" for name in others), "peak MiB"):
        table.add_column(column, justify="right")
    for row in result["rows"]:
        speeds = (f"{row['images_per_core_second'][name]:,.0f}" for name in names)
        ratios = (f"{row['kpairs_over'][name]:.2f}" for name in others)
        peak = row["peak_mib"]["kpairs"]
        memory = f"{peak:,.0f}" if peak else "-"
        table.add_row(f"{row['network']}, {row['pictures']}", *speeds, *ratios, memory)
    return table


def judging_tables(
    means: Sequence[Row], truths: Mapping[str, str], methods: Mapping[str, str]
) -> Iterator[Table | str]:
    """Yield the tables of `kpairs bench judging`: one per truth, and the methods in words."""
    counts = sorted({row["judgements"] for row in means})
    for truth in dict.fromkeys(row["truth"] for row in means):
        rows = [row for row in means if row["truth"] == truth]
        title = f"Kendall's tau with the truth after judgements: {truth} ({truths[truth]})"
        table = Table("method", title=title, title_justify="left")
        for count in counts:
            table.add_column(f"{count:,}", justify="right")
        lines = (
            ("tau", ""),
            ("tau_unseen", ", unseen"),
            ("coverage", ", coverage of intervals"),
            ("coverage_pairs", ", coverage of differences"),
        )
        for method in dict.fromkeys(row["method"] for row in rows):
            cells = {row["judgements"]: row for row in rows if row["method"] == method}
            for measure, name in lines:
                values = [cells[count][measure] for count in counts]
                if values[0] is not None:
                    table.add_row(f"{method}{name}", *(f"{value:.2f}" for value in values))
        yield table
    yield "\n".join(f"{name}: {methods[name]}" for name in {row["method"]: 0 for row in means})


def inference_tables(result: Row) -> Iterator[Table | str]:
    """Print the tables of `kpairs bench infer`: one per model and number of threads."""
    peaks = {peak["threads"]: peak["gflops"] for peak in result["peaks"]}
    for model in result["models"]:
        flops = f"{model['flops_per_pair'] / 1e6:.2f} MFLOP per pair"
        for threads, peak in peaks.items():
            place = f"{model['model']}, {threads} thread{'s' * (threads > 1)}"
            title = f"{place}: {flops}, matrix product {peak:.0f} GFLOP/s"
            yield _inference_table(
                [
                    row
                    for row in result["rows"]
                    if (row["model"], row["threads"]) == (model["model"], threads)
                ],
                title,
            )
        for runner, reason in model["skipped"].items():
            yield f"{runner} is missing: {reason}"
    yield "\n".join(
        [
            *(f"{name}: {text}" for name, text in result["runners"].items()),
            "of product: share of the matrix product's speed, both at their fastest call",
        ]
    )


def _inference_table(rows: Sequence[Row], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("batch", justify="right")
    table.add_column("runner")
    for name in ("p50 µs", "p95 µs", "p99 µs", "pairs/s", "of product", "time/onnx"):
        table.add_column(name, justify="right")
    for before, row in zip([None, *rows], rows, strict=False):
        first = before is None or before["batch"] != row["batch"]
        if first and before is not None:
            table.add_section()
        times = (f"{row[key]:,.0f}" for key in ("p50_us", "p95_us", "p99_us", "pairs_per_s"))
        share = f"{100 * row['share_of_peak']:.1f} %"
        batch = str(row["batch"]) if first else ""
        table.add_row(batch, row["runner"], *times, share, f"{row['over_onnx']:.2f}")
    return table


def studies_table(studies: Iterable[Study]) -> Table:
    """Make the table of all studies."""
    table = Table("study", "report")
    for column in ("settings", "rounds"):
        table.add_column(column, justify="right")
    table.add_column("what it shows")
    for s in studies:
        counts = str(len(s.settings)), str(s.rounds)
        table.add_row(s.name, report_title(s.report), *counts, s.title)
    return table


def study_table(study: Study, compared: pd.DataFrame, rows: pd.DataFrame) -> Table:
    """Make the table of a study's numbers beside the reported ones, or of our errors alone."""
    if len(compared):
        return compared_table(compared, study.title)
    table = Table(title=study.title, title_justify="left")
    table.add_column("setting")
    table.add_column("test error (%)", justify="right")
    for (arch, setting), mine in rows.groupby(["arch", "setting"], sort=False):
        table.add_row(f"{arch} {setting}", summary(mine["test_error_pct"]))
    return table


def compared_table(compared: pd.DataFrame, title: str) -> Table:
    """Make the table of reported numbers beside ours, see `kpairs.studies.compare.beside`."""
    from kpairs.studies.compare import METRICS, QUICK

    table = Table(title=title, title_justify="left")
    for column in ("setting", "metric"):
        table.add_column(column)
    for column in ("reported", "kpairs", "difference, 95 %"):
        table.add_column(column, justify="right")
    table.add_column("as expected")
    for row in compared.itertuples():
        digits = METRICS[row.metric].digits
        name = f"{row.arch} {row.variant or row.setting}".strip()
        reported = plus_minus(row.mean, row.std, row.rounds)
        ours = ""
        if row.ours_rounds:
            ours = plus_minus(row.ours, row.ours_std, row.ours_rounds, digits)
        ours += f", {row.collapsed} collapsed" if row.collapsed else ""
        interval = span(row.low, row.high, digits)
        expected = interval and ("yes" if row.low <= 0 <= row.high else "no")
        told = row.verdict if row.verdict == QUICK else expected
        table.add_row(name, row.metric, reported, ours, interval, told)
    return table


def search_table(ranked: Sequence[Ranked], folds: int, count: int) -> Table:
    """Make the table of a search's best candidates."""
    title = f"validation error over {folds} folds: {len(ranked)} best of {count}"
    table = Table("candidate", title=title, title_justify="left")
    for column in ("parameters", "error (%)", "behind the best, 95 %"):
        table.add_column(column, justify="right")
    for r in ranked:
        behind = "" if r.behind is None else span(*r.behind)
        table.add_row(r.label, f"{r.parameters:,}", summary(r.errors), behind)
    return table


def ranking_table(rows: Iterable[Row], title: str) -> Table:
    """Make the table of ranked images, highest first."""
    table = Table(title=title, title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("file", overflow="fold")
    table.add_column("score", justify="right", no_wrap=True)
    rows = list(rows)
    placed = any("percentile" in row for row in rows)
    than = any("higher" in row for row in rows)
    if placed:
        table.add_column("above training\nimages (%)", justify="right", no_wrap=True)
    if than:
        table.add_column("P(higher)", justify="right", no_wrap=True)
    for row in rows:
        spread = f" ± {row['deviation']:.2g}" if "deviation" in row else ""
        far = "\nunlike the training images" if row.get("far") else ""
        cells = [f"{row['percentile']:.1f}"] if placed else []
        cells += [f"{row['higher']:.1%}"] if than else []
        name = printable(row["file"]) + far
        table.add_row(str(row["rank"]), name, f"{row['score']:.4g}{spread}", *cells)
    return table


def score_table(rows: Iterable[Row], facts: Row) -> Table:
    """Make the table of `kpairs score`, highest first."""
    title = f"expected Kendall's tau with the true order {facts['expected_tau']:.2f}"
    table = Table("rank", "file", title=title, title_justify="left")
    for name in ("score", "95 % interval", "ranks", "judgements"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        interval = f"{row['low']:.2f} to {row['high']:.2f}"
        ranks = f"{row['best']} to {row['worst']}"
        cells = f"{row['score']:.2f}", interval, ranks, str(row["judgements"])
        table.add_row(str(row["rank"]), printable(row["file"]), *cells)
    return table


def judge_table(rows: Sequence[Row], alpha: float | None) -> Table:
    """Make the table of judges; slope, pull and whether they count only where they were fitted."""
    among = any(row["agreement"] is not None for row in rows)  # else of repeats by one judge only
    title = "" if alpha is None or not among else f"judges: Krippendorff's alpha {alpha:.2f}"
    table = Table("judge", title=title, title_justify="left")
    fitted = any(row["slope"] is not None for row in rows)
    traits = ("slope", "pull", "counted") if fitted else ()
    shown = ("judgements", "agrees with others", "with themselves", "right-hand image")
    for name in (*shown, *traits):
        table.add_column(name, justify="right")
    for row in rows:
        shares = (row[name] for name in ("agreement", "consistency", "right_side"))
        told = (f"{s[0]:.0%} ({s[1]:.0%} to {s[2]:.0%})" if s else "-" for s in shares)
        values = ("-" if row[name] is None else f"{row[name]:.2f}" for name in traits[:2])
        counted = ("yes" if row["counts"] else "no",) if fitted else ()
        table.add_row(printable(row["judge"]), str(row["judgements"]), *told, *values, *counted)
    return table


def ranked_groups(
    rows: Iterable[Row], files: Sequence[Any], group: Sequence[str] | None, top: int | None
) -> Sequence[Row]:
    """Return ranked images group by group.

    Raises:
        UsageError: nothing says which image is in which group.
    """
    from kpairs.data.groups import best_of_groups

    if group is None:
        raise UsageError("--by group: add --group folder, or --group with a regular expression")
    return best_of_groups(rows, dict(zip(map(str, files), group, strict=True)), top)


def write_sheet(rows: Sequence[Row], path: str, explained_by: Any = None) -> None:
    """Draw ranked images with rank and score to a picture file.

    Args:
        rows: the images, with file, rank and score.
        path: the file to write.
        explained_by: a `PairModel` whose maps stand beside the images.
    """
    from kpairs.exports.runtime.sheet import MOST, draw_ranked_sheet

    strange = [" !" if row.get("far") else "" for row in rows[:MOST]]
    captions = [f"{r['rank']}  {r['score']:#.3g}{s}" for r, s in zip(rows, strange, strict=False)]
    files = [Path(row["file"]) for row in rows[:MOST]]
    maps, footer = (), "! unlike the training images" * any(strange)
    if explained_by is not None:
        from kpairs.bars import counting
        from kpairs.exports.runtime.heat import maps_beside

        with counting(console(stderr=True), "maps") as count:
            maps, told = maps_beside(explained_by, files, count)
        footer = "; ".join(filter(None, (told, footer)))
    draw_ranked_sheet(files, captions, Path(path), maps=maps, footer=footer)
    click.echo(f"wrote {path}", err=True)


def proposals_table(rows: Iterable[Row]) -> Table:
    """Make the table of proposed pairs."""
    table = Table("left", "right")
    table.add_column("P(left <= right)", justify="right", no_wrap=True)
    table.add_column("reason")
    for row in rows:
        chance = f"{row['probability']:.1%}"
        table.add_row(printable(row["left"]), printable(row["right"]), chance, row["reason"])
    return table


def prediction_table(rows: Sequence[Row]) -> Table:
    """Make the table of predictions of many pairs."""
    word = "digit" if "left_digit" in rows[0] else "grade"
    sides = [side for side in ("left", "right") if f"{side}_{word}" in rows[0]]
    table = Table()
    for side in ("left", "right"):
        table.add_column(side, overflow="fold")
        if side in sides:
            table.add_column("seen as", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("sure", justify="right", no_wrap=True)
    for row in rows:
        cells = []
        for side in ("left", "right"):
            inverted = " (inverted)" if row[f"{side}_inverted"] else ""
            cells.append(printable(row[side]) + inverted)
            if side in sides:
                name = f"{side}_{word}"
                cells.append(f"{row[name]} ({row[f'{name}_probability']:.1%})")
        holds = row["probability"]
        relation, sure = ("<=", holds) if row["left_not_higher"] else (">", 1 - holds)
        relation = "=" if row["same"] else relation
        table.add_row(*cells, f"left {relation} right", f"{sure:.1%}")
    return table
