"""The terminal, and tables of trainings. Imports rich: commands import this inside their bodies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from kpairs.errors import printable
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
    ("temperature", "temperature\n  above 1: the network is too sure; below 1: too doubtful", 3),
    ("standard_error", "median standard error of a score", 3),
    ("coverage_pct", "true scores within 95 % intervals (%)\n  meant to be 95", 1),
    ("tie_margin", "distance of the probability from 0.5, mean over ties", 3),
    ("margin", "distance of the probability from 0.5, mean over other pairs", 3),
)


def new_table(
    text: Sequence[str] = (),
    numbers: Sequence[str] = (),
    more: Sequence[str] = (),
    *,
    title: str | None = None,
    whole: bool = False,
) -> Table:
    """Return a table without rows: columns of text, of numbers at the right, and of text again.

    Cells of numbers are never broken into lines where they are `whole`.
    """
    table = Table(*text, title=title, title_justify="left")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=whole)
    for name in more:
        table.add_column(name)
    return table


def report_title(report: str) -> str:
    """Return a report as "000 piguet"; our own and users' architectures by their name alone."""
    from kpairs.reports import REPORTS

    return f"{REPORTS[report].number} {report}" if report in REPORTS else report


def layer_table(rows: Iterable[Row]) -> Table:
    """Make the table of a network's layers from `kpairs.models.diagram.layer_rows`."""
    table = new_table(("layer", "what", "output shape"), ("parameters",), ("reads",))
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
    errors = (f"{names[split]} {_METRICS[metric]}\nerror (%)" for split, metric in columns)
    table = new_table(numbers=("round", *errors), title=title)
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


def cross_validated(rows: Iterable[Row], only: bool) -> Iterator[str]:
    """Say each round's cross-validated error with its interval, where it has one.

    `only` tells that the table of errors shows the same error, since nothing else was tested.
    """
    for row in rows:
        if found := row.get("cross_validated"):
            other = "" if only else "; the test error above is of other images"
            yield (
                "error on pairs of left-out training images: "
                f"{found['comparison_error_pct']:.1f} % (95 % interval {found['low_pct']:.1f} to "
                f"{found['high_pct']:.1f} %, {found['pairs']:,} pairs, cross-validated){other}"
            )


def comparison_table(rows: Iterable[Row]) -> Table:
    """Make the table of runs beside each other."""
    numbers = "rounds", "test error (%)", "difference, 95 %"
    table = new_table(("run", "what differs"), numbers, whole=True)
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
    table = new_table(["measure"], ["mean ± std" if len(rows) > 1 else "value"], title=title)
    for name, text, digits in _MEASURES:
        values = [value for f in found if (value := _value(f, name)) is not None]
        if values:
            table.add_row(
                text, summary(values, digits) if len(rows) > 1 else f"{values[0]:,.{digits}f}"
            )
    return table


def agreement_table(rows: Sequence[Row]) -> Table | None:
    """Make the first round's table of agreement with and between judges; None without judges."""
    judges = rows[0]["measures"].get("judges")
    if not judges:
        return None
    pairs = "network and judge", "other judges and judge"
    table = new_table(["judge"], pairs, title="share of answers that agree")
    for judge in judges:
        cells = (_agreement(judge.get(who)) for who in ("network", "others"))
        table.add_row(printable(judge["judge"]) or "no name", *cells)
    return table


def _agreement(found: Row | None) -> str:
    if found is None:
        return "-"
    interval = f"{found['low_pct']:.1f} to {found['high_pct']:.1f} %"
    return f"{found['share_pct']:.1f} % ({interval}, {found['of']:,} answers)"


def _value(measures: Row, name: str) -> float | None:
    """Return a measure by its name, or by two names where it has parts."""
    group, _, part = name.rpartition(".")
    value = (measures.get(group, {}) if group else measures).get(part)
    return None if value is None else float(value)


def studies_table(studies: Iterable[Study]) -> Table:
    """Make the table of all studies."""
    table = new_table(("study", "report"), ("settings", "rounds"), ["what it shows"])
    for s in studies:
        counts = str(len(s.settings)), str(s.rounds)
        table.add_row(s.name, report_title(s.report), *counts, s.title)
    return table


def study_table(study: Study, compared: pd.DataFrame, rows: pd.DataFrame) -> Table:
    """Make the table of a study's numbers beside the reported ones, or of our errors alone."""
    if len(compared):
        return compared_table(compared, study.title)
    table = new_table(["setting"], ["test error (%)"], title=study.title)
    for (arch, setting), mine in rows.groupby(["arch", "setting"], sort=False):
        table.add_row(f"{arch} {setting}", summary(mine["test_error_pct"]))
    return table


def compared_table(compared: pd.DataFrame, title: str) -> Table:
    """Make the table of reported numbers beside ours, see `kpairs.studies.compare.beside`."""
    from kpairs.studies.compare import METRICS, QUICK

    numbers = "reported", "kpairs", "difference, 95 %"
    table = new_table(("setting", "metric"), numbers, ["as expected"], title=title)
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
    numbers = "parameters", "error (%)", "behind the best, 95 %"
    table = new_table(["candidate"], numbers, title=title)
    for r in ranked:
        behind = "" if r.behind is None else span(*r.behind)
        table.add_row(r.label, f"{r.parameters:,}", summary(r.errors), behind)
    return table
